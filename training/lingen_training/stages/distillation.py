"""Layer by layer, mixers learn from the attention that they take the place of (LinMU, arXiv
2601.01322; paper.md 5): first the Mamba branch alone, then the window branch with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from lingen_models.networks.block import Block
from lingen_models.networks.denoiser import LinGen
from lingen_models.networks.embeddings import LayoutFeatures
from lingen_models.parallel.slabs import Slabs
from lingen_training.stages.pair import Pair
from lingen_training.training_recipe import Distilled

TRAINED: dict[Distilled | None, str] = {
    None: "",
    "mamba": ".mamba_branch.",
    "mixer": ".mixer.",
    "steps": "denoiser.",
}
"""What the names of the parameters have in them that such a stage trains."""


@dataclass(frozen=True)
class Question:
    """Question to a denoiser about a batch: noisy latents (B, C, T, h, w) at times (B, T), the
    features and the masks of the prompts, by text encoder, the first frame, perhaps layouts; and
    `target`, the velocity."""

    latents: Tensor
    times: Tensor
    features: Sequence[Tensor]
    masks: Sequence[Tensor]
    first_frame: int
    target: Tensor
    layout: LayoutFeatures | None = None

    def of(self, denoiser: nn.Module) -> Tensor:
        """The answer of `denoiser`."""
        layout = () if self.layout is None else (self.layout,)
        found: Tensor = denoiser(
            self.latents, self.times, self.features, self.masks, self.first_frame, *layout
        )
        return found

    def of_slab(self, denoiser: nn.Module, slabs: Slabs) -> Tensor:
        """The answer of `denoiser` for the latent frames that this process holds."""
        own = slice(*slabs.own)
        layout = self.layout and replace(self.layout, discs=self.layout.discs[:, own])
        found: Tensor = denoiser(
            self.latents[:, :, own],
            self.times[:, own],
            self.features,
            self.masks,
            self.first_frame,
            layout,
            slabs,
        )
        return found


def train_only(pair: Pair, distil: Distilled | None) -> None:
    """Freeze all of `pair` that such a stage does not train."""
    trained = ".lora_" if pair.has_adapter else TRAINED[distil]
    for name, part in pair.named_parameters():
        part.requires_grad_(trained in name)


def distil_loss(student: LinGen, teacher: LinGen, question: Question) -> Tensor:
    """Measure how far the student's mixers are from the teacher's, on what those are given: the
    squared error over the mean square of the teacher's answer, mean over the layers."""
    seen: list[tuple[Tensor, Tensor]] = []

    def look(module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        seen.append((inputs[0], output))

    hooks = [
        block.mixer.register_forward_hook(look)
        for block in teacher.blocks
        if isinstance(block, Block)
    ]
    try:
        with torch.no_grad():
            question.of(teacher)
    finally:
        for hook in hooks:
            hook.remove()
    losses = []
    for block, (given, wanted) in zip(student.blocks, seen, strict=True):
        assert isinstance(block, Block)
        error = (block.mixer(given).float() - wanted.float()).square().mean()
        losses.append(error / wanted.float().square().mean().clamp(min=1e-12))
    return torch.stack(losses).mean()
