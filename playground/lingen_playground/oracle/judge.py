"""Judges a video by its pixels: is what was asked for there?

The scene says what was asked for and is never consulted to find it: the video is measured first,
each attribute as the nearest class, and compared afterwards.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise, permutations
from typing import Final, TypeVar

import torch
from torch import Tensor

from lingen_playground.captions.natural_prompts import Said, SaidObject
from lingen_playground.oracle.segment import divide, take_apart
from lingen_playground.oracle.silhouette import area, fits
from lingen_playground.oracle.tracks import Trace, follow, trace
from lingen_playground.scenes.motion import GREATEST_SCALE, LEAST_SCALE, ZOOM
from lingen_playground.scenes.palette import SHAPES, SIZES, UNSPINNABLE
from lingen_playground.scenes.scene import Scene, SceneObject

LEAST_FIT: Final = 0.75
"""Overlap with its best template below which an outline is no shape at all."""
SAME_SIZE: Final = 1.3
"""Largest ratio of two radii that count as the same size; sizes are a factor of 1.4 apart."""
LEAST_BACKED: Final = 0.8
"""Share of what is beside the objects that one background must have."""
SAID_MARKS: Final = ("color", "shape", "size", "motion", "direction")
_RATE: Final = 8
"""Frames per second that are looked at: enough for the quickest motion."""
_LOOKS: Final = 10
"""Frames in which the outline is compared with the templates."""


@dataclass(frozen=True)
class Sighting:
    """One object as measured. `radius` in frame widths is that of `SIZES`; `fit` in 0..1 is the
    overlap with the best template; `shape` is None below `LEAST_FIT`; `velocity` in frame widths
    per second, right and down; `presence` the share of frames in which it is seen."""

    color: str
    shape: str | None
    size: str
    motion: str
    direction: str | None
    fit: float
    radius: float
    velocity: tuple[float, float]
    presence: float


@dataclass(frozen=True)
class Measurement:
    """A video as measured: its background, and its objects with the largest first.

    `count` is how many connected objects at least a third of the frames show, and `backed`, 0..1,
    how much of what is beside them looks like the background, in all but the worst tenth.
    """

    background: str
    objects: tuple[Sighting, ...]
    count: int
    backed: float


@dataclass(frozen=True)
class Verdict:
    """Verdict on attributes of all objects: True where as asked for. `direction` is None where
    nobody asked for one, that is, where nothing moves left, right, up or down. `count` is
    whether there are as many objects as asked for: one that appears twice is one too many."""

    color: bool
    background: bool
    direction: bool | None
    shape: bool
    size: bool
    motion: bool
    count: bool
    measured: Measurement


@dataclass(frozen=True)
class SaidVerdict:
    """Verdict on the attributes that a prompt says; None for those that it leaves open.
    `one_background` is whether there is one and no other, `count` as in `Verdict`."""

    color: bool | None
    shape: bool | None
    size: bool | None
    motion: bool | None
    direction: bool | None
    background: bool | None
    one_background: bool
    count: bool
    measured: Measurement


@dataclass(frozen=True)
class Consistency:
    """Verdict on whether the end of a long clip shows what its beginning shows."""

    color: bool
    size: bool
    first: Measurement
    last: Measurement


def measure(video: Tensor, fps: float = 16, *, most: int = 2, twins: bool = False) -> Measurement:
    """Measure what a video (T, H, W, 3), uint8 or float in [-1, 1], shows: at most `most` objects.

    Objects differ in their colors. With `twins`, two may have one color, if each keeps to
    its own side of the frame. Raises ValueError for another shape.
    """
    step = max(1, round(fps / _RATE))
    layers = take_apart(video[::step].cpu(), most)
    colors, masks = layers.colors, layers.masks
    if twins and len(colors) == 1 < most:
        both = divide(masks[0])
        if both is not None:
            colors, masks = colors * 2, both[both.sum((1, 2, 3)).argsort(descending=True)]
    sightings = []
    for index, color in enumerate(colors):
        mask = masks[index]
        others = (masks.sum(0) - mask.long()) > 0
        sightings.append(_sight(color, mask, trace(mask, others), fps / step))
    return Measurement(layers.background, tuple(sightings), layers.count, layers.backed)


def judge(video: Tensor, scene: Scene, fps: float = 16) -> Verdict:
    """Verdict on a video (T, H, W, 3), uint8 or float in [-1, 1], that should show `scene`.

    Objects are recognised by their colors; one of a wrong color is still judged by its other
    attributes, as what is left over. Of two of one color, each is the one that it is more like.
    """
    objects = scene.objects
    twins = len({obj.color for obj in objects}) < len(objects)
    measured = measure(video, fps, most=len(objects), twins=twins)
    pairs = _alike(objects, measured.objects) if twins else _pair(objects, measured.objects)
    ways = [(wanted, found) for wanted, found in pairs if wanted.motion == "moves"]
    return Verdict(
        color=_all_have("color", pairs),
        background=measured.background == scene.background,
        direction=_all_have("direction", ways) if ways else None,
        shape=_all_have("shape", pairs),
        size=_all_have("size", pairs),
        motion=_all_have("motion", pairs),
        count=measured.count == len(objects),
        measured=measured,
    )


def judge_said(video: Tensor, said: Said, fps: float = 16) -> SaidVerdict:
    """Verdict on a video (T, H, W, 3), uint8 or float in [-1, 1], by no more than a prompt says.

    Each object is the one that has the most of what is said of it. What nobody asked for may be
    anything, but there is one background, and as many objects as the prompt has.
    """
    objects = said.objects
    colors = [obj.color for obj in objects]
    twins = len(objects) == 2 and (None in colors or colors[0] == colors[1])
    measured = measure(video, fps, most=len(objects), twins=twins)
    pairs = _alike(objects, measured.objects)

    def right(mark: str) -> bool | None:
        said_of = [(one, found) for one, found in pairs if getattr(one, mark)]
        return _all_have(mark, said_of) if said_of else None

    return SaidVerdict(
        **{mark: right(mark) for mark in SAID_MARKS},
        background=None if said.background is None else measured.background == said.background,
        one_background=measured.backed >= LEAST_BACKED,
        count=measured.count == len(objects),
        measured=measured,
    )


def consistency(first: Tensor, last: Tensor, scene: Scene, fps: float = 16) -> Consistency:
    """Judge whether the last seconds of a long clip have the colors and sizes of the first ones.

    Both are videos (T, H, W, 3); of the scene only the number of objects is used. False where
    objects are missing.
    """
    count = len(scene.objects)
    begin, end = measure(first, fps, most=count), measure(last, fps, most=count)
    before = {found.color: found.radius for found in begin.objects}
    after = {found.color: found.radius for found in end.objects}
    complete = len(before) == len(after) == count
    color = complete and before.keys() == after.keys()
    if color:
        pairs = [(before[name], after[name]) for name in before]
    else:
        pairs = list(zip(sorted(before.values()), sorted(after.values()), strict=False))
    size = complete and all(max(pair) <= SAME_SIZE * min(pair) for pair in pairs)
    return Consistency(color, size, begin, end)


def _sight(color: str, mask: Tensor, where: Trace, fps: float) -> Sighting:
    frames = where.clear.nonzero()[:, 0]
    picks = frames[torch.linspace(0, len(frames) - 1, min(_LOOKS, len(frames))).round().long()]
    scores = fits(mask[picks])
    shape = max(SHAPES, key=lambda name: scores[name])
    way = follow(mask, where, fps)
    unit = (torch.pi / area(shape)) ** 0.5
    radii = where.radius[where.clear] * unit
    radius = float(radii.median())
    if way.motion == "grows":
        # Where it is largest, part of it may be hidden: not clear, and still the largest.
        largest = torch.quantile(where.radius[where.seen] * unit, 0.98)
        radius = float(torch.quantile(radii, 0.02) + largest) / (LEAST_SCALE + GREATEST_SCALE)
    return Sighting(
        color=color,
        shape=shape if scores[shape] >= LEAST_FIT else None,
        size=_size(radius),
        motion="still" if way.motion == "spins" and shape in UNSPINNABLE else way.motion,
        direction=way.direction,
        fit=scores[shape],
        radius=radius,
        velocity=way.velocity,
        presence=float(where.seen.float().mean()),
    )


def _size(radius: float) -> str:
    """The nearest size by ratio; up to 1.25 times the nominal one is the same size, for zooms."""
    for smaller, larger in pairwise(sorted(SIZES, key=lambda name: SIZES[name])):
        if radius < (ZOOM * SIZES[smaller] * SIZES[larger]) ** 0.5:
            return smaller
    return max(SIZES, key=lambda name: SIZES[name])


Wanted = TypeVar("Wanted", SceneObject, SaidObject)


def _all_have(mark: str, pairs: list[tuple[Wanted, Sighting | None]]) -> bool:
    """Tell whether each object is seen, and is as wanted in `mark`."""
    return all(
        found is not None and getattr(found, mark) == getattr(wanted, mark)
        for wanted, found in pairs
    )


def _alike(
    wanted: tuple[Wanted, ...], found: tuple[Sighting, ...]
) -> list[tuple[Wanted, Sighting | None]]:
    """Each object with what shows it: so that the most of what is asked for is there."""
    rows = [*found, *[None] * (len(wanted) - len(found))]

    def score(order: tuple[Sighting | None, ...]) -> int:
        return sum(
            getattr(one, mark) == getattr(seen, mark)
            for one, seen in zip(wanted, order, strict=True)
            for mark in SAID_MARKS
            if seen is not None and getattr(one, mark)
        )

    best = max(permutations(rows, len(wanted)), key=score)
    return list(zip(wanted, best, strict=True))


def _pair(
    wanted: tuple[SceneObject, ...], found: tuple[Sighting, ...]
) -> list[tuple[SceneObject, Sighting | None]]:
    """Each object with what shows it: by color, then the rest in order of size."""
    rest = list(found)
    matches: dict[int, Sighting | None] = {}
    for index, obj in enumerate(wanted):
        matches[index] = next((one for one in rest if one.color == obj.color), None)
        rest = [one for one in rest if one is not matches[index]]
    for index in range(len(wanted)):
        if matches[index] is None and rest:
            matches[index] = rest.pop(0)
    return [(obj, matches[index]) for index, obj in enumerate(wanted)]
