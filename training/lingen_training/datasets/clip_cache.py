"""Clips rendered and encoded once, kept on disk, so that training pays for the network alone."""

from __future__ import annotations

import functools
import hashlib
import json
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lingen_models.checkpoints.load_networks import VideoAutoencoder
from lingen_models.checkpoints.safetensors import load_tensors, save_tensors
from lingen_models.networks.video_autoencoder import TIME_STRIDE
from lingen_playground import FPS, Scene, close_up_scene, extent
from lingen_training.datasets.world import PLAYGROUND, PreparedWorld, Size, World, rendered, sides
from lingen_training.optimization.loop import Report
from lingen_training.optimization.parallel import ALONE, Group

_FRAMES_AT_ONCE = 2048
"""Rendered frames of 64 x 64 pixels, or as many pixels in larger ones, that are held at a time."""
_FILE_FRAMES = 4096
"""Latent frames in a file of a cache."""


class Picked(NamedTuple):
    """Clips as `LatentClips.pick` draws them, one row each."""

    latents: Tensor
    """(rows, C, frames, h, w)."""
    scenes: list[Any]
    indices: list[int]
    """Numbers of the clips."""
    begins: list[int]
    """Latent frames of the clips at which the rows begin."""
    corners: list[tuple[int, int]]
    """Column and line of the latents at which the rows begin."""


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
    ) -> Picked:
        """Draw `frames` latent frames of each of `count` random clips.

        The first frames, or with `inside` some that begin later (a clip's first latent frame holds
        one image, the others `time_stride`). With `window`, a width and height in latent pixels,
        a part of the image that holds all objects in all of these frames; clips whose objects go
        too far for that are left out. Raises ValueError where all seem to be.
        """
        total, high, wide = self.latents.shape[2:]
        pieces, picked = [], Picked(self.latents, [], [], [], [])
        for _ in range(200 * count):
            index = rng.randrange(len(self.scenes))
            begin = rng.randint(1, total - frames) if inside else 0
            piece = self.latents[index, :, begin : begin + frames]
            corner = (0, 0)
            if window is not None:
                left, top, right, bottom = self._bounds(index, begin, frames)
                x = _place(rng, left, right, wide, window[0])
                y = _place(rng, top, bottom, high, window[1])
                if x is None or y is None:
                    continue
                piece = piece[..., y : y + window[1], x : x + window[0]]
                corner = (x, y)
            pieces.append(piece)
            picked.scenes.append(self.scenes[index])
            picked.indices.append(index)
            picked.begins.append(begin)
            picked.corners.append(corner)
            if len(pieces) == count:
                return picked._replace(latents=torch.stack(pieces))
        raise ValueError(f"no clips whose objects fit into {window} of {wide} x {high}")

    def only(self, motions: Sequence[str]) -> LatentClips:
        """Those clips in which every object does one of `motions`. Raises ValueError for none."""
        found = [
            index
            for index, scene in enumerate(self.scenes)
            if all(obj.motion in motions for obj in scene.objects)
        ]
        if not found:
            raise ValueError(f"none of {len(self.scenes)} clips shows only {', '.join(motions)}")
        scenes = [self.scenes[index] for index in found]
        starts = [self.starts[index] for index in found]
        return LatentClips(self.latents[found], scenes, starts, self.time_stride)

    def _bounds(self, index: int, begin: int, frames: int) -> tuple[float, float, float, float]:
        """Left, top, right, bottom of all objects of a clip in these latent frames."""
        boxes = frame_boxes(
            self.scenes[index], self.starts[index], self.latents.shape[2], self.time_stride
        )
        span = boxes[begin : begin + frames]
        left, top = span[:, :2].amin(0).tolist()
        right, bottom = span[:, 2:].amax(0).tolist()
        return left, top, right, bottom


@functools.cache  # asked for again in every epoch
def frame_boxes(scene: Scene, start: float, latent_frames: int, stride: int) -> Tensor:
    """`extent` of each latent frame, (latent_frames, 4): the first is one frame, the others are
    `stride`."""
    frames = stride * latent_frames  # the first frame stands for those that are not there
    numbers = (torch.arange(frames, dtype=torch.float64) - stride + 1).clamp(min=0)
    every = extent(scene, start + numbers / FPS).view(latent_frames, stride, 4)
    return torch.cat((every[..., :2].amin(1), every[..., 2:].amax(1)), dim=1)


@dataclass(frozen=True)
class Shard:
    """One file of a cache: clips `first` to `first + count`."""

    path: Path
    first: int
    count: int


