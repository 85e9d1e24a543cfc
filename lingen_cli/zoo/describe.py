"""Descriptions of models: a row of `lingen models list`, all that `lingen models show` tells."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lingen_cli.zoo import licenses
from lingen_cli.zoo.availability import how_to_get, size_of, state_of
from lingen_cli.zoo.compatibility import file_hash
from lingen_cli.zoo.locate_hub import cached, how_to_fetch
from lingen_models.checkpoints.safetensors import CheckpointError, read_metadata, read_shapes
from lingen_plugins.contracts import HubModel, ModelVariant
from lingen_plugins.registry import Registry


def rows(registry: Registry) -> list[dict[str, Any]]:
    """Describe every model for the list, those from elsewhere last; `bytes` is None where nobody
    knows."""
    ours, others = registry.model_variants, registry.hub_models
    found = [
        _row(one, state_of(one), size_of(one), how_to_get(one), ours.owner(name))
        for name, one in ours.items()
    ]
    for name, model in others.items():
        state, way = ("ready", None) if cached(model) else ("to fetch", how_to_fetch(model))
        found.append(_row(model, state, model.weight_bytes, way, others.owner(name)))
    return found


def _row(
    model: ModelVariant | HubModel, state: str, size: int | None, way: str | None, plugin: str
) -> dict[str, Any]:
    return {
        "name": model.name,
        "weights": state == "ready",
        "state": state,
        "bytes": size,
        "license": model.license,
        "trained_seconds": model.trained_seconds,
        "get": way,
        "plugin": plugin,
        "summary": model.summary,
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
        "license": variant.license,
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
        "with a layout": dict(variant.planned_sampling) or None,
        "autoencoder": variant.autoencoder,
        "text encoders": list(variant.text_encoders),
        "scan order": variant.scan_order,
        "review tokens": variant.review,
        "sampler": variant.sampler,
        "config": dict(variant.config),
        "words": known_words(variant),
    }


def known_words(variant: ModelVariant) -> list[str] | None:
    """Words that its text encoder knows, where it reads no others and is here."""
    if state_of(variant) != "ready" or variant.weights is None:
        return None
    try:
        metadata = read_metadata(variant.weights.files()["text_encoder"])
    except (CheckpointError, KeyError):
        return None
    words = metadata.get("config", {}).get("words")
    return list(words) if metadata.get("kind") == "words" and isinstance(words, list) else None


def hub_facts(model: HubModel) -> dict[str, Any]:
    """Everything of open weights from elsewhere, as `facts` has it."""
    found = cached(model)
    goes_on = "no"
    if model.windows is not None:
        which = "any video" if model.from_pixels else "what it made itself"
        goes_on = f"with {which}, in windows of {model.windows[0]} latent frames"
    return {
        "name": model.name,
        "summary": model.summary,
        "license": model.license or None,
        "license text": model.license_url or None,
        "accepted": _accepted(model),
        "trained for": f"{model.size}, {model.fps} fps",
        "longest piece": f"{model.trained_seconds:.4g} s",
        "sizes": f"multiples of {model.side_step}",
        "goes on": goes_on,
        "steps": model.steps,
        "guidance": model.guidance,
        "memory": f"{model.weight_bytes / 1e9:.1f} GB for the weights alone: counted, bfloat16, "
        "the autoencoder float32",
        "numbers": {part: f"{count:,}" for part, count in model.parameters.items()},
        "images": list(model.images),
        "sound": "yes" if model.sound else "no",
        "diffusers": f"{model.pipelines[0]}, from {model.since} on",
        "repository": f"{model.repository} at {model.revision}" if model.repository else None,
        "weights": "not here" if found is None else str(found),
    }


def _accepted(model: HubModel) -> str | None:
    if not model.license:
        return None
    return "yes" if licenses.is_accepted(model) else "no (--accept-license)"


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
