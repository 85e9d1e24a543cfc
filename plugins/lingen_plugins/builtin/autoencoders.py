"""The built-in video autoencoder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lingen_models.network_config import TAEConfig
from lingen_plugins.contracts import Autoencoder, Config
from lingen_plugins.hookspecs import hookimpl

if TYPE_CHECKING:
    from lingen_models.networks.video_autoencoder import TemporalAutoencoder


def build_tae(config: Config) -> TemporalAutoencoder:
    """A fresh autoencoder with random weights."""
    from lingen_models.networks.video_autoencoder import TemporalAutoencoder

    return TemporalAutoencoder(TAEConfig.from_dict(config))


@hookimpl
def register_autoencoders() -> list[Autoencoder]:
    """One autoencoder (paper.md 1.4)."""
    config = TAEConfig()
    return [
        Autoencoder(
            name="tae",
            summary="temporal autoencoder: 8 frames x 8 x 8 pixels to one latent of 16 channels",
            build=build_tae,
            latent_channels=config.latent_channels,
            time_stride=8,
            space_stride=8,
            config=config.to_dict(),
        )
    ]
