"""Backgrounds: gentle textures that differ by seed and close on themselves after two frame widths.

A texture is computed once per scene; a still camera reuses it, a pan slides over it, a zoom
enlarges it.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

from lingen_playground.scenes.motion import pan, zoom
from lingen_playground.scenes.palette import BACKGROUNDS, PLAIN
from lingen_playground.scenes.scene import Scene

WIDTH: Final = 2
"""Width of a texture in frame widths."""


def texture(scene: Scene, size: int, device: torch.device | str) -> Tensor:
    """Float32 (3, size, 2 * size) in [-1, 1]: what lies behind the objects, all the way round."""
    base = _rgb(BACKGROUNDS[scene.background]).to(device)[:, None, None]
    if scene.background in PLAIN:
        return base.expand(3, size, WIDTH * size)
    rng = random.Random(scene.seed * 2 + 1)
    x = (torch.arange(WIDTH * size, device=device) + 0.5) / size
    y = (torch.arange(size, device=device) + 0.5) / size
    return _PAINTERS[scene.background](base, x, y, rng).clamp(-1, 1)


def backdrop(scene: Scene, times: Tensor, size: int, device: torch.device | str) -> Tensor:
    """Float32 (3, T, size, size): the background as the camera sees it at `times` (float64 (T,)).

    The result may share memory between frames: copy before writing into it.
    """
    if scene.closeness > 1:
        far = replace(scene, closeness=1)
        seen = slice((scene.closeness - 1) * size // 2, (scene.closeness + 1) * size // 2)
        return backdrop(far, times, scene.closeness * size, device)[..., seen, seen]
    whole = texture(scene, size, device)
    frames = times.shape[0]
    if scene.background in PLAIN or scene.camera == "still":
        return whole[:, None, :, :size].expand(3, frames, size, size)
    if scene.camera.startswith("pans"):
        return _slide(whole, pan(scene.camera, times) * size, size)
    return _enlarge(whole[:, :, :size], zoom(scene.camera, times).to(device, torch.float32))


def _slide(whole: Tensor, offset: Tensor, size: int) -> Tensor:
    """Columns from `offset` (T,) pixels on, between two columns where it is not whole."""
    first = torch.floor(offset)
    part = (offset - first).to(whole.device, torch.float32)
    columns = first.long()[:, None] + torch.arange(size)
    columns = columns.to(whole.device)
    period = whole.shape[2]
    here = whole[:, :, columns % period].permute(0, 2, 1, 3)
    if not bool(part.any()):
        return here
    there = whole[:, :, (columns + 1) % period].permute(0, 2, 1, 3)
    return here + part[:, None, None] * (there - here)


def _enlarge(image: Tensor, factor: Tensor) -> Tensor:
    """Every frame of `image` (3, S, S) magnified about its centre by `factor` (T,)."""
    size, frames = image.shape[1], factor.shape[0]
    line = (torch.arange(size, device=image.device) + 0.5) * (2 / size) - 1
    line = line / factor[:, None]
    grid = torch.stack(
        (line[:, None, :].expand(-1, size, -1), line[:, :, None].expand(-1, -1, size)), dim=-1
    )
    batch = image.expand(frames, -1, -1, -1)
    seen = F.grid_sample(batch, grid, padding_mode="border", align_corners=False)
    return seen.permute(1, 0, 2, 3)


def _rgb(color: tuple[int, int, int]) -> Tensor:
    return torch.tensor(color, dtype=torch.float32) / 127.5 - 1


def _mix(base: Tensor, color: tuple[int, int, int], share: Tensor) -> Tensor:
    return base + share * (_rgb(color).to(base.device)[:, None, None] - base)


def _waves(x: Tensor, y: Tensor, rng: random.Random, across: float, down: float) -> Tensor:
    """Smooth noise in about [-1, 1]: eight cosines with up to `across` and `down` waves a frame.

    The cosine of a sum falls apart into products of a row and a column, so that all eight are one
    small matrix product.
    """
    waves = [
        (
            round(rng.uniform(-across, across) * WIDTH) / WIDTH,
            rng.uniform(0.3 * down, down),
            rng.uniform(0, 2 * math.pi),
        )
        for _ in range(8)
    ]
    waves_x, waves_y, phase = _columns(waves, x.device)
    angle_x = 2 * math.pi * waves_x * x
    angle_y = 2 * math.pi * waves_y * y + phase
    rows = torch.cat((angle_x.cos(), -angle_x.sin()))
    return torch.cat((angle_y.cos(), angle_y.sin())).T @ rows / 4


def _blobs(x: Tensor, y: Tensor, blobs: list[tuple[float, float, float, float, float]]) -> Tensor:
    """Sum of Gaussian bumps (x, y, width, height, strength) on the closed texture."""
    there, height, wide, high, power = _columns(blobs, x.device)
    aside = torch.remainder(x - there + WIDTH / 2, WIDTH) - WIDTH / 2
    rows = torch.exp(-((aside / wide) ** 2))
    return (power * torch.exp(-(((y - height) / high) ** 2))).T @ rows


def _columns(table: Sequence[tuple[float, ...]], device: torch.device) -> list[Tensor]:
    """The columns of a table with K rows, each (K, 1)."""
    return list(torch.tensor(table, dtype=torch.float32, device=device).T[:, :, None])


def _sky(base: Tensor, x: Tensor, y: Tensor, rng: random.Random) -> Tensor:
    puffs = []
    count = rng.randint(4, 6)
    for i in range(count):
        middle = (i + rng.uniform(0.2, 0.8)) * WIDTH / count
        height, scale = rng.uniform(0.12, 0.7), rng.uniform(0.8, 1.25)
        for side, lift in ((-0.095, 0.0), (0.0, 0.03), (0.095, 0.0)):
            wide, high = 0.085 * scale, 0.05 * scale
            puffs.append((middle + side * scale, height - lift * scale, wide, high, 1.6))
    cover = 1 - torch.exp(-_blobs(x, y, puffs))
    return _mix(_mix(base, (178, 220, 246), y[:, None]), (244, 249, 253), 0.85 * cover)


def _grass(base: Tensor, x: Tensor, y: Tensor, rng: random.Random) -> Tensor:
    patches = _waves(x, y, rng, 1.5, 1.5)
    blades = _waves(x, y, rng, 9.0, 2.0)
    return base + 0.05 * patches + 0.05 * blades


def _sand(base: Tensor, x: Tensor, y: Tensor, rng: random.Random) -> Tensor:
    bend = _waves(x, 0 * y, rng, 1.5, 1.0)
    crest = torch.cos(2 * math.pi * (3.5 * y[:, None] + 0.22 * bend + rng.random()))
    return base + 0.05 * crest + 0.03 * _waves(x, y, rng, 4.0, 4.0)


def _night(base: Tensor, x: Tensor, y: Tensor, rng: random.Random) -> Tensor:
    sky = _mix(base, (24, 24, 76), 0.5 + 0.5 * _waves(x, y, rng, 1.0, 1.0).clamp(-1, 1))
    stars = []
    for _ in range(40):
        there, height = rng.uniform(0, WIDTH), rng.uniform(0.03, 0.97)
        radius, power = rng.uniform(0.0085, 0.014), rng.uniform(0.45, 0.95)
        spread = math.hypot(radius, 0.5 / y.shape[0])  # at least about a pixel, and as much light
        stars.append((there, height, spread, spread, power * (radius / spread) ** 2))
    return _mix(sky, (250, 248, 225), _blobs(x, y, stars).clamp(0, 1))


_PAINTERS: Final[dict[str, Callable[[Tensor, Tensor, Tensor, random.Random], Tensor]]] = {
    "blue sky": _sky,
    "green grass": _grass,
    "yellow sand": _sand,
    "starry night": _night,
}
