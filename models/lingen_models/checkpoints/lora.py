"""LoRAs of lingen's own denoiser: files of small matrices that are added to a network's weights."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lingen_models.checkpoints.safetensors import (
    CheckpointError,
    check_finite,
    load_tensors,
    read_metadata,
    save_tensors,
)

KIND = "lora"
_DOWN, _UP = ".lora_A.weight", ".lora_B.weight"


@dataclass(frozen=True)
class LoraFacts:
    """Facts in the metadata of a LoRA's file."""

    base_sha256: str
    """SHA-256 of the weights of the denoiser that it was trained on."""
    rank: int
    alpha: float

    @property
    def scaling(self) -> float:
        """Factor of the product of its matrices at a scale of 1."""
        return self.alpha / self.rank


def save_lora(
    path: Path, tensors: Mapping[str, Tensor], facts: LoraFacts, training: Mapping[str, Any]
) -> None:
    """Write a LoRA, whole or not at all: `LAYER.lora_A.weight` (rank, in) and `LAYER.lora_B.weight`
    (out, rank) in float32."""
    metadata = {
        "kind": KIND,
        "base_sha256": facts.base_sha256,
        "rank": facts.rank,
        "alpha": facts.alpha,
        "training": training,
    }
    save_tensors(path, tensors, {"lingen": json.dumps(metadata, sort_keys=True)})


def read_lora(path: Path) -> LoraFacts:
    """Read the facts of a LoRA. Raises CheckpointError for a file that is none of lingen's."""
    try:
        found = read_metadata(path)
    except CheckpointError:
        found = {}
    if found.get("kind") != KIND:
        raise CheckpointError(f"{path} is no LoRA that lingen train wrote")
    base, rank, alpha = (found.get(key) for key in ("base_sha256", "rank", "alpha"))
    known = isinstance(base, str) and isinstance(rank, int) and rank > 0
    if known and isinstance(alpha, int | float):
        assert isinstance(base, str) and isinstance(rank, int)
        return LoraFacts(base, rank, float(alpha))
    raise CheckpointError(f"damaged LoRA: {path}: its metadata say no base, rank or alpha")


def check_base(path: Path, denoiser_sha256: str) -> None:
    """Raise CheckpointError for a LoRA of other weights, and for what is no LoRA."""
    facts = read_lora(path)
    if facts.base_sha256 != denoiser_sha256:
        raise CheckpointError(
            f"{path} is a LoRA of another base: it was trained on weights with the SHA-256 "
            f"{facts.base_sha256[:16]}..., these have {denoiser_sha256[:16]}..."
        )


@torch.no_grad()
def merge_lora(network: nn.Module, path: Path, scale: float) -> None:
    """Add a LoRA, `scale` times, to the weights of `network`. Raises CheckpointError for layers
    that the network does not have, other shapes, NaN or infinity."""
    facts = read_lora(path)
    tensors, _ = load_tensors(path)
    weights = dict(network.named_parameters())
    layers = sorted({name.removesuffix(_DOWN).removesuffix(_UP) for name in tensors})
    for layer in layers:
        down, up = tensors.get(layer + _DOWN), tensors.get(layer + _UP)
        weight = weights.get(f"{layer}.weight")
        if down is None or up is None or weight is None:
            raise CheckpointError(f"{path} is a LoRA of another model: no layer {layer}")
        if down.dim() != 2 or up.dim() != 2 or (up.shape[0], down.shape[1]) != weight.shape:
            raise CheckpointError(f"{path} is a LoRA of another model: {layer} has another size")
        check_finite(path, layer, down)
        check_finite(path, layer, up)
        change = scale * facts.scaling * (up.float() @ down.float())
        weight.copy_(weight.float() + change.to(weight.device))
