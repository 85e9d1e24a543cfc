"""Plans of where the objects of a prompt are: those of a random scene that shows what it says."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from .caption import object_phrase
from .reading import read_prompt
from .render import FPS, course_of
from .sample import scene_for
from .scene import Scene, SceneObject

_TRIES: Final = 40
_EASE: Final = 1.5
"""Seconds in which an object comes from where it was to the way that is planned for it."""


@dataclass(frozen=True)
class PlannedObject:
    """A phrase that describes an object, and its discs (T, 4): x, y and radius in frame widths, and
    how far it is turned clockwise, in radians."""

    phrase: str
    discs: Tensor


@dataclass(frozen=True)
class Place:
    """Place of an object that a phrase describes: its middle in frame widths."""

    phrase: str
    x: float
    y: float


def plan_objects(
    prompt: str, seed: int, frames: Sequence[float], before: Sequence[Place] = ()
) -> list[PlannedObject] | None:
    """Plan where the objects of a prompt are at some video frames, of which the first begins the
    scene: always the same for a seed; None where the prompt is not one of one or two objects.

    An object of the color and the shape of one that was there `before` goes on from its place.
    """
    said = read_prompt(prompt)
    if said is None:
        return None
    rng = random.Random(f"plan {seed}")
    seeds = [seed, *(rng.randrange(2**31) for _ in range(_TRIES if before else 0))]
    gaps = {one: _gaps(scene_for(said, one), before) for one in seeds}
    best = min(gaps, key=lambda one: sum(float(gap.norm()) for gap in gaps[one]))
    scene = scene_for(said, best)
    seconds = (torch.tensor(frames, dtype=torch.float64) - frames[0]) / FPS
    planned = []
    for layer, thing in enumerate(scene.objects):
        course = course_of(scene, layer, seconds)
        discs = torch.stack((course.x, course.y, course.radius, course.angle), -1)
        discs[:, :2] += gaps[best][layer] * (1 - seconds / _EASE).clamp(min=0)[:, None]
        planned.append(PlannedObject(object_phrase(thing), discs))
    return planned


def _gaps(scene: Scene, before: Sequence[Place]) -> list[Tensor]:
    """From where each object of a scene begins to where it was (2,); zero for one that is new."""
    left = list(before)
    gaps = []
    for layer, thing in enumerate(scene.objects):
        course = course_of(scene, layer, torch.zeros(1, dtype=torch.float64))
        own = torch.cat((course.x, course.y))
        was = next((one for one in left if _describes(one.phrase, thing)), None)
        if was is None:
            gaps.append(torch.zeros_like(own))
        else:
            left.remove(was)
            gaps.append(torch.tensor((was.x, was.y), dtype=torch.float64) - own)
    return gaps


def _describes(phrase: str, thing: SceneObject) -> bool:
    """Whether a phrase names the color and the shape of an object."""
    said = read_prompt(phrase)
    if said is None:
        return False
    return (said.objects[0].colour, said.objects[0].shape) == (thing.colour, thing.shape)
