"""What is told about a model variant: a row of the list, and all of its record."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lingen_cli.fit import file_hash
from lingen_cli.weights import how_to_get, size_of, state_of
from lingen_plugins.contracts import ModelVariant
from lingen_plugins.registry import Registry


def row(registry: Registry, name: str) -> dict[str, Any]:
    """What the list says of one variant; `bytes` is None where nobody knows."""
    variants = registry.model_variants
    variant = variants[name]
    return {
        "name": name,
        "weights": state_of(variant) == "ready",
        "state": state_of(variant),
        "bytes": size_of(variant),
        "licence": variant.licence,
        "trained_seconds": variant.trained_seconds,
        "get": how_to_get(variant),
        "plugin": variants.owner(name),
        "summary": variant.summary,
    }


def ways(variants: Iterable[ModelVariant]) -> dict[str, list[str]]:
    """Command that gets weights -> the names of those that it is for, which stand for NAME."""
    found: dict[str, list[str]] = {}
    for variant in variants:
        if way := how_to_get(variant, "NAME"):
            found.setdefault(way, []).append(variant.name)
    return found


def facts(registry: Registry, name: str) -> dict[str, Any]:
    """Everything of one variant. JSON types; the keys are what people read, too."""
    variants = registry.model_variants
    variant = variants[name]
    parts = _parts(variant)
    return {
        "name": variant.name,
        "summary": variant.summary,
        "plugin": variants.owner(name),
        "licence": variant.licence,
        "trained for": f"{variant.size}x{variant.size}, {variant.fps} fps, "
        f"up to {variant.trained_seconds:g} s",
        "parameters": _parameters(variant, parts),
        "state": state_of(variant),
        "bytes": size_of(variant),
        "get": how_to_get(variant),
        "repository": variant.weights.repository if variant.weights else None,
        "revision": variant.weights.revision if variant.weights else None,
        "weights": parts,
        "steps": variant.steps,
        "guidance": variant.guidance,
        "autoencoder": variant.autoencoder,
        "text encoders": list(variant.text_encoders),
        "scan order": variant.scan_order,
        "review tokens": variant.review,
        "sampler": variant.sampler,
        "config": dict(variant.config),
    }


def _parts(variant: ModelVariant) -> dict[str, dict[str, Any]]:
    weights = variant.weights
    if weights is None:
        return {}
    return {
        part: {
            "path": str(path),
            "here": path.is_file(),
            "bytes": path.stat().st_size if path.is_file() else weights.sizes.get(part),
            "parameters": _count(path),
            "sha256": weights.sha256.get(part) or (file_hash(path) if path.is_file() else None),
            "pinned": part in weights.sha256,
        }
        for part, path in weights.files().items()
    }


def _count(path: Path) -> int | None:
    """Numbers in a weights file; None where it cannot be told."""
    from lingen_models.checkpoint import CheckpointError, read_shapes

    try:
        return sum(math.prod(shape) for shape in read_shapes(path).values())
    except (CheckpointError, OSError):
        return None


def _parameters(variant: ModelVariant, parts: dict[str, dict[str, Any]]) -> int | None:
    """Of the denoiser: those in its file, or those that its network would have."""
    if parts and (known := parts["denoiser"]["parameters"]) is not None:
        return int(known)
    try:
        import torch

        with torch.device("meta"):
            network = variant.build(variant.config)
        return sum(value.numel() for value in network.parameters())
    except (Exception, SystemExit):  # whatever a plugin's `build` may raise
        return None
