"""Short measurements of what a plan is made of: two blocks of a network with random weights, a few
images through an autoencoder, some frames through the encoder of videos."""

from __future__ import annotations

import math
import tempfile
import time
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from statistics import median

import numpy as np
import torch

from lingen_cli.planning.peak_memory import WORDS
from lingen_models.flops import Shape, step_flops
from lingen_models.network_config import LinGenConfig, TAEConfig
from lingen_models.networks.video_autoencoder import TemporalAutoencoder
from lingen_models.precision import compute_dtype
from lingen_training.bench.step import Step, build, growth, timed

_BLOCKS = 2
_FIRST = 3
"""Latent frames that are measured first, to know how many a measurement can afford."""
_SECONDS = 0.6
"""What one measurement may take."""
_FRAMES = 48


@dataclass(frozen=True)
class Measured:
    """Time that something took: by it, and by its size, larger ones are judged."""

    size: float
    """FLOPs, or latents."""
    seconds: float
    held: int
    """Bytes of a GPU on top of what there was before; 0 on a CPU (`peak_memory`)."""

    def seconds_of(self, size: float) -> float:
        """In proportion."""
        return self.seconds * size / self.size

    def held_of(self, size: float) -> int:
        """In proportion."""
        return int(self.held * size / self.size)


def flops_of(config: LinGenConfig, rows: int, shape: Shape) -> int:
    """Count the operations of one pass."""
    return sum(step_flops(config, shape, text_tokens=WORDS, batch=rows).values())


def probe_denoiser(config: LinGenConfig, rows: int, shape: Shape, device: str) -> Measured:
    """A pass of `rows` rows of latents of `shape`, or of as many frames as can be afforded."""
    short = replace(config, depth=min(_BLOCKS, config.depth))
    network = build(short, device)

    def step_over(frames: int) -> Step:
        dtype = compute_dtype(device)
        latents = torch.randn(rows, config.latent_channels, frames, *shape[1:], device=device)
        times = torch.full((rows, frames), 0.5, device=device)
        texts = [
            torch.randn(rows, WORDS, size, device=device, dtype=dtype) for size in config.text_dims
        ]
        masks = [torch.ones(rows, WORDS, dtype=torch.bool, device=device) for _ in texts]

        @torch.inference_mode()
        def step() -> object:
            return network(latents, times, tuple(texts), tuple(masks), 0)

        return step

    def size(frames: int) -> int:
        return flops_of(short, rows, (frames, *shape[1:]))

    frames = min(_FIRST, shape[0])
    step = step_over(frames)
    step()  # the first time is slower
    taken = timed(step, device)
    affordable = size(frames) * _SECONDS / max(taken, 1e-9)
    while frames < shape[0] and size(frames + 1) <= affordable:
        frames = min(shape[0], max(frames + 1, int(frames * 1.25)))
    step = step_over(frames)
    held = 0 if device == "cpu" else growth(step, device) or 0
    taken = median(timed(step, device) for _ in range(2))
    full = flops_of(config, rows, (frames, *shape[1:]))
    return Measured(full, taken * full / size(frames), held)


def probe_decoder(config: TAEConfig, shape: Shape, device: str, *, chunk: int) -> Measured:
    """`chunk` latent frames, or as large a part of their images as can be afforded."""
    torch.manual_seed(0)
    network = TemporalAutoencoder(config).to(device, compute_dtype(device)).eval()
    network.requires_grad_(False)

    def pieces(high: int, wide: int) -> list[float]:
        latents = torch.randn(1, config.latent_channels, 4 * chunk, high, wide, device=device)
        found, begin = [], time.perf_counter()
        with torch.inference_mode():
            for piece in network.decode_in_chunks(latents, chunk=chunk):
                piece.cpu()
                found.append(time.perf_counter() - begin)
                begin = time.perf_counter()
        return found[1:]  # the first frame stands alone

    high, wide = (min(side, 8) for side in shape[1:])
    taken = median(pieces(high, wide))
    room = math.sqrt(_SECONDS / 4 / max(taken, 1e-9))
    high, wide = (
        min(side, int(part * max(1.0, room)))
        for side, part in zip(shape[1:], (high, wide), strict=True)
    )
    held = 0 if device == "cpu" else growth(lambda: pieces(high, wide), device) or 0
    return Measured(chunk * high * wide, median(pieces(high, wide)), held)


def probe_writer(width: int, height: int, fps: Fraction, crf: int, preset: str) -> float:
    """Seconds per frame for encoding and reading back, of a disk that moves over a plain ground."""
    from lingen_cli.media.verify_video import verify_video
    from lingen_cli.media.writer import VideoWriter

    high, wide = np.mgrid[0:height, 0:width]
    frames = np.full((_FRAMES, height, width, 3), (90, 140, 80), dtype=np.uint8)
    for number, frame in enumerate(frames):
        far = np.hypot(high - height / 2, wide - width * (0.3 + 0.4 * number / _FRAMES))
        frame[far < height / 5] = (220, 40, 30)
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="lingen-plan.") as folder:
        path = Path(folder) / "probe.mp4"
        with VideoWriter(
            path, width=width, height=height, fps=fps, crf=crf, preset=preset
        ) as writer:
            writer.write(frames)
        verify_video(path, frames=_FRAMES, width=width, height=height, fps=fps)
    return (time.perf_counter() - begin) / _FRAMES
