"""Layouts of clips whose scenes are known: which a denoiser is trained on."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from lingen_models.networks.embeddings import INSTANTS, LayoutFeatures, pad_objects, pooled
from lingen_models.pipelines.text_to_video import layout_discs
from lingen_models.sampling.layout import latent_instants
from lingen_playground import FPS, Scene, course_of, object_phrase
from lingen_training.datasets.clip_cache import Picked
from lingen_training.datasets.world import MeasuredWorld
from lingen_training.stages.alignment import TOKEN
from lingen_training.stages.pair import Pair

_Row = tuple[Tensor, list[str]]
"""Discs (T, n, INSTANTS, 5), and the phrases of their objects."""


@dataclass(frozen=True)
class LayoutBatch:
    """Layouts of a batch: `discs` (B, T, N, INSTANTS, 5) as of `LayoutFeatures`, and per row the
    phrases of its objects, at most N; a row without any has no layout."""

    discs: Tensor
    phrases: list[list[str]]

    def part(self, rows: slice) -> LayoutBatch:
        """Some rows."""
        return LayoutBatch(self.discs[rows], self.phrases[rows])

    def read(self, pair: Pair) -> LayoutFeatures:
        """Features, the phrases as the first text encoder reads them."""
        count = self.discs.shape[2]
        phrases = [one for row in self.phrases for one in [*row, *[""] * (count - len(row))]]
        features, masks = pair.read(phrases)
        found = pooled(features[0], masks[0]).reshape(len(self.phrases), count, -1)
        return LayoutFeatures(self.discs.to(found.device), found)


def layouts_of(
    picked: Picked,
    starts: Sequence[float],
    total: int,
    size: int,
    stride: int,
    share: float,
    rng: random.Random,
) -> LayoutBatch:
    """Layouts of a random `share` of clips of the playground; the other arguments are those of
    `alignment.ground_truth`."""
    frames = picked.latents.shape[2]
    rows: list[_Row] = []
    for row, scene in enumerate(picked.scenes):
        begin, corner = picked.begins[row], torch.tensor(picked.corners[row])
        drawn = _discs(scene, starts[row], total, size, stride)[begin : begin + frames].clone()
        drawn[..., :2] -= corner / 2  # a token is a pair of latents
        said = [object_phrase(obj, rng, still=frames == 1) for obj in scene.objects]
        shown = rng.random() < share
        rows.append((drawn, said) if shown else (torch.zeros_like(drawn), []))
    return _joined(rows)


def measured_layouts(
    picked: Picked, world: MeasuredWorld, total: int, stride: int, share: float, rng: random.Random
) -> LayoutBatch:
    """Layouts that are measured in a random `share` of clips, which have `total` latent frames of
    `stride` frames; rows in which nothing is found have none."""
    frames, (high, wide) = picked.latents.shape[2], picked.latents.shape[-2:]
    grid = high // 2, wide // 2  # a token is a pair of latents
    rows: list[_Row] = []
    for row, scene in enumerate(picked.scenes):
        begin = picked.begins[row]
        shown = rng.random() < share
        layout = world.layout(scene, 1 + stride * (total - 1)) if shown else None
        if layout is None:
            rows.append((torch.zeros(frames, 1, INSTANTS, 5), []))
        else:
            discs = layout_discs(layout, range(begin, begin + frames), grid, stride)[0]
            rows.append((discs, [one.phrase for one in layout.objects]))
    return _joined(rows)


def whole_layouts(scenes: Sequence[Scene], frames: int, size: int, stride: int) -> LayoutBatch:
    """Layouts of whole clips that begin with their scenes; `frames` are latent ones."""
    discs = [_discs(scene, 0.0, frames, size, stride) for scene in scenes]
    phrases = [[object_phrase(obj) for obj in scene.objects] for scene in scenes]
    return _joined(list(zip(discs, phrases, strict=True)))


@lru_cache(maxsize=32768)  # asked for again whenever the clip is drawn
def _discs(scene: Scene, start: float, frames: int, size: int, stride: int) -> Tensor:
    """Discs (frames, objects, INSTANTS, 5) of a scene in a clip of so many latent frames."""
    instants = torch.tensor(latent_instants(range(frames), stride), dtype=torch.float64)
    times = start + instants.flatten() / FPS
    found = []
    for layer in range(len(scene.objects)):
        course = course_of(scene, layer, times)
        place = torch.stack((course.x, course.y, course.radius), -1) * (size / TOKEN)
        rest = torch.stack((course.angle, torch.ones_like(course.angle)), -1)
        found.append(torch.cat((place, rest), -1).view(frames, -1, 5))
    return torch.stack(found, 1).float()


def _joined(rows: Sequence[_Row]) -> LayoutBatch:
    """One batch of layouts of some or no objects."""
    most = max(discs.shape[1] for discs, _ in rows)
    padded = [pad_objects(discs, most - discs.shape[1]) for discs, _ in rows]
    return LayoutBatch(torch.stack(padded), [phrases for _, phrases in rows])
