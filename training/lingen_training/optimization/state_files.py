"""States that a training is resumed from: one file, or a folder of which each process wrote a part.

A folder `NAME.state` has one folder per saved step, and in it `metadata.json`, which is written
last.
"""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import safe_open
from torch import Tensor

from lingen_models.checkpoints.safetensors import load_tensors

if TYPE_CHECKING:
    from torch.distributed.checkpoint.metadata import TensorStorageMetadata

METADATA = "metadata.json"


def find_state(folder: Path, name: str) -> Path | None:
    """The state of the stage `name` in `folder` with the most steps; None where there is none."""
    file = folder / f"{name}.state.safetensors"
    whole = (folder / f"{name}.state").glob(f"*/{METADATA}")
    found = [(int(json.loads(path.read_bytes())["steps"]), path.parent) for path in whole]
    if file.is_file():
        if not found:
            return file
        with safe_open(file, "pt") as opened:
            found.append((int(opened.metadata()["steps"]), file))
    return max(found)[1] if found else None


def read_state(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors by name and metadata of a state, whole, whatever wrote it."""
    if path.is_file():
        return load_tensors(path)
    from torch.distributed.checkpoint.state_dict_loader import load

    tensors = {
        name: torch.empty(entry.size, dtype=entry.properties.dtype)
        for name, entry in entries(path).items()
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that no other process takes part
        load(tensors, checkpoint_id=path, no_dist=True)
    return tensors, json.loads((path / METADATA).read_bytes())


def entries(folder: Path) -> dict[str, TensorStorageMetadata]:
    """Sizes and dtypes of the tensors in a folder, by name."""
    from torch.distributed.checkpoint.filesystem import FileSystemReader
    from torch.distributed.checkpoint.metadata import TensorStorageMetadata

    found = FileSystemReader(folder).read_metadata().state_dict_metadata
    return {key: one for key, one in found.items() if isinstance(one, TensorStorageMetadata)}
