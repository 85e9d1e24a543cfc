"""Courses of objects: place, size and angle at any time, smooth, and periodic without end."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from lingen_playground.scenes.scene import SceneObject
from lingen_playground.scenes.shapes import BOUND

DRIFT: Final = {"slowly": 0.15, "": 0.28, "quickly": 0.45}
"""Frame widths per second of moves and zigzags."""
PERIODS: Final[dict[str, dict[str, float]]] = {
    "bounces": {"slowly": 1.8, "": 1.2, "quickly": 0.75},
    "circles": {"slowly": 6.0, "": 3.6, "quickly": 2.0},
    "spins": {"slowly": 6.0, "": 3.2, "quickly": 1.6},
    "grows": {"slowly": 4.0, "": 2.4, "quickly": 1.4},
}
"""Seconds per bounce, per round, per turn, and per growing and shrinking."""
LEAST_SCALE: Final = 0.6
GREATEST_SCALE: Final = 1.3
ZOOM: Final = 1.25
ZOOM_SECONDS: Final = 3.0
PAN: Final = 0.25
"""Frame widths per second that the background shifts in a pan: whole pixels per frame at 16 fps
for sizes that are multiples of 64."""
_WRAP_MARGIN: Final = 0.02
_STEP: Final[dict[str, tuple[float, float]]] = {
    "left": (-1.0, 0.0),
    "right": (1.0, 0.0),
    "up": (0.0, -1.0),
    "down": (0.0, 1.0),
}


@dataclass(frozen=True)
class Track:
    """An object's course. All tensors are float64 of shape (T,): centre `x`, `y` in frame widths,
    `radius` in frame widths, `angle` in radians clockwise."""

    x: Tensor
    y: Tensor
    radius: Tensor
    angle: Tensor


def track(obj: SceneObject, times: Tensor, factor: Tensor) -> Track:
    """Course of an object at `times` (float64, (T,), seconds), magnified about the centre of the
    frame by `factor` (T,), as the camera sees it."""
    still = torch.zeros_like(times)
    x, y, scale, angle = still + obj.x, still + obj.y, still + 1.0, still
    if obj.motion in PERIODS:
        cycle = times / PERIODS[obj.motion][obj.speed] + obj.phase
        turn = 2 * math.pi * torch.remainder(cycle, 1.0)
    if obj.motion in ("moves", "zigzags"):
        drift = DRIFT[obj.speed]
        right, down = _STEP[obj.direction or ""]
        x, y = x + right * drift * times, y + down * drift * times
        if obj.motion == "zigzags":
            y = y + obj.reach * _triangle_wave(times * drift / (4 * obj.reach) + obj.phase)
    elif obj.motion == "bounces":
        part = torch.remainder(cycle, 1.0)
        y = y - obj.reach * 4 * part * (1 - part)
    elif obj.motion == "circles":
        x, y = x + obj.reach * torch.cos(turn), y + obj.reach * torch.sin(turn)
    elif obj.motion == "spins":
        angle = turn
    elif obj.motion == "grows":
        middle, swing = (GREATEST_SCALE + LEAST_SCALE) / 2, (GREATEST_SCALE - LEAST_SCALE) / 2
        scale = middle + swing * torch.sin(turn)
    x, y = 0.5 + (x - 0.5) * factor, 0.5 + (y - 0.5) * factor
    if obj.motion in ("moves", "zigzags"):
        margin = BOUND[obj.shape] * obj.radius * factor + _WRAP_MARGIN
        x, y = (_wrap(x, margin), y) if right else (x, _wrap(y, margin))
    return Track(x, y, scale * obj.radius * factor, angle)


def zoom(camera: str, times: Tensor) -> Tensor:
    """Magnification (T,) float64: between 1 and 1.25 over the first three seconds, then held."""
    if camera not in ("zooms in", "zooms out"):
        return torch.ones_like(times)
    part = (times / ZOOM_SECONDS).clamp(0.0, 1.0)
    part = part * part * (3 - 2 * part)
    return 1 + (ZOOM - 1) * (part if camera == "zooms in" else 1 - part)


def pan(camera: str, times: Tensor) -> Tensor:
    """Return how far the camera has gone to the right, (T,) float64 in frame widths."""
    return PAN * times * {"pans right": 1.0, "pans left": -1.0}.get(camera, 0.0)


def _wrap(position: Tensor, margin: Tensor) -> Tensor:
    """On a ring just long enough that an object has left the frame before it enters again."""
    return torch.remainder(position + margin, 1 + 2 * margin) - margin


def _triangle_wave(cycle: Tensor) -> Tensor:
    """Starts at zero downwards, in [-1, 1], period 1."""
    return 1 - 4 * (torch.remainder(cycle + 0.25, 1.0) - 0.5).abs()
