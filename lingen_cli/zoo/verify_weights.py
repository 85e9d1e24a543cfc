"""Weights files looked into: hash, header, every tensor's name, shape and numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from lingen_cli.errors import BadDataError
from lingen_cli.zoo.locate import LocatedModel, locate
from lingen_plugins.registry import Registry


@dataclass(frozen=True)
class Part:
    """One file that is what it should be."""

    path: Path
    bytes: int
    sha256: str
    pinned: bool
    """The record of the model says the hash; else it is only printed."""
    tensors: int
    parameters: int


def inspect_weights(registry: Registry, name: str, folder: Path | None) -> dict[str, Part]:
    """Check the weights of `name`, or those in `folder`, as far as a run would; on the meta device.

    Raises as `locate`, and BadDataError (65) with the name of the first tensor or field that is
    not right.
    """
    import torch

    from lingen_models.checkpoints.load_networks import NETWORKS
    from lingen_models.checkpoints.safetensors import (
        CheckpointError,
        build_network,
        check_network,
        read_metadata,
        read_shapes,
    )

    model = locate(registry, name, folder)
    weights = registry.model_variants[name].weights
    pinned = weights.sha256 if weights and folder is None else {}
    parts: dict[str, Part] = {}
    for part, path in model.files.items():
        try:
            if part in model.foreign:
                parts[part] = _foreign(model, part)
                continue
            metadata = read_metadata(path)
            with torch.device("meta"):
                network = build_network(path, metadata, NETWORKS[metadata["kind"]])
            check_network(path, network)
            shapes = read_shapes(path)
        except CheckpointError as error:
            raise BadDataError(str(error)) from error
        parts[part] = Part(
            path=path,
            bytes=path.stat().st_size,
            sha256=model.hashes[part],
            pinned=part in pinned,
            tensors=len(shapes),
            parameters=sum(map(math.prod, shapes.values())),
        )
    return parts


def _foreign(model: LocatedModel, part: str) -> Part:
    """A part that a plugin builds, built: that is how its files are checked."""
    one = model.foreign[part]
    read = one.record.folders(one.folder) if one.record.folders and one.folder else ()
    files = [file for folder in read for file in folder.rglob("*") if file.is_file()]
    tensors = one.build().network.state_dict().values()
    return Part(
        path=one.folder or model.files[part],
        bytes=sum(file.stat().st_size for file in files or [model.files[part]]),
        sha256=model.hashes[part],
        pinned=False,
        tensors=len(tensors),
        parameters=sum(tensor.numel() for tensor in tensors),
    )
