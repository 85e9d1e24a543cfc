"""The records that say everything about a clip; a renderer and an oracle read nothing else.

Positions are in frame widths, x to the right and y down, (0.5, 0.5) is the centre of the frame.
Times are seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from lingen_playground.scenes.palette import SIZES

_CURRENT = {"colour": "color"}
"""Former names of fields, and those of now."""


@dataclass(frozen=True)
class SceneObject:
    """One thing that moves.

    `x`, `y` is where it starts (moves, spins, grows, still), its lowest point (bounces), the middle
    of its circle (circles) or where its zigzag line starts (zigzags). `reach` is the height of a
    bounce, the radius of a circle or the amplitude of a zigzag, in frame widths. `phase` in [0, 1)
    is where in its period a periodic motion starts.
    """

    color: str
    shape: str
    size: str
    motion: str
    direction: str | None
    speed: str
    x: float
    y: float
    reach: float
    phase: float

    @property
    def radius(self) -> float:
        """Radius of the ball of this size, in frame widths."""
        return SIZES[self.size]

    @property
    def deed(self) -> str:
        """Motion as listed in the held-out file: `moves left`, `bounces`, `zigzags`, ..."""
        return f"moves {self.direction}" if self.motion == "moves" else self.motion

    @property
    def combination(self) -> tuple[str, str, str]:
        """Color, shape and deed: the key of the held-out list."""
        return (self.color, self.shape, self.deed)


@dataclass(frozen=True)
class Scene:
    """One clip of any length: one or two objects, later ones in front, a background, a camera."""

    objects: tuple[SceneObject, ...]
    background: str
    camera: str
    seed: int
    closeness: int = 1
    """How many times larger than in a whole scene all is seen, about the middle of the frame."""

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-able data; `Scene.from_dict` reads it back to an equal scene."""
        record = asdict(self)
        record["objects"] = list(record["objects"])
        return record

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Scene:
        """Inverse of `to_dict`. Raises KeyError or TypeError when fields are missing or foreign.

        Caches of clips written up to 2026-11 have `colour` for `color`.
        """
        objects = tuple(
            SceneObject(**{_CURRENT.get(key, key): value for key, value in item.items()})
            for item in record["objects"]
        )
        place = (record["background"], record["camera"], int(record["seed"]))
        return cls(objects, *place, int(record.get("closeness", 1)))
