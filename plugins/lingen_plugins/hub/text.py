"""Text encoders of `transformers`, for a LinGen to be trained on."""

from __future__ import annotations

from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from lingen_models.checkpoints.safetensors import CheckpointError
from lingen_plugins.contracts import Config, TextEncoder
from lingen_plugins.hub.families.ltx import LTX
from lingen_plugins.hub.families.wan import WAN
from lingen_plugins.hub.folders import text_folders
from lingen_plugins.hub.loading import load_network

if TYPE_CHECKING:
    from lingen_models.checkpoints.pretrained import PretrainedText

_NEEDS = ("transformers", "sentencepiece")
_CLASSES = {
    "umt5": "UMT5EncoderModel",
    "t5": "T5EncoderModel",
    "clip_text_model": "CLIPTextModel",
}
"""`model_type` -> the class that reads a prompt."""
_BESIDE = (
    "decoder.",
    "lm_head.",
    "vision_model.",
    "visual_projection.",
    "text_projection.",
    "logit_scale",
    "text_model.embeddings.position_ids",
)
"""Tensors of the models that these encoders are parts of."""


def build_text(kinds: tuple[str, ...], tokenizer: str, config: Config) -> PretrainedText:
    """The encoder in `config["folder"]`, in the precision of its file; prompts are cut at
    `config["max_tokens"]`."""
    from lingen_models.checkpoints.pretrained import PretrainedText

    most = config["max_tokens"]
    if set(config) != {"folder", "max_tokens"} or type(most) is not int or most < 1:
        raise ValueError("its config is max_tokens, a number of tokens")
    *_, words = folders = text_folders(Path(config["folder"]), kinds)
    network = load_network(folders[0], "transformers", _CLASSES[kinds[0]], "auto", _BESIDE)
    try:
        reader = getattr(import_module("transformers"), tokenizer).from_pretrained(
            str(words), local_files_only=True, trust_remote_code=False
        )
    except Exception as error:  # nearly anything, for a damaged file
        raise CheckpointError(f"cannot load the tokenizer {words}: {error}") from error
    settings = network.config
    most = min(most, getattr(settings, "max_position_embeddings", most))
    return PretrainedText(network, reader, int(settings.hidden_size), most)


def _encoder(
    name: str,
    summary: str,
    feature_dim: int,
    repository: str | None,
    kinds: tuple[str, ...],
    tokenizer: str = "AutoTokenizer",
    max_tokens: int = 512,
) -> TextEncoder:
    return TextEncoder(
        name=name,
        summary=summary,
        build=partial(build_text, kinds, tokenizer),
        feature_dim=feature_dim,
        config={"max_tokens": max_tokens},
        folders=partial(text_folders, kinds=kinds),
        repository=repository,
        packages=_NEEDS,
    )


TEXT_ENCODERS = [
    _encoder("umt5", "UMT5, as Wan has it; many languages", 4096, WAN.repository, ("umt5",)),
    _encoder("t5", "T5, as LTX-Video has it", 4096, LTX.repository, ("t5",), max_tokens=256),
    _encoder("byt5", "ByT5, which reads letters", 1472, None, ("t5",), tokenizer="ByT5Tokenizer"),
    _encoder(
        "clip",
        "the text half of CLIP",
        768,
        "openai/clip-vit-large-patch14",
        ("clip_text_model", "clip"),
        max_tokens=77,
    ),
]
