"""Scenes by seed: what appears, where, and doing what."""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from lingen_playground.captions.natural_prompts import Said, SaidObject
from lingen_playground.scenes.heldout import combinations
from lingen_playground.scenes.motion import GREATEST_SCALE, ZOOM
from lingen_playground.scenes.palette import (
    BACKGROUNDS,
    CAMERAS,
    COLORS,
    DIRECTIONS,
    PLAIN,
    SHAPES,
    SIZES,
    SPEEDS,
    UNSPINNABLE,
    distinct,
    visible,
)
from lingen_playground.scenes.scene import Scene, SceneObject
from lingen_playground.scenes.shapes import BOUND

Split = Literal["train", "heldout", "all"]

_TWO_OBJECTS: Final = 0.35
_STILL_CAMERA: Final = 0.70
_SPEED_WEIGHTS: Final = (1, 2, 1)
_DEEDS: Final[dict[str, float]] = {
    "moves left": 10,
    "moves right": 10,
    "moves up": 10,
    "moves down": 10,
    "bounces": 12,
    "circles": 10,
    "zigzags": 10,
    "spins": 10,
    "grows": 10,
    "still": 8,
}
_SIDEWAYS: Final = frozenset({"moves left", "moves right", "zigzags"})
_ROOM_TO_ZOOM: Final = 0.38
_HALVES: Final = 0.5
_OWN: Final = 0.23
"""How far an object of a pair may reach from its middle and still never touch the other."""
_ROAM: Final = {"circles": 0.13, "zigzags": 0.10}
"""About how far from their middle line these go, where there are two."""
_LONE_REACH: Final = {"circles": (0.17, 0.23), "zigzags": (0.13, 0.18)}
_PAIR_REACH: Final = {"circles": (0.11, 0.15), "zigzags": (0.09, 0.12)}
"""Least and greatest reach of what goes alone, and of one of two."""
_SAME_DEED: Final = 0.75
_SAME_COLOR: Final = 0.7
_SAME_SIZE: Final = 0.6
_TRIES: Final = 60
_FLOOR: Final = 0.94
_PLANNED_BOUNCE: Final = 0.34
"""Frame widths that something bounces high where a prompt asks for it: what bounces over most of
the frame is faster than what a small autoencoder can show."""
_EDGE: Final = 0.02
_RELATED: Final = {
    "above": ("top", "bottom"),
    "below": ("bottom", "top"),
    "beside": ("left", "right"),
    "left": ("left", "right"),
    "right": ("right", "left"),
}
"""Halves of the frame of two objects, by where the first is, seen from the second."""

_MIDDLE: Final = "middle"

Area = tuple[float, float, float, float]
"""Left, right, top and bottom of where an object may be, in frame widths."""


@dataclass(frozen=True)
class _Part:
    """An object before it has a place."""

    color: str
    shape: str
    size: str
    deed: str

    @property
    def bound(self) -> float:
        scale = GREATEST_SCALE if self.deed == "grows" else 1.0
        return BOUND[self.shape] * SIZES[self.size] * scale


def sample_scene(
    seed: int,
    *,
    split: Split = "train",
    objects: int | None = None,
    background: str | None = None,
    camera: str | None = None,
    alike: float = 0.0,
) -> Scene:
    """The scene of this seed and these arguments, always the same one.

    `split` "train" never shows a held-out combination, "heldout" shows at least one, "all" minds
    neither. `objects` 1 or 2, `background` and `camera` fix what is otherwise drawn. `alike` is the
    share of scenes with two objects in which the second takes after the first: its shape, mostly
    its motion, and then often its size and color too. Raises ValueError for other values.
    """
    if split not in ("train", "heldout", "all") or objects not in (None, 1, 2):
        raise ValueError(f"no scenes of split {split!r} with {objects} objects")
    if background not in (None, *BACKGROUNDS):
        raise ValueError(f"unknown background {background!r}, known: {', '.join(BACKGROUNDS)}")
    if camera not in (None, *CAMERAS):
        raise ValueError(f"unknown camera {camera!r}, known: {', '.join(CAMERAS)}")
    rng = random.Random(seed)
    count = objects or (2 if rng.random() < _TWO_OBJECTS else 1)
    twins = alike > 0 and count == 2 and rng.random() < alike
    while True:
        ground = background or rng.choice(tuple(BACKGROUNDS))
        parts = _parts(rng, count, ground, split, twins)
        if parts is not None:
            break
    view = camera or _camera(rng, ground, parts)
    return Scene(_place(rng, parts, _areas(rng, parts, view)), ground, view, seed)


