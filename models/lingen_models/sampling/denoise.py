"""From noise to latents: Euler's method, guidance, and clean frames that stay as they are."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from lingen_models.networks.embeddings import LayoutFeatures, stack_layouts
from lingen_models.sampling.flow import SCHEDULES
from lingen_models.sampling.guidance import Guidance

OnStep = Callable[[int, int, Tensor], None]
"""Called with steps done, steps in all, and the present estimate of the clean latents."""
Velocity = Callable[[Tensor, float], Tensor]
Sampler = Callable[[Velocity, Tensor, Tensor, OnStep], Tensor]

Features = tuple[Tensor, ...]
Network = Callable[..., Tensor]
"""`LinGen`, or what is called like it: latents, times, features, masks, the first frame, and, if
there is one, the layout."""


@dataclass(frozen=True)
class TextFeatures:
    """Features of some prompts: per encoder (B, M, D) and (B, M) masks; and the layouts, if any,
    of the latent frames that are sampled with them."""

    features: tuple[Tensor, ...]
    masks: tuple[Tensor, ...]
    layout: LayoutFeatures | None = None

    def inputs(self, first_frame: int) -> tuple[Any, ...]:
        """Return what a `Network` is given after latents and times; a layout only if there is
        one, so networks that take none need not know of it."""
        layout = () if self.layout is None else (self.layout,)
        return (self.features, self.masks, first_frame, *layout)


@dataclass(frozen=True)
class Fade:
    """Another prompt to begin with: `share` (T,) is how much the prompt itself counts per frame."""

    before: TextFeatures
    share: Tensor


def euler(velocity: Velocity, noise: Tensor, times: Tensor, on_step: OnStep) -> Tensor:
    """Follow `velocity(x, t)` from `noise` through `times` (steps + 1,) by Euler's method."""
    x = noise
    points = times.tolist()
    for step, (now, after) in enumerate(pairwise(points)):
        v = velocity(x, now)
        estimate = x + (1 - now) * v
        x = x + (after - now) * v
        on_step(step + 1, len(points) - 1, estimate)
    return x


def ancestral(eta: float) -> Sampler:
    """Return a sampler like `euler`, but a share `eta` of the noise that is left is fresh after
    every step.

    So a mistake of an early step can be made good (DDIM with eta, arXiv 2010.02502; ancestral
    sampling). The fresh noise depends on the present state alone: what goes on from a state ends
    as the whole does.
    """

    def run(velocity: Velocity, noise: Tensor, times: Tensor, on_step: OnStep) -> Tensor:
        x = noise
        points = times.tolist()
        for step, (now, after) in enumerate(pairwise(points)):
            v = velocity(x, now)
            estimate, rest = x + (1 - now) * v, x - now * v
            if after < 1:
                rest = (1 - eta**2) ** 0.5 * rest + eta * _noise_of(x)
            x = after * estimate + (1 - after) * rest
            on_step(step + 1, len(points) - 1, estimate)
        return x

    return run


def _noise_of(x: Tensor) -> Tensor:
    """Standard normal noise of the shape of `x`, drawn on the CPU, seeded by its numbers."""
    digest = hashlib.sha256(x.detach().cpu().float().contiguous().numpy().tobytes()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))
    return torch.randn(x.shape, generator=generator).to(x)


@dataclass(frozen=True)
class SamplingMethod:
    """Loop of a sampler, the schedule of its steps, and the time from which it guides by itself."""

    loop: Sampler = euler
    schedule: str = "linear-quadratic"
    guided_after: float = 0.0

    def times(self, steps: int) -> Tensor:
        """(steps + 1,) times from 0 to 1. Raises ValueError for an unknown schedule."""
        if self.schedule not in SCHEDULES:
            raise ValueError(f"unknown schedule {self.schedule!r}: {', '.join(SCHEDULES)}")
        return SCHEDULES[self.schedule](steps)


