"""Loss on fixed clips, noise and times: a yardstick that does not jump as the training loss does.

The training loss changes with the times and the clips that a step draws. Here they are always the
same, and what counts is the mean squared error of the velocity over the tokens of objects.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from lingen_models.checkpoints.load_networks import VideoAutoencoder
from lingen_models.sampling.flow import interpolate, velocity
from lingen_playground import canonical_caption, render, sample_scene
from lingen_training.datasets.clip_cache import frame_boxes
from lingen_training.datasets.clip_layouts import LayoutBatch, whole_layouts
from lingen_training.optimization.parallel import ALONE, Group
from lingen_training.stages.pair import Pair

TIMES = (0.08, 0.15, 0.25, 0.4)
"""Flow times at which what a clip shows is decided."""
_FIRST_SEED = 7_000_000
_SIZE = 128
_FRAMES = 9
_AT_ONCE = 4


@dataclass(frozen=True)
class FixedClips:
    """Held-out clips of four seconds: latents (B, C, T, h, w), where their objects are
    (B, T, h, w), captions and layouts."""

    numbers: list[int]
    latents: Tensor
    objects: Tensor
    captions: list[str]
    layouts: LayoutBatch

    def noise(self, time: float) -> Tensor:
        """Noise of the latents' shape that depends on the time and on the number of each clip."""
        seeds = (number * 1000 + int(1000 * time) for number in self.numbers)
        rows = [
            torch.randn(self.latents.shape[1:], generator=torch.Generator().manual_seed(seed))
            for seed in seeds
        ]
        return torch.stack(rows)


@torch.no_grad()
def fixed_clips(autoencoder: VideoAutoencoder, count: int, group: Group = ALONE) -> FixedClips:
    """Render and encode those of the first `count` held-out scenes that this process of the group
    looks after."""
    numbers = list(group.own(count))
    scenes = [sample_scene(_FIRST_SEED + number, split="heldout") for number in numbers]
    frames = 1 + autoencoder.time_stride * (_FRAMES - 1)
    device = next(autoencoder.parameters()).device
    latents, masks = [], []
    for scene in scenes:
        latents.append(autoencoder.encode(render([scene], frames, _SIZE, device=device)).float())
        side = latents[-1].shape[-1]
        mask = torch.zeros(_FRAMES, side, side)
        boxes = frame_boxes(scene, 0.0, _FRAMES, autoencoder.time_stride)
        for frame, box in enumerate(boxes.tolist()):
            # Whole tokens of two by two latents that the box touches.
            left, top = (2 * max(0, math.floor(at * side / 2)) for at in box[:2])
            right, bottom = (2 * math.ceil(at * side / 2) for at in box[2:])
            mask[frame, top:bottom, left:right] = 1
        masks.append(mask)
    captions = [canonical_caption(scene) for scene in scenes]
    layouts = whole_layouts(scenes, _FRAMES, _SIZE, autoencoder.time_stride)
    return FixedClips(numbers, torch.cat(latents), torch.stack(masks), captions, layouts)


@torch.no_grad()
def object_loss(
    pair: Pair, clips: FixedClips, group: Group = ALONE, *, layout: bool = False
) -> dict[str, float]:
    """Mean squared error of the velocity over the tokens of objects at each of `TIMES`, and their
    mean as "loss"; with `layout`, also with layouts, as "layout0.08" and so on. The processes
    of the group put their clips together."""
    marks = _losses(pair, clips, None, group)
    found = {"loss": sum(marks) / len(marks)}
    found |= {f"t{time:g}": mark for time, mark in zip(TIMES, marks, strict=True)}
    if layout:
        marks = _losses(pair, clips, clips.layouts, group)
        found |= {f"layout{time:g}": mark for time, mark in zip(TIMES, marks, strict=True)}
    return found


def _losses(
    pair: Pair, clips: FixedClips, layouts: LayoutBatch | None, group: Group
) -> list[float]:
    device = pair.denoiser.patch_in.weight.device
    marks = []
    for time in TIMES:
        noise = clips.noise(time)
        sums = torch.zeros(2, dtype=torch.float64)
        for first in range(0, len(clips.captions), _AT_ONCE):
            part = slice(first, first + _AT_ONCE)
            data, blank = clips.latents[part].to(device), noise[part].to(device)
            times = torch.full((data.shape[0], data.shape[2]), time, device=device)
            features, masks = pair.read(clips.captions[part])
            layout = None if layouts is None else layouts.part(part).read(pair)
            noisy = interpolate(data, blank, times)
            more = () if layout is None else (layout,)
            found = pair.denoiser(noisy, times, features, masks, 0, *more)
            error = (found.float() - velocity(data, blank)).square().mean(1)
            objects = clips.objects[part].to(device)
            sums += torch.stack(((error * objects).sum(), objects.sum())).double().cpu()
        group.sum(sums)
        marks.append(float(sums[0] / sums[1]))
    return marks