def scene_for(said: Said, seed: int) -> Scene:
    """A scene that shows what a prompt says, always the same for a seed. What goes unsaid is drawn
    at random, but a size is medium, a speed the usual one, the camera still, and so are objects of
    which only places are said."""
    rng = random.Random(f"scene for {seed}")
    placed = said.relation is not None or any(requested.sides for requested in said.objects)
    for _ in range(_TRIES):
        ground = said.background or rng.choice(tuple(BACKGROUNDS))
        parts = [_requested(rng, requested, stays=placed) for requested in said.objects]
        seen = all(visible(part.color, ground) for part in parts)
        if seen and _differ(parts):
            break  # else the prompt itself asks for what is hardly seen
    view = said.camera or "still"
    areas = _said_areas(said, parts, _areas(rng, parts, view), view)
    pairs = zip(_place(rng, parts, areas), said.objects, strict=True)
    objects = tuple(
        replace(
            obj,
            direction=obj.direction and (requested.direction or obj.direction),
            speed="" if obj.motion == "still" else requested.speed or "",
            reach=min(obj.reach, _PLANNED_BOUNCE) if obj.motion == "bounces" else obj.reach,
        )
        for obj, requested in pairs
    )
    return Scene(objects, ground, view, seed)


def _requested(rng: random.Random, requested: SaidObject, *, stays: bool) -> _Part:
    """What a prompt says of an object, and what it leaves open by chance; one that `stays` where it
    is does not move if nothing is said of it."""
    while True:
        drawn = _draw(rng)
        shape = requested.shape or drawn.shape
        unsaid = "moves" if requested.direction else "still" if stays else drawn.deed
        motion = requested.motion or unsaid
        if motion != "spins" or shape not in UNSPINNABLE or (requested.motion and requested.shape):
            break
    if motion == "moves":
        motion = f"moves {requested.direction or rng.choice(DIRECTIONS)}"
    return _Part(requested.color or drawn.color, shape, requested.size or "medium", motion)


def _differ(parts: Sequence[_Part]) -> bool:
    """Whether two parts have distinct colors, or all of one kind."""
    if len(parts) < 2:
        return True
    first, second = parts
    return first == second or distinct(first.color, second.color)


def _parts(
    rng: random.Random, count: int, ground: str, split: Split, twins: bool
) -> list[_Part] | None:
    """Objects that go together, or None if the draw was unlucky."""
    parts: list[_Part] = []
    for _ in range(_TRIES):
        part = _draw(rng)
        twin = twins and bool(parts)
        if twin:
            part = _twin(rng, part, parts[0])
        if split == "heldout" and not parts:
            color, shape, deed = rng.choice(combinations())
            part = _Part(color, shape, part.size, deed)
        elif split != "all" and _heldout(part) and not (twin and split == "heldout"):
            continue
        if visible(part.color, ground) and all(
            _fit(part, other) if twin else _together(rng, part, other) for other in parts
        ):
            parts.append(part)
        if len(parts) == count:
            rng.shuffle(parts)
            return parts
    return None


def _draw(rng: random.Random) -> _Part:
    shape = rng.choice(SHAPES)
    deeds = [deed for deed in _DEEDS if deed != "spins" or shape not in UNSPINNABLE]
    (deed,) = rng.choices(deeds, [_DEEDS[deed] for deed in deeds])
    return _Part(rng.choice(tuple(COLORS)), shape, rng.choice(tuple(SIZES)), deed)


