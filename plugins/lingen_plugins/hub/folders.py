"""Folders of the parts of a model as `save_pretrained` writes it.

That is a folder of the part alone, or one of a whole pipeline. Nothing is imported.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lingen_models.checkpoints.safetensors import CheckpointError
from lingen_plugins.plugin_errors import MissingFolderError

CONFIG = "config.json"
_TOKENIZER = ("tokenizer_config.json", "tokenizer.json", "spiece.model", "vocab.json")


def text_folders(folder: Path, kinds: tuple[str, ...]) -> tuple[Path, ...]:
    """The folders of a text encoder, whose `model_type` is one of `kinds`, and of its tokenizer.

    Raises MissingFolderError, and `CheckpointError` for an encoder of another kind.
    """
    inside = [folder] if (folder / CONFIG).is_file() else sorted(folder.glob("text_encoder*"))
    found = {one: str(_config(one).get("model_type")) for one in inside}
    network = next((one for one in inside if found[one] in kinds), None)
    if network is None and found:
        one, kind = next(iter(found.items()))
        raise CheckpointError(
            f"weights do not fit: {one} is a {kind[:40]!r}, not a {' or '.join(kinds)}"
        )
    if network is None:
        raise MissingFolderError(f"no {CONFIG}, and no text_encoder, in {folder}")
    beside = network.with_name(network.name.replace("text_encoder", "tokenizer"))
    for tokenizer in (network, beside):
        if any((tokenizer / name).is_file() for name in _TOKENIZER):
            return (network,) if tokenizer == network else (network, tokenizer)
    raise MissingFolderError(f"no tokenizer in {network} or {beside}")


def codec_folders(folder: Path, kind: str) -> tuple[Path, ...]:
    """The folder of an autoencoder of the class `kind` of diffusers.

    Raises MissingFolderError, and `CheckpointError` for another class.
    """
    inside = (one for one in (folder, folder / "vae") if (one / CONFIG).is_file())
    network = next(inside, None)
    if network is None:
        raise MissingFolderError(f"no {CONFIG}, and no vae, in {folder}")
    found = str(_config(network).get("_class_name"))
    if found != kind:
        raise CheckpointError(f"weights do not fit: {network} is a {found[:40]!r}, not a {kind}")
    return (network,)


def _config(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG
    if not path.is_file():
        raise MissingFolderError(f"no {CONFIG} in {folder}")
    return read_object(path, "config")


def read_object(path: Path, what: str) -> dict[str, Any]:
    """The JSON object in a file of weights that messages call `what`. Raises `CheckpointError`."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"damaged {what} of weights: {path}: {error}") from error
    if not isinstance(found, dict):
        raise CheckpointError(f"damaged {what} of weights: {path}: it is no object")
    return found
