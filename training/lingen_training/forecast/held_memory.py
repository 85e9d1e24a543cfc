"""Bytes that a training step and an encoding hold, counted on the meta device: nothing is computed.

LinGen's memory is linear in layers, rows and frames: large cases are counted in small ones.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from math import prod

import torch

from lingen_models.flops import Shape
from lingen_models.live_bytes import LiveBytes
from lingen_models.network_config import LinGenConfig, TAEConfig
from lingen_models.parallel.slabs import Slabs
from lingen_training.forecast.stage_costs import meta_autoencoder, meta_denoiser

_COUNTED_TOKENS = 8192
_SIDES, _FRAMES = (16, 16), (32, 64)
"""Latents of whole windows of the presets, in which larger clips are counted."""
_WIDER = (16, 32)
"""Twice as many, in which slabs of larger clips are counted."""
_QUESTION = 10
"""Bytes for each number of a whole clip that a process with a slab of it holds: in bf16, and in
float32 with noise and what is to be found."""
_CLIP_FRAMES = (9, 17)


@cache
def held_by_step(
    config: LinGenConfig,
    rows: int,
    shape: Shape,
    dtype: torch.dtype,
    text_tokens: tuple[int, ...],
    checkpoint: bool,
    processes: int = 1,
) -> int:
    """Count what a forward and a backward pass over `rows` rows of latents of `shape` hold at most,
    with the gradients and without the weights; where `processes` divide the clips, in that which
    holds most."""
    count = partial(_counted_step, config, dtype, text_tokens, checkpoint)
    patch = config.patch[1] * config.patch[2]
    tokens, small = (area[0] * area[1] // patch for area in (shape[1:], _SIDES))

    def of_slabs(many: int, sides: tuple[int, int]) -> int:
        ranks = {0, processes // 2, processes - 1}
        return max(count(many, Slabs.even(shape[0], processes, one), sides) for one in ranks)

    def of_rows(many: int) -> int:
        if processes > 1:
            if tokens <= small or many * shape[0] // processes * tokens <= _COUNTED_TOKENS:
                return of_slabs(many, shape[1:])
            points = (small, 2 * small)
            sizes = dict(zip(points, (_SIDES, _WIDER), strict=True))
            return linear(points, tokens, lambda at: of_slabs(many, sizes[at]))
        if many * shape[0] * tokens <= _COUNTED_TOKENS:
            return count(many, shape[0], shape[1:])
        points = (small * _FRAMES[0], small * _FRAMES[1])
        return linear(points, shape[0] * tokens, lambda at: count(many, at // small, _SIDES))

    question = 0 if processes == 1 else _QUESTION * rows * config.latent_channels * prod(shape)
    if rows <= 2 or rows * shape[0] // processes * tokens <= _COUNTED_TOKENS:
        return question + of_rows(rows)
    return question + linear((1, 2), rows, of_rows)


def linear(points: tuple[int, int], at: int, count: Callable[[int], int]) -> int:
    """A straight line through what is counted at two points."""
    low, high = points
    first, second = count(low), count(high)
    return first + (second - first) * (at - low) // (high - low)


@cache
def _counted_step(
    config: LinGenConfig,
    dtype: torch.dtype,
    text_tokens: tuple[int, ...],
    checkpoint: bool,
    rows: int,
    frames: int | Slabs,
    sides: tuple[int, int],
) -> int:
    """Count a case as it is, a whole clip or a slab; the same small cases stand for many large
    ones."""
    own, slabs = (frames, None) if isinstance(frames, int) else (frames.size, frames)

    def of_depth(depth: int) -> int:
        network = meta_denoiser(replace(config, depth=depth), dtype)
        network.checkpoint_blocks = checkpoint
        with torch.device("meta"):
            latents = torch.zeros(rows, config.latent_channels, own, *sides)
            times = torch.zeros(rows, own)
            texts = [
                torch.zeros(rows, count, size, dtype=dtype)
                for count, size in zip(text_tokens, config.text_dims, strict=True)
            ]
            masks = [torch.ones(rows, count, dtype=torch.bool) for count in text_tokens]
        live = LiveBytes()
        with live:
            found = network(latents, times, texts, masks, slabs=slabs).float()
            (found - torch.zeros_like(found)).square().mean().backward()
        network.zero_grad()
        return live.peak

    return linear((1, 2), config.depth, of_depth) if config.depth > 2 else of_depth(config.depth)


@cache
def held_by_encoding(
    config: TAEConfig, clips: int, frames: int, size: tuple[int, int], dtype: torch.dtype
) -> int:
    """Count what encoding `clips` clips of `frames` frames of `size` pixels, width and height,
    holds."""
    if frames > _CLIP_FRAMES[1]:
        return linear(
            _CLIP_FRAMES, frames, lambda few: held_by_encoding(config, clips, few, size, dtype)
        )
    network = meta_autoencoder(config, dtype)
    video = torch.zeros(clips, 3, frames, size[1], size[0], device="meta")
    live = LiveBytes()
    with torch.inference_mode(), live:
        network.encode(video)
    return live.peak + video.nbytes


@cache
def held_by_autoencoder_step(
    config: TAEConfig, clips: int, frames: int, size: int, dtype: torch.dtype
) -> int:
    """Count what a training step of the autoencoder holds, with the gradients and without the
    weights."""
    network = meta_autoencoder(config, dtype)
    video = torch.zeros(clips, 3, frames, size, size, device="meta")
    live = LiveBytes()
    with live:
        mean, log_variance = network.posterior(video.to(dtype))
        latents = mean + (0.5 * log_variance).exp().to(mean.dtype)
        difference = network.decoder(latents).float() - video
        (difference.abs().mean() + difference.square().mean() + mean.float().mean()).backward()
    network.zero_grad()
    return live.peak + video.nbytes