def _heldout(part: _Part) -> bool:
    return (part.color, part.shape, part.deed) in combinations()


def _twin(rng: random.Random, part: _Part, other: _Part) -> _Part:
    """The part with the shape of the other, and more of it by chance. Both may have one color only
    where they move alike, each in its half of the frame: otherwise nothing tells them apart."""
    same_deed = rng.random() < _SAME_DEED or (part.deed == "spins" and other.shape in UNSPINNABLE)
    return _Part(
        other.color if same_deed and rng.random() < _SAME_COLOR else part.color,
        other.shape,
        other.size if rng.random() < _SAME_SIZE else part.size,
        other.deed if same_deed else part.deed,
    )


def _fit(part: _Part, other: _Part) -> bool:
    """Whether a twin is told from the other: by its color, or because each keeps to its half."""
    if part.color == other.color:
        roam = _ROAM.get(part.deed, 0.0)
        return part.deed == other.deed and max(part.bound, other.bound) + roam <= _OWN
    return distinct(part.color, other.color) and part.bound + other.bound <= _HALVES


def _together(rng: random.Random, part: _Part, other: _Part) -> bool:
    if not distinct(part.color, other.color):
        return False
    if part.shape == other.shape and rng.random() < 0.8:
        return False
    return part.bound + other.bound <= _HALVES


def _camera(rng: random.Random, ground: str, parts: list[_Part]) -> str:
    """Pans only where the background shows them, zooms only where no object grows by itself
    and all stay in sight."""
    moving = []
    if ground not in PLAIN:
        moving += ["pans left", "pans right"]
    roomy = sum(part.bound for part in parts) <= _ROOM_TO_ZOOM
    if roomy and all(part.deed != "grows" for part in parts):
        moving += ["zooms in", "zooms out"]
    if not moving or rng.random() < _STILL_CAMERA:
        return "still"
    return rng.choice(moving)


def _whole(view: str) -> Area:
    """What is seen all of the time."""
    inset = (1 - 1 / ZOOM) / 2 if view.startswith("zooms") else 0.0
    low, high = inset + _EDGE, 1 - inset - _EDGE
    return low, high, low, high


def _areas(rng: random.Random, parts: Sequence[_Part], view: str) -> list[Area]:
    """An area for each object, its own half: upper and lower if one moves sideways, else left and
    right."""
    left, right, top, bottom = _whole(view)
    if len(parts) == 1:
        return [(left, right, top, bottom)]
    if any(part.deed in _SIDEWAYS for part in parts):
        areas = [(left, right, top, 0.5), (left, right, 0.5, bottom)]
        if parts[0].deed == "bounces":
            areas.reverse()
        return areas
    areas = [(left, 0.5, top, bottom), (0.5, right, top, bottom)]
    if rng.random() < 0.5:
        areas.reverse()
    return areas


def _said_areas(said: Said, parts: Sequence[_Part], areas: Sequence[Area], view: str) -> list[Area]:
    """The areas that a prompt names, else those that were drawn."""
    whole = _whole(view)
    if said.relation is not None:
        first, second = _RELATED[said.relation]
        areas = [_half(whole, first), _half(whole, second)]
    found = []
    for area, obj, part in zip(areas, said.objects, parts, strict=True):
        if obj.sides:
            area = area if said.relation is not None else whole
            for side in sorted(obj.sides - {_MIDDLE}):
                area = _half(area, side)
            if _MIDDLE in obj.sides:
                _, roam = _LONE_REACH.get(part.deed, (0.0, 0.0))
                area = _middle(area, obj.sides, part.bound + _EDGE + roam)
        found.append(area)
    in_middle = [obj.sides == {_MIDDLE} for obj in said.objects]
    if len(found) == 2 and all(in_middle):
        (left, _, top, bottom), (_, right, *_) = found
        return [(2 * left - 0.5, 0.5, top, bottom), (0.5, 2 * right - 0.5, top, bottom)]
    if len(found) == 2 and any(in_middle):
        at = in_middle.index(True)
        found[1 - at] = _beside(found[1 - at], found[at], parts[1 - at].bound)
    return found