@dataclass(frozen=True)
class ClipCache:
    """Clips that are rendered and encoded once and kept in `folder`, in files that are written
    whole. Their names hold a hash of all that decides their content, so nothing stale is read."""

    network: VideoAutoencoder
    autoencoder_hash: str
    clips: int
    latent_frames: int
    size: Size
    seed: int
    folder: Path
    world: World = PLAYGROUND
    world_name: str = ""
    """Tells a dataset from others; the playground has none."""
    close_up: bool = False
    """Scenes of `close_up_scene` in place of whole ones."""
    alike: float = 0.0
    """Share of scenes of two objects that are alike; the playground alone knows it."""

    @property
    def frames(self) -> int:
        """Frames of a clip."""
        return 1 + self.network.time_stride * (self.latent_frames - 1)

    def shards(self, generation: int = 0) -> list[Shard]:
        """Files of the cache. Each generation begins a file later than the one before it, so that
        the oldest clips make room for new ones."""
        size = self.size if isinstance(self.size, int) else f"{self.size[0]}x{self.size[1]}"
        key = f"{self.autoencoder_hash}/{self.latent_frames}/{size}/{self.seed}"
        key += self.world_name + ("/close-up" if self.close_up else "")
        if self.alike:
            key += f"/alike {self.alike}"
        name = hashlib.sha256(key.encode()).hexdigest()[:16]
        most = max(1, min(self.clips, _FILE_FRAMES // self.latent_frames))
        begin = generation * most
        shards = []
        for first in range(begin, begin + self.clips, most):
            # Only the first generation may end with a smaller file.
            count = most if generation else min(most, self.clips - first)
            shards.append(Shard(self.folder / f"{name}-{first}-{count}.safetensors", first, count))
        return shards

    def read(self, generation: int = 0) -> LatentClips:
        """Read the clips of files that are there, or those of a prepared world."""
        latents: list[Tensor] = []
        scenes: list[Any] = []
        starts: list[float] = []
        for shard in self.shards(generation):
            drawn, begins = self._drawn(shard)
            starts += begins
            if isinstance(self.world, PreparedWorld):
                latents.append(self.world.latents(drawn, self.latent_frames))
                scenes += drawn
                continue
            tensors, metadata = load_tensors(shard.path)
            latents.append(tensors["latents"])
            kept = [Scene.from_dict(record) for record in json.loads(metadata["scenes"])]
            scenes += kept or drawn
        return LatentClips(torch.cat(latents), scenes, starts, self.network.time_stride)

    @torch.no_grad()
    def write(self, shard: Shard) -> None:
        """Render and encode the clips of one file."""
        self.folder.mkdir(parents=True, exist_ok=True)
        device = next(self.network.parameters()).device
        scenes, starts = self._drawn(shard)
        group = clips_at_once(self.frames, self.size)
        latents = []
        for at in range(0, shard.count, group):
            part = scenes[at : at + group]
            video = rendered(self.world, part, self.frames, self.size, starts[at], device)
            latents.append(self.network.encode(video).to(torch.bfloat16).cpu())
        records = json.dumps([scene.to_dict() for scene in scenes if isinstance(scene, Scene)])
        save_tensors(shard.path, {"latents": torch.cat(latents)}, {"scenes": records})

    def _drawn(self, shard: Shard) -> tuple[list[Any], list[float]]:
        """Scenes of a file and when each begins: those that are rendered together, at one time."""
        numbers = range(shard.first, shard.first + shard.count)
        rngs = [random.Random(f"{self.seed}/clip/{number}") for number in numbers]
        sample = close_up_scene if self.close_up else self.world.sample_scene
        more = {"alike": self.alike} if self.alike else {}
        scenes = [sample(rng.randrange(2**31), **more) for rng in rngs]
        begins = [rng.uniform(0, 20) for rng in rngs]
        group = clips_at_once(self.frames, self.size)
        starts: list[float] = []
        for at in range(0, shard.count, group):
            part = scenes[at : at + group]
            starts += [_start(part, begins[at])] * len(part)
        return scenes, starts


def fill_caches(
    caches: Sequence[tuple[ClipCache, int]], report: Report, group: Group = ALONE
) -> None:
    """Write the files that these caches lack for their generation; the processes of a group share
    them out. Goes on where a killed run stopped, file by file. A prepared world needs none."""
    missing: dict[Path, tuple[ClipCache, Shard]] = {}
    for cache, generation in caches:
        if isinstance(cache.world, PreparedWorld):
            continue
        for shard in cache.shards(generation):
            if not shard.path.exists():
                missing[shard.path] = (cache, shard)
    group.wait()  # all have looked before any writes
    work = sorted(missing.values(), key=lambda one: -_pixels(*one))
    for at in group.own(len(work)):
        cache, shard = work[at]
        last = shard.first + shard.count
        report(f"latents: clips {shard.first + 1} to {last}, {cache.frames} frames")
        cache.write(shard)
    group.wait()


def _pixels(cache: ClipCache, shard: Shard) -> int:
    return shard.count * cache.frames * math.prod(sides(cache.size))


def clips_at_once(frames: int, size: Size) -> int:
    """Count the clips that are rendered and encoded together."""
    return max(1, int(_FRAMES_AT_ONCE * 64 * 64 / (frames * math.prod(sides(size)))))


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