def row_by_row(network: Network) -> Network:
    """`network`, called once for each row of a batch: slower, with less memory at a time."""

    def run(
        x: Tensor,
        t: Tensor,
        features: Features,
        masks: Features,
        first_frame: int,
        *layout: LayoutFeatures,
    ) -> Tensor:
        rows = [
            network(
                x[row : row + 1],
                t[row : row + 1],
                tuple(one[row : row + 1] for one in features),
                tuple(one[row : row + 1] for one in masks),
                first_frame,
                *(one.row(row) for one in layout),
            )
            for row in range(x.shape[0])
        ]
        return torch.cat(rows)

    return run


def sample_latents(
    network: Network,
    noise: Tensor,
    prompt: TextFeatures,
    negative: TextFeatures,
    *,
    times: Tensor,
    guidance: Guidance,
    sampler: Sampler = euler,
    prefix: Tensor | None = None,
    suffix: Tensor | None = None,
    first_frame: int = 0,
    fade: Fade | None = None,
    on_step: OnStep | None = None,
) -> Tensor:
    """Sample (B, C, T, H, W) latents in float32, one prompt per row.

    Args:
        noise: (B, C, T, H, W) standard normal.
        prompt, negative: features of B prompts each; guidance moves from the second to the first
            (classifier-free guidance, paper.md 1.7). While guidance is 1 the second is not used.
        times: (steps + 1,) from 0 to 1.
        prefix: (B, C, F, H, W) clean latent frames that begin the clip and are kept as they are.
        suffix: the same for its end.
        first_frame: number of the first latent frame in its video, for a window of a longer one.
        fade: a prompt from which these frames come over to `prompt`: both are asked, and their
            answers are mixed frame by frame.
        on_step: what it raises stops the sampling.
    """
    begin = 0 if prefix is None else prefix.shape[2]
    end = noise.shape[2] - (0 if suffix is None else suffix.shape[2])
    both = prompt if fade is None else _stack(prompt, fade.before)
    with_negative = _stack(both, negative)
    rows = noise.shape[0]

    def with_clean(x: Tensor) -> Tensor:
        parts = [x[:, :, begin:end]]
        if prefix is not None:
            parts.insert(0, prefix.to(x))
        if suffix is not None:
            parts.append(suffix.to(x))
        return torch.cat(parts, 2) if len(parts) > 1 else x

    def velocity(x: Tensor, now: float) -> Tensor:
        strength = guidance.at(now)
        guided = strength != 1
        pair = with_negative if guided else both
        t = torch.ones(pair.masks[0].shape[0], noise.shape[2], device=noise.device)
        t[:, begin:end] = now
        batch = with_clean(x)
        copies = batch.repeat(t.shape[0] // rows, 1, 1, 1, 1)
        v = network(copies, t, *pair.inputs(first_frame)).float()
        answers = v.chunk(v.shape[0] // rows)
        towards = answers[0]
        if fade is not None:
            towards = torch.lerp(answers[1], towards, fade.share.to(v)[:, None, None])
        return torch.lerp(answers[-1], towards, strength) if guided else towards

    def report(done: int, total: int, estimate: Tensor) -> None:
        if on_step is not None:
            on_step(done, total, with_clean(estimate))

    return with_clean(sampler(velocity, noise, times, report))


def _stack(first: TextFeatures, second: TextFeatures) -> TextFeatures:
    """One batch of both, padded to the longer."""
    features, masks = [], []
    for a, b, mask_a, mask_b in zip(
        first.features, second.features, first.masks, second.masks, strict=True
    ):
        tokens = max(a.shape[1], b.shape[1])
        features.append(torch.cat([_lengthen(part, tokens) for part in (a, b)]))
        masks.append(torch.cat([_lengthen(part, tokens) for part in (mask_a, mask_b)]))
    rows = [one.masks[0].shape[0] for one in (first, second)]
    layout = stack_layouts((first.layout, second.layout), rows)
    return TextFeatures(tuple(features), tuple(masks), layout)


def _lengthen(part: Tensor, tokens: int) -> Tensor:
    extra = part.new_zeros((part.shape[0], tokens - part.shape[1], *part.shape[2:]))
    return torch.cat((part, extra), 1)