def _middle(area: Area, sides: Collection[str], reach: float) -> Area:
    """The part of an area up to `reach` from the middle of the frame, along those axes of which no
    side is named: `the top middle` is not lower than the top."""
    left, right, top, bottom = area
    if not {"left", "right"}.intersection(sides):
        left, right = 0.5 - reach, 0.5 + reach
    if not {"top", "bottom"}.intersection(sides):
        top, bottom = 0.5 - reach, 0.5 + reach
    return left, right, top, bottom


def _beside(area: Area, other: Area, bound: float) -> Area:
    """The part of half a frame beside another area in the middle of it; where an object of this
    `bound` does not fit in there, its upper or its left end."""
    left, right, top, bottom = area
    if 0.5 in (left, right):
        left, right = (left, other[0]) if right == 0.5 else (other[1], right)
        if right - left < 2 * bound:
            bottom = min(bottom, other[2])
    else:
        top, bottom = (top, other[2]) if bottom == 0.5 else (other[3], bottom)
        if bottom - top < 2 * bound:
            right = other[0]
    return left, right, top, bottom


def _half(area: Area, side: str) -> Area:
    """The part of an area on one side of the middle of the frame, or all of it where that is
    none."""
    left, right, top, bottom = area
    cut = {
        "left": (left, 0.5, top, bottom),
        "right": (0.5, right, top, bottom),
        "top": (left, right, top, 0.5),
        "bottom": (left, right, 0.5, bottom),
    }[side]
    return cut if cut[0] < cut[1] and cut[2] < cut[3] else area


def _place(
    rng: random.Random, parts: Sequence[_Part], areas: Sequence[Area]
) -> tuple[SceneObject, ...]:
    """Each object in its area."""
    alone = len(parts) == 1
    return tuple(_settle(rng, part, area, alone) for part, area in zip(parts, areas, strict=True))


def _settle(rng: random.Random, part: _Part, area: Area, alone: bool) -> SceneObject:
    left, right, top, bottom = area
    motion, _, direction = part.deed.partition(" ")
    reach, reaches = 0.0, _LONE_REACH if alone else _PAIR_REACH
    x = _within(rng, left + part.bound, right - part.bound)
    if motion == "bounces":
        bottom = min(bottom, _FLOOR)
        y = bottom - part.bound
        reach = min(0.55, max(0.25, y - top - part.bound)) * rng.uniform(0.85, 1.0)
    elif motion == "circles":
        reach = rng.uniform(*reaches[motion])
        x = _within(rng, left + part.bound + reach, right - part.bound - reach)
        y = _within(rng, top + part.bound + reach, bottom - part.bound - reach)
    elif motion == "zigzags":
        direction = rng.choice(DIRECTIONS[:2])
        reach = rng.uniform(*reaches[motion])
        y = _within(rng, top + part.bound + reach, bottom - part.bound - reach)
    else:
        y = _within(rng, top + part.bound, bottom - part.bound)
    (speed,) = rng.choices(SPEEDS, _SPEED_WEIGHTS)
    return SceneObject(
        color=part.color,
        shape=part.shape,
        size=part.size,
        motion=motion,
        direction=direction or None,
        speed="" if motion == "still" else speed,
        x=round(x, 4),
        y=round(y, 4),
        reach=round(reach, 4),
        phase=round(rng.random(), 4),
    )


def _within(rng: random.Random, low: float, high: float) -> float:
    """Uniform between the two; where there is no room, the end nearer to the middle of the frame,
    so that all of the object is seen."""
    return rng.uniform(low, high) if low < high else min(low, high, key=lambda at: abs(at - 0.5))
