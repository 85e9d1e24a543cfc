"""Clips rendered and encoded once, kept on disk, so that training pays for the network alone."""

from __future__ import annotations

import hashlib
import json
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lingen_models.autoencoder import TIME_STRIDE
from lingen_models.checkpoint import load_tensors, save_tensors
from lingen_models.loading import VideoAutoencoder
from lingen_training.data import PLAYGROUND, World, rendered
from lingen_training.loop import Report
from lingen_training.playground import FPS, Scene, extent

_FRAMES_AT_ONCE = 2048
"""Rendered frames of 64 x 64 pixels, or as many pixels in larger ones, that are held at a time."""


@dataclass(frozen=True)
class LatentClips:
    """Encoded clips: (clips, C, T, h, w) in bf16, the scene of each, and the scene's time in
    seconds at which it begins."""

    latents: Tensor
    scenes: Sequence[Any]
    starts: Sequence[float]
    time_stride: int = TIME_STRIDE
    """Frames per latent frame."""

    def pick(
        self,
        rng: random.Random,
        count: int,
        frames: int,
        *,
        inside: bool = False,
        window: tuple[int, int] | None = None,
    ) -> tuple[Tensor, list[Any]]:
        """`frames` latent frames of `count` random clips: (count, C, frames, h, w), and the scenes.

        The first frames, or with `inside` some that begin later (a clip's first latent frame holds
        one picture, the others `time_stride`). With `window`, a width and height in latent pixels,
        a part of the picture that holds all objects in all of these frames; clips whose objects go
        too far for that are left out. Raises ValueError where all seem to be.
        """
        total, high, wide = self.latents.shape[2:]
        pieces, scenes = [], []
        for _ in range(200 * count):
            index = rng.randrange(len(self.scenes))
            begin = rng.randint(1, total - frames) if inside else 0
            piece = self.latents[index, :, begin : begin + frames]
            if window is not None:
                left, top, right, bottom = self._bounds(index, begin, frames)
                x = _place(rng, left, right, wide, window[0])
                y = _place(rng, top, bottom, high, window[1])
                if x is None or y is None:
                    continue
                piece = piece[..., y : y + window[1], x : x + window[0]]
            pieces.append(piece)
            scenes.append(self.scenes[index])
            if len(pieces) == count:
                return torch.stack(pieces), scenes
        raise ValueError(f"no clips whose objects fit into {window} of {wide} x {high}")

    def only(self, motions: Sequence[str]) -> LatentClips:
        """Those clips in which every object does one of `motions`. Raises ValueError for none."""
        found = [
            index
            for index, scene in enumerate(self.scenes)
            if all(thing.motion in motions for thing in scene.objects)
        ]
        if not found:
            raise ValueError(f"none of {len(self.scenes)} clips shows only {', '.join(motions)}")
        scenes = [self.scenes[index] for index in found]
        starts = [self.starts[index] for index in found]
        return LatentClips(self.latents[found], scenes, starts, self.time_stride)

    def _bounds(self, index: int, begin: int, frames: int) -> tuple[float, float, float, float]:
        """Left, top, right, bottom of all objects of a clip in these latent frames."""
        boxes = _boxes(
            self.scenes[index], self.starts[index], self.latents.shape[2], self.time_stride
        )
        span = boxes[begin : begin + frames]
        left, top = span[:, :2].amin(0).tolist()
        right, bottom = span[:, 2:].amax(0).tolist()
        return left, top, right, bottom


@cache  # asked for again in every epoch
def _boxes(scene: Scene, start: float, latent_frames: int, stride: int) -> Tensor:
    """`extent` of each latent frame, (latent_frames, 4): the first is one frame, the others are
    `stride`."""
    frames = stride * latent_frames  # the first frame stands for those that are not there
    numbers = (torch.arange(frames, dtype=torch.float64) - stride + 1).clamp(min=0)
    every = extent(scene, start + numbers / FPS).view(latent_frames, stride, 4)
    return torch.cat((every[..., :2].amin(1), every[..., 2:].amax(1)), dim=1)


def latent_clips(
    network: VideoAutoencoder,
    *,
    autoencoder_hash: str,
    clips: int,
    latent_frames: int,
    size: int,
    seed: int,
    folder: Path,
    report: Report,
    world: World = PLAYGROUND,
    world_name: str = "",
    alike: float = 0.0,
) -> LatentClips:
    """Read a cache from `folder`, or render, encode and write it. Files are written whole.

    A file name holds a hash of all that decides its content, so nothing stale is ever read.
    `world_name` tells a world from others; the playground has none, and alone knows `alike`.
    Building goes on where a killed run stopped, shard by shard.
    """
    frames = 1 + network.time_stride * (latent_frames - 1)
    key = f"{autoencoder_hash}/{latent_frames}/{size}/{seed}{world_name}"
    if alike:
        key += f"/alike {alike}"
    name = hashlib.sha256(key.encode()).hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    per_shard = max(1, min(clips, 4096 // latent_frames))
    shards: list[Tensor] = []
    scenes: list[Any] = []
    starts: list[float] = []
    for first in range(0, clips, per_shard):
        count = min(per_shard, clips - first)
        path = folder / f"{name}-{first}-{count}.safetensors"
        if not path.exists():
            report(f"latents: clips {first + 1} to {first + count} of {clips}, {frames} frames")
            _write_shard(path, network, world, first, count, frames, size, seed, alike)
        tensors, metadata = load_tensors(path)
        shards.append(tensors["latents"])
        drawn, begins = _drawn(world, first, count, frames, size, seed, alike)
        kept = [Scene.from_dict(record) for record in json.loads(metadata["scenes"])]
        scenes += kept or drawn
        starts += begins
    return LatentClips(torch.cat(shards), scenes, starts, network.time_stride)


@torch.no_grad()
def _write_shard(
    path: Path,
    network: VideoAutoencoder,
    world: World,
    first: int,
    count: int,
    frames: int,
    size: int,
    seed: int,
    alike: float,
) -> None:
    device = next(network.parameters()).device
    scenes, starts = _drawn(world, first, count, frames, size, seed, alike)
    group = _group(frames, size)
    latents = []
    for at in range(0, count, group):
        video = rendered(world, scenes[at : at + group], frames, size, starts[at], device)
        latents.append(network.encode(video).to(torch.bfloat16).cpu())
    records = json.dumps([scene.to_dict() for scene in scenes if isinstance(scene, Scene)])
    save_tensors(path, {"latents": torch.cat(latents)}, {"scenes": records})


def _drawn(
    world: World, first: int, count: int, frames: int, size: int, seed: int, alike: float = 0.0
) -> tuple[list[Any], list[float]]:
    """Scenes of a shard and when each begins: those that are rendered together, at one time."""
    rngs = [random.Random(f"{seed}/clip/{first + index}") for index in range(count)]
    more = {"alike": alike} if alike else {}
    scenes = [world.sample_scene(rng.randrange(2**31), **more) for rng in rngs]
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


def _start(scenes: Sequence[Any], start: float) -> float:
    """Zooms begin with the clip; everything else may be joined at any time."""
    zooms = (isinstance(one, Scene) and one.camera.startswith("zoom") for one in scenes)
    return 0.0 if any(zooms) else start
