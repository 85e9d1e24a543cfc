"""Palette of scenes: names, colors, sizes, and which color is visible on which ground.

Colors are sRGB triples 0..255 near the CSS colors of their names, moved apart from one another
where CSS has them close (orange and yellow) or pale (pink).
"""

from __future__ import annotations

import math
from typing import Final

RGB = tuple[int, int, int]

COLORS: Final[dict[str, RGB]] = {
    "red": (225, 25, 30),
    "orange": (255, 135, 0),
    "yellow": (255, 238, 20),
    "green": (10, 160, 40),
    "blue": (25, 60, 235),
    "purple": (140, 20, 170),
    "pink": (255, 125, 190),
    "white": (255, 255, 255),
    "black": (8, 8, 8),
}

BACKGROUNDS: Final[dict[str, RGB]] = {
    "white": (250, 250, 250),
    "black": (5, 5, 5),
    "grey": (124, 124, 124),
    "blue sky": (125, 195, 240),
    "green grass": (92, 142, 72),
    "yellow sand": (224, 200, 146),
    "starry night": (14, 16, 52),
}

PLAIN: Final = frozenset({"white", "black", "grey"})
"""Backgrounds without texture: a pan over them would be invisible, so none is sampled."""

SHAPES: Final = ("ball", "square", "triangle", "star", "heart", "ring")
SIZES: Final[dict[str, float]] = {"small": 0.10, "medium": 0.15, "large": 0.21}
"""Radius of the ball of each size, in frame widths; other shapes have about the same area."""

CAMERAS: Final = ("still", "pans left", "pans right", "zooms in", "zooms out")
DIRECTIONS: Final = ("left", "right", "up", "down")
MOTIONS: Final = ("moves", "bounces", "circles", "zigzags", "spins", "grows", "still")
SPEEDS: Final = ("slowly", "", "quickly")
"""The empty word is the medium speed, which captions do not mention."""

UNSPINNABLE: Final = frozenset({"ball", "ring"})
"""Shapes on which a spin cannot be seen."""

_HIDDEN: Final[dict[str, frozenset[str]]] = {
    "white": frozenset({"white"}),
    "black": frozenset({"black"}),
    "grey": frozenset(),
    "blue sky": frozenset({"blue", "white"}),  # white would pass for a cloud
    "green grass": frozenset({"green"}),
    "yellow sand": frozenset({"yellow", "white", "pink"}),
    "starry night": frozenset({"black"}),
}
_LEAST_DISTANCE: Final = 100.0
"""Of two sRGB triples, at most 441."""


def visible(color: str, background: str) -> bool:
    """Tell whether an object of this color stands out on this background."""
    far = math.dist(COLORS[color], BACKGROUNDS[background]) >= _LEAST_DISTANCE
    return far and color not in _HIDDEN[background]


def distinct(a: str, b: str) -> bool:
    """Tell whether two objects of these colors are told apart at a glance."""
    return math.dist(COLORS[a], COLORS[b]) >= _LEAST_DISTANCE
