"""Clips rendered and encoded once, kept on disk, so that training pays for the network alone."""

from __future__ import annotations

import hashlib
import json
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from lingen_models.autoencoder import TIME_STRIDE, TemporalAutoencoder
from lingen_models.checkpoint import load_tensors, save_tensors
from lingen_training.loop import Report
from lingen_training.playground import Scene, extent, render, sample_scene

_extent = lru_cache(maxsize=None)(extent)  # asked for again in every epoch

_FRAMES_AT_ONCE = 2048
"""Rendered frames of 64 x 64 pixels, or as many pixels in larger ones, that are held at a time."""


@dataclass(frozen=True)
class LatentClips:
    """Encoded clips: (clips, C, T, h, w) in bf16, the scene of each, and the scene's time in
    seconds at which it begins."""

    latents: Tensor
    scenes: Sequence[Scene]
    starts: Sequence[float]

    def pick(self, rng: random.Random, count: int) -> tuple[Tensor, list[Scene]]:
        """`count` random clips."""
        chosen = [rng.randrange(len(self.scenes)) for _ in range(count)]
        return self.latents[chosen], [self.scenes[index] for index in chosen]

    def pick_close(self, rng: random.Random, count: int, side: int) -> tuple[Tensor, list[Scene]]:
        """Windows of `side` x `side` latent pixels from the first frames of `count` random clips,
        each window about all objects of its clip; (count, C, 1, side, side).

        Clips whose objects are too far apart are left out. Raises ValueError where all seem to be.
        """
        grid = self.latents.shape[-1]
        windows, scenes = [], []
        for _ in range(100 * count):
            index = rng.randrange(len(self.scenes))
            left, top, right, bottom = _extent(self.scenes[index], self.starts[index])
            x, y = _place(rng, left, right, grid, side), _place(rng, top, bottom, grid, side)
            if x is not None and y is not None:
                windows.append(self.latents[index, :, :1, y : y + side, x : x + side])
                scenes.append(self.scenes[index])
            if len(windows) == count:
                return torch.stack(windows), scenes
        raise ValueError(f"no clips whose objects fit into {side} of {grid} latent pixels")


def latent_clips(
    network: TemporalAutoencoder,
    *,
    autoencoder_hash: str,
    clips: int,
    latent_frames: int,
    size: int,
    seed: int,
    folder: Path,
    report: Report,
) -> LatentClips:
    """Read a cache from `folder`, or render, encode and write it. Files are written whole.

    A file name holds a hash of all that decides its content, so nothing stale is ever read.
    Building goes on where a killed run stopped, shard by shard.
    """
    frames = 1 + TIME_STRIDE * (latent_frames - 1)
    key = f"{autoencoder_hash}/{latent_frames}/{size}/{seed}"
    name = hashlib.sha256(key.encode()).hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    per_shard = max(1, min(clips, 4096 // latent_frames))
    shards: list[Tensor] = []
    scenes: list[Scene] = []
    starts: list[float] = []
    for first in range(0, clips, per_shard):
        count = min(per_shard, clips - first)
        path = folder / f"{name}-{first}-{count}.safetensors"
        if not path.exists():
            report(f"latents: clips {first + 1} to {first + count} of {clips}, {frames} frames")
            _write_shard(path, network, first, count, frames, size, seed)
        tensors, metadata = load_tensors(path)
        shards.append(tensors["latents"])
        scenes += [Scene.from_dict(record) for record in json.loads(metadata["scenes"])]
        starts += _drawn(first, count, frames, size, seed)[1]
    return LatentClips(torch.cat(shards), scenes, starts)


@torch.no_grad()
def _write_shard(
    path: Path,
    network: TemporalAutoencoder,
    first: int,
    count: int,
    frames: int,
    size: int,
    seed: int,
) -> None:
    device = network.latent_std.device
    scenes, starts = _drawn(first, count, frames, size, seed)
    group = _group(frames, size)
    latents = []
    for at in range(0, count, group):
        video = render(scenes[at : at + group], frames, size, start=starts[at], device=device)
        latents.append(network.encode(video).to(torch.bfloat16).cpu())
    records = json.dumps([scene.to_dict() for scene in scenes])
    save_tensors(path, {"latents": torch.cat(latents)}, {"scenes": records})


def _drawn(
    first: int, count: int, frames: int, size: int, seed: int
) -> tuple[list[Scene], list[float]]:
    """Scenes of a shard and when each begins: those that are rendered together, at one time."""
    rngs = [random.Random(f"{seed}/clip/{first + index}") for index in range(count)]
    scenes = [sample_scene(rng.randrange(2**31)) for rng in rngs]
    begins = [rng.uniform(0, 20) for rng in rngs]
    group = _group(frames, size)
    starts: list[float] = []
    for at in range(0, count, group):
        part = scenes[at : at + group]
        starts += [_start(part, begins[at])] * len(part)
    return scenes, starts


def _group(frames: int, size: int) -> int:
    """Clips that are rendered together."""
    return max(1, int(_FRAMES_AT_ONCE * 64 * 64 / (frames * size * size)))


def _place(rng: random.Random, low: float, high: float, grid: int, side: int) -> int | None:
    """A random first cell of `side` cells out of `grid` that hold `low` to `high`, which are in
    frame widths; None if they do not fit. What lies outside the frame need not be held."""
    first = max(0, math.ceil(min(high, 1.0) * grid) - side)
    last = min(grid - side, math.floor(max(low, 0.0) * grid))
    return rng.randint(first, last) if first <= last else None


def _start(scenes: Sequence[Scene], start: float) -> float:
    """Zooms begin with the clip; everything else may be joined at any time."""
    return 0.0 if any(scene.camera.startswith("zoom") for scene in scenes) else start
