"""Plans of where the objects of a prompt are: those of a random scene that shows what it says."""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from lingen_playground.captions.caption import object_phrase
from lingen_playground.captions.lexicon import PLACE
from lingen_playground.captions.natural_prompts import SaidObject
from lingen_playground.captions.prompt_reader import read_prompt
from lingen_playground.oracle.segment import take_apart
from lingen_playground.oracle.silhouette import area, fits
from lingen_playground.rendering.render import FPS, course_of
from lingen_playground.scenes.palette import SHAPES
from lingen_playground.scenes.scene import Scene, SceneObject
from lingen_playground.scenes.scene_sampler import scene_for

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
class Plan:
    """Objects of a plan, and the prompt with the background, where it names none."""

    objects: tuple[PlannedObject, ...]
    prompt: str


@dataclass(frozen=True)
class Place:
    """Place of an object that a phrase describes: its middle and its radius in frame widths."""

    phrase: str
    x: float
    y: float
    radius: float


def plan_objects(
    prompt: str,
    seed: int,
    frames: Sequence[float],
    before: Sequence[Place] = (),
    ignored: Collection[str] = (),
) -> Plan | None:
    """Plan where the objects of a prompt are at some video frames, of which the first begins the
    scene: always the same for a seed; None where the prompt is not one of one or two objects.

    An object of the color and the shape of one that was there `before` goes on from its place, in
    its size, and the background is what it was. Words that are `ignored` are not read; others that
    are in no caption stand in the phrases of what they describe, as `brown ball moving left`.
    """
    said = read_prompt(prompt, ignored)
    if said is None:
        return None
    rng = random.Random(f"plan {seed}")
    seeds = [seed, *(rng.randrange(2**31) for _ in range(_TRIES if before else 0))]
    scenes = [scene_for(said, one) for one in seeds]
    colors = [_colors_of(one) for one in said.objects]
    scene, gaps = min(
        ((one, _gaps(one, colors, before)) for one in scenes),
        key=lambda pair: sum(float(gap[:2].norm()) for gap in pair[1]),
    )
    seconds = (torch.tensor(frames, dtype=torch.float64) - frames[0]) / FPS
    planned = []
    for layer, obj in enumerate(scene.objects):
        course = course_of(scene, layer, seconds)
        discs = torch.stack((course.x, course.y, course.radius, course.angle), -1)
        discs[:, :2] += gaps[layer][:2] * (1 - seconds / _EASE).clamp(min=0)[:, None]
        discs[:, 2] *= gaps[layer][2]
        planned.append(PlannedObject(object_phrase(obj, color=colors[layer]), discs))
    if said.background is None and not before:
        prompt = f"{prompt.rstrip(' .!')} {PLACE[scene.background][0]}"
    return Plan(tuple(planned), prompt)


def _colors_of(said: SaidObject) -> str:
    """The words for the color of an object, if a prompt has any that captions do not have."""
    return " ".join((*said.described, said.color or "")).strip() if said.described else ""


def _gaps(scene: Scene, colors: Sequence[str], before: Sequence[Place]) -> list[Tensor]:
    """From where each object of a scene begins to where it was, and by which factor it was larger
    there (3,); 0, 0 and 1 for one that is new."""
    left = list(before)
    gaps = []
    for layer, obj in enumerate(scene.objects):
        course = course_of(scene, layer, torch.zeros(1, dtype=torch.float64))
        x, y, radius = (float(one[0]) for one in (course.x, course.y, course.radius))
        was = next((one for one in left if _describes(one.phrase, obj, colors[layer])), None)
        gap = (0.0, 0.0, 1.0)
        if was is not None:
            left.remove(was)
            gap = (was.x - x, was.y - y, was.radius / radius)
        gaps.append(torch.tensor(gap, dtype=torch.float64))
    return gaps


def places_in(image: Tensor) -> list[Place]:
    """Find the objects in an image (H, W, 3) uint8 of the playground, at most two, by their
    colors."""
    wide = image.shape[1]
    layers = take_apart(image[None].cpu(), 2)
    places = []
    for color, mask in zip(layers.colors, layers.masks, strict=True):
        scores = fits(mask)
        shape = max(SHAPES, key=lambda name: scores[name])
        y, x = mask[0].nonzero().double().mean(0).tolist()
        radius = (float(mask.sum()) / area(shape)) ** 0.5
        places.append(Place(f"{color} {shape}", (x + 0.5) / wide, (y + 0.5) / wide, radius / wide))
    return places


def _describes(phrase: str, obj: SceneObject, color: str) -> bool:
    """Whether a phrase names the shape of an object, and its color, or the words for it."""
    said = read_prompt(phrase)
    if said is None:
        return False
    named = _colors_of(said.objects[0]) or said.objects[0].color
    return (named, said.objects[0].shape) == (color or obj.color, obj.shape)
