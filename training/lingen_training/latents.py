"""Clips rendered and encoded once, kept on disk, so that training pays for the network alone."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from lingen_models.autoencoder import TIME_STRIDE, TemporalAutoencoder
from lingen_models.checkpoint import load_tensors, save_tensors
from lingen_training.loop import Report
from lingen_training.playground import Scene, render, sample_scene

_FRAMES_AT_ONCE = 2048
"""Rendered frames of 64 x 64 pixels, or as many pixels in larger ones, that are held at a time."""


@dataclass(frozen=True)
class LatentClips:
    """Encoded clips: (clips, C, T, h, w) in bf16, and the scene of each."""

    latents: Tensor
    scenes: Sequence[Scene]

    def pick(self, rng: random.Random, count: int) -> tuple[Tensor, list[Scene]]:
        """`count` random clips."""
        chosen = [rng.randrange(len(self.scenes)) for _ in range(count)]
        return self.latents[chosen], [self.scenes[index] for index in chosen]


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
    shards, scenes = [], []
    for first in range(0, clips, per_shard):
        count = min(per_shard, clips - first)
        path = folder / f"{name}-{first}-{count}.safetensors"
        if not path.exists():
            report(f"latents: clips {first + 1} to {first + count} of {clips}, {frames} frames")
            _write_shard(path, network, first, count, frames, size, seed)
        tensors, metadata = load_tensors(path)
        shards.append(tensors["latents"])
        scenes += [Scene.from_dict(record) for record in json.loads(metadata["scenes"])]
    return LatentClips(torch.cat(shards), scenes)


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
    rngs = [random.Random(f"{seed}/clip/{first + index}") for index in range(count)]
    scenes = [sample_scene(rng.randrange(2**31)) for rng in rngs]
    starts = [rng.uniform(0, 20) for rng in rngs]
    group = max(1, int(_FRAMES_AT_ONCE * 64 * 64 / (frames * size * size)))
    latents = []
    for at in range(0, count, group):
        part = scenes[at : at + group]
        video = render(part, frames, size, start=_start(part, starts[at]), device=device)
        latents.append(network.encode(video).to(torch.bfloat16).cpu())
    records = json.dumps([scene.to_dict() for scene in scenes])
    save_tensors(path, {"latents": torch.cat(latents)}, {"scenes": records})


def _start(scenes: Sequence[Scene], start: float) -> float:
    """Zooms begin with the clip; everything else may be joined at any time."""
    return 0.0 if any(scene.camera.startswith("zoom") for scene in scenes) else start
