"""The built-in text encoder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lingen_models.network_config import WordsConfig
from lingen_plugins.contracts import Config, TextEncoder
from lingen_plugins.hookspecs import hookimpl

if TYPE_CHECKING:
    from lingen_models.networks.word_encoder import WordEncoder


def build_words(config: Config) -> WordEncoder:
    """A fresh encoder with random weights."""
    from lingen_models.networks.word_encoder import WordEncoder

    return WordEncoder(WordsConfig.from_dict(config))


@hookimpl
def register_text_encoders() -> list[TextEncoder]:
    """One encoder, trained together with the denoiser."""
    config = WordsConfig()
    return [
        TextEncoder(
            name="playground-words",
            summary="a small transformer over the closed vocabulary of the playground captions",
            build=build_words,
            feature_dim=config.width,
            config=config.to_dict(),
        )
    ]
