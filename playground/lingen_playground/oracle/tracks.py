"""Motion of a masked object: its velocity, and which of the motions it looks like most."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from lingen_playground.oracle.segment import widen
from lingen_playground.oracle.silhouette import normalise, overlap

_LEAST_SPEED: Final = 0.06
"""Frame widths per second; less is no direction."""
_JUMP: Final = 0.4
"""A longer step, in frame widths, is a return from the other side."""
_FEW: Final = 3
_NEARLY_ALL: Final = 0.93
_REST: Final = 0.11
"""An object at rest goes no further than this from side to side, nor this far in a second."""
_GROWTH: Final = 0.32
_SAME_OUTLINE: Final = 0.88
_STEADY: Final = 0.8
_SLANT: Final = 0.45
_WIDEST: Final = 0.35
_ROUNDNESS: Final = 0.1
_EVEN: Final = 0.3


@dataclass(frozen=True)
class Trace:
    """Place of a mask, frame by frame. All tensors (T,): centroid `x`, `y` and `radius` of the
    disc of equal area in frame widths, `seen` whether it is there at all, `clear` whether all of
    it is seen: away from the border and from other objects, or, if that never happens, where
    most of it is seen."""

    x: Tensor
    y: Tensor
    radius: Tensor
    seen: Tensor
    clear: Tensor


@dataclass(frozen=True)
class Course:
    """`velocity` in frame widths per second, to the right and down; `direction` of a steady course,
    or None; `motion` the kind of motion that it looks like most."""

    velocity: tuple[float, float]
    direction: str | None
    motion: str


def trace(mask: Tensor, others: Tensor) -> Trace:
    """Trace of a mask (T, H, W) beside the union of all others (T, H, W)."""
    high, wide = mask.shape[1:]
    solid = mask.float()
    mass = solid.sum((1, 2))
    seen = mass > 0.2 * torch.quantile(mass, 0.9).clamp(min=1)
    there = mass.clamp(min=1)
    x = (solid.sum(1) * (torch.arange(wide) + 0.5)).sum(1) / there / wide
    y = (solid.sum(2) * (torch.arange(high) + 0.5)).sum(1) / there / wide
    border = torch.ones(high, wide, dtype=torch.bool)
    border[1:-1, 1:-1] = False
    near = widen(others, 5)
    clear = seen & ~(mask & (border | near)).flatten(1).any(1)
    if int(clear.sum()) < _FEW:
        clear = mass >= _NEARLY_ALL * mass.max().clamp(min=1)
    return Trace(x, y, (mass / math.pi).sqrt() / wide, seen, clear)


def follow(mask: Tensor, where: Trace, fps: float) -> Course:
    """Course of a mask (T, H, W) whose trace is known; a still one where too little is seen."""
    dx, dy = _steps(where, where.clear)
    if dx.numel() < _FEW:
        dx, dy = _steps(where, where.seen)
    if dx.numel() < _FEW:
        return Course((0.0, 0.0), None, "still")
    seconds = 1 / fps
    velocity = (float(dx.median()) / seconds, float(dy.median()) / seconds)
    return Course(velocity, _direction(velocity), _motion(mask, where, dx, dy, fps))


def _steps(where: Trace, frames: Tensor) -> tuple[Tensor, Tensor]:
    """How far the centroid goes from one of these frames (T,) to the next; no returns."""
    both = frames[1:] & frames[:-1]
    dx, dy = where.x.diff()[both], where.y.diff()[both]
    near = torch.hypot(dx, dy) < _JUMP
    return dx[near], dy[near]


def _direction(velocity: tuple[float, float]) -> str | None:
    right, down = velocity
    if max(abs(right), abs(down)) < _LEAST_SPEED:
        return None
    if abs(right) >= abs(down):
        return "right" if right > 0 else "left"
    return "down" if down > 0 else "up"


def _motion(mask: Tensor, where: Trace, dx: Tensor, dy: Tensor, fps: float) -> str:
    clear = where.clear
    radius = where.radius[clear]
    low, middle, high = (float(torch.quantile(radius, q)) for q in (0.05, 0.5, 0.95))
    wide, tall = _range(where.x[clear]), _range(where.y[clear])
    if (high - low) / middle > _GROWTH and max(wide, tall) < 2 * _REST:
        return "grows"
    pace = float(torch.hypot(dx, dy).mean()) * fps
    if max(wide, tall) < _REST and pace < _REST:
        outlines = normalise(mask[clear])
        alike = overlap(outlines, outlines[:1])[:, 0]
        return "spins" if float(torch.quantile(alike, 0.2)) < _SAME_OUTLINE else "still"
    steady_x, steady_y = _steadiness(dx), _steadiness(dy)
    path_x, path_y = float(dx.abs().mean()), float(dy.abs().mean())
    slanted = min(path_x, path_y) > _SLANT * max(path_x, path_y)
    even = dx.numel() > 1 and float(dx.std()) < _EVEN * path_x
    if steady_x > _STEADY and slanted and even:
        return "zigzags"
    if _is_round(where.x[clear], where.y[clear]):
        return "circles"
    if (steady_x if path_x >= path_y else steady_y) > _STEADY and not slanted:
        return "moves"
    return "bounces" if wide < 0.4 * tall else "circles"


def _is_round(x: Tensor, y: Tensor) -> bool:
    """Whether a path (N,) is an arc of at least a third of a circle, by least squares."""
    middle_x, middle_y = x.mean(), y.mean()
    x, y = x - middle_x, y - middle_y
    table = torch.stack((x, y, torch.ones_like(x)), dim=1)
    solution = torch.linalg.lstsq(table, (x * x + y * y)[:, None]).solution[:, 0]
    off_x, off_y = x - solution[0] / 2, y - solution[1] / 2
    reach = torch.hypot(off_x, off_y)
    radius = float(reach.mean())
    if radius > _WIDEST or len(reach) < _FEW or float(reach.std()) > _ROUNDNESS * radius:
        return False
    turns = torch.floor((torch.atan2(off_y, off_x) / math.pi + 1) * 9).clamp(0, 17)
    return len(set(turns.tolist())) >= 6


def _range(values: Tensor) -> float:
    return float(torch.quantile(values, 0.98) - torch.quantile(values, 0.02))


def _steadiness(steps: Tensor) -> float:
    """1 for steps all in one direction, 0 for as much back as forth."""
    return float(steps.sum().abs() / steps.abs().sum().clamp(min=1e-6))
