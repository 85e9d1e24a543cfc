"""Signed distances (negative inside) of the six shapes, in units of the object's radius.

All are centred on their centroid and have roughly the area of the unit disc, so that a size looks
the same in every shape. x to the right, y down.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

import torch
from torch import Tensor

_HALF_SIDE: Final = 0.9
_INRADIUS: Final = 0.72
_STAR_TIP: Final = 1.5
_STAR_INNER: Final = 0.46
_HEART_SCALE: Final = 1.84
_HEART_CENTROID: Final = 0.656
_RING_MIDDLE: Final = 0.88
_RING_HALF_WIDTH: Final = 0.27

BOUND: Final[dict[str, float]] = {
    "ball": 1.0,
    "square": _HALF_SIDE * math.sqrt(2),
    "triangle": 2 * _INRADIUS,
    "star": _STAR_TIP,
    "heart": _HEART_SCALE * _HEART_CENTROID,
    "ring": _RING_MIDDLE + _RING_HALF_WIDTH,
}
"""Radius of the circle about the centroid that holds the shape, however it is turned."""


def _ball(x: Tensor, y: Tensor) -> Tensor:
    return torch.sqrt(x * x + y * y) - 1


def _square(x: Tensor, y: Tensor) -> Tensor:
    return torch.maximum(x.abs(), y.abs()) - _HALF_SIDE


def _triangle(x: Tensor, y: Tensor) -> Tensor:
    side = x.abs() * (math.sqrt(3) / 2) - y * 0.5
    return torch.maximum(side, y) - _INRADIUS


def _star(x: Tensor, y: Tensor) -> Tensor:
    """Five-pointed; after folding into one tenth, the distance to the line of its edge."""
    cos, sin = math.cos(math.pi / 5), math.sin(math.pi / 5)
    x, y = x.abs(), -y
    for left in (cos, -cos):
        beyond = 2 * torch.relu(left * x - sin * y)
        x, y = x - beyond * left, y + beyond * sin
    x = x.abs()
    inner_x, inner_y = _STAR_TIP * _STAR_INNER * sin, _STAR_TIP * _STAR_INNER * cos
    edge_x, edge_y = inner_x, inner_y - _STAR_TIP
    length = math.hypot(edge_x, edge_y)
    return (x * -edge_y + (y - _STAR_TIP) * edge_x) / length


def _heart(x: Tensor, y: Tensor) -> Tensor:
    """A square on its tip with half a disc on each of the two upper sides."""
    x, y = x.abs() / _HEART_SCALE, _HEART_CENTROID - y / _HEART_SCALE
    lobe = torch.sqrt((x - 0.25) ** 2 + (y - 0.75) ** 2) - math.sqrt(2) / 4
    along = torch.relu(x + y) * 0.5
    notch = x * x + (y - 1) ** 2
    edge = (x - along) ** 2 + (y - along) ** 2
    body = torch.sqrt(torch.minimum(notch, edge)) * torch.sign(x - y)
    return torch.where(x + y > 1, lobe, body) * _HEART_SCALE


def _ring(x: Tensor, y: Tensor) -> Tensor:
    return (torch.sqrt(x * x + y * y) - _RING_MIDDLE).abs() - _RING_HALF_WIDTH


DISTANCE: Final[dict[str, Callable[[Tensor, Tensor], Tensor]]] = {
    "ball": _ball,
    "square": _square,
    "triangle": _triangle,
    "star": _star,
    "heart": _heart,
    "ring": _ring,
}
"""Shape name to a function of two tensors of one shape that gives a tensor of that shape."""
