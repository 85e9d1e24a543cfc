"""Shapes of masks: each is brought to a common place and size and laid over templates."""

from __future__ import annotations

import math
from functools import cache
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

from lingen_playground.scenes.palette import SHAPES
from lingen_playground.scenes.shapes import DISTANCE

GRID: Final = 48
_REACH: Final = 1.9
"""Half the width of the grid in units of the radius of the disc with the mask's area."""
_TURNS: Final[dict[str, tuple[float, int]]] = {
    "ball": (360.0, 1),
    "square": (90.0, 15),
    "triangle": (120.0, 20),
    "star": (72.0, 12),
    "heart": (360.0, 60),
    "ring": (360.0, 1),
}
"""Degrees after which a shape looks the same again, and how many steps of them are tried."""


@cache
def area(shape: str) -> float:
    """Area of a shape in units of its squared radius."""
    line = (torch.arange(800) + 0.5) / 200 - 2
    inside = DISTANCE[shape](line[None, :].expand(800, -1), line[:, None].expand(-1, 800)) < 0
    return float(inside.float().mean()) * 16


def normalise(masks: Tensor) -> Tensor:
    """Masks (N, H, W), none empty, as float (N, 48, 48): centred, and all of one area."""
    masks = masks.float()
    high, wide = masks.shape[1:]
    mass = masks.sum((1, 2))
    centre_x = (masks.sum(1) * (torch.arange(wide) + 0.5)).sum(1) / mass
    centre_y = (masks.sum(2) * (torch.arange(high) + 0.5)).sum(1) / mass
    reach = (mass / math.pi).sqrt() * _REACH
    line = (torch.arange(GRID) + 0.5) * (2 / GRID) - 1
    x = (centre_x[:, None] + reach[:, None] * line) * (2 / wide) - 1
    y = (centre_y[:, None] + reach[:, None] * line) * (2 / high) - 1
    grid = torch.stack(
        (x[:, None, :].expand(-1, GRID, -1), y[:, :, None].expand(-1, -1, GRID)), dim=-1
    )
    return F.grid_sample(masks[:, None], grid, align_corners=False)[:, 0]


def overlap(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union (N, M) of soft masks (N, 48, 48) with (M, 48, 48)."""
    a, b = a.flatten(1), b.flatten(1)
    common = a @ b.T
    return common / (a.sum(1)[:, None] + b.sum(1) - common)


def fits(masks: Tensor) -> dict[str, float]:
    """Mean overlap, 0..1, of each shape, turned as fits best, with the masks (N, H, W)."""
    scores = overlap(normalise(masks), _templates())
    best: dict[str, float] = {}
    first = 0
    for shape in SHAPES:
        count = _TURNS[shape][1]
        best[shape] = float(scores[:, first : first + count].amax(1).mean())
        first += count
    return best


@cache
def _templates() -> Tensor:
    """All shapes in all turns, (109, 48, 48), soft at the edge by about a cell."""
    line = ((torch.arange(GRID) + 0.5) * (2 / GRID) - 1) * _REACH
    x, y = line[None, :].expand(GRID, -1), line[:, None].expand(-1, GRID)
    cell = 2 * _REACH / GRID
    images = []
    for shape in SHAPES:
        symmetry, count = _TURNS[shape]
        unit = math.sqrt(math.pi / area(shape))
        for step in range(count):
            angle = math.radians(symmetry * step / count)
            cos, sin = math.cos(angle), math.sin(angle)
            depth = DISTANCE[shape]((cos * x + sin * y) / unit, (cos * y - sin * x) / unit) * unit
            images.append((0.5 - depth / cell).clamp(0, 1))
    return torch.stack(images)
