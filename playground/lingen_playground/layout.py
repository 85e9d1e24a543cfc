"""Plans of where the objects of a prompt are: those of a random scene that shows what it says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .caption import object_phrase
from .reading import read_prompt
from .render import FPS, course_of
from .sample import scene_for


@dataclass(frozen=True)
class PlannedObject:
    """A phrase that describes an object, and its discs (T, 3): x, y and radius in frame widths."""

    phrase: str
    discs: Tensor


def plan_objects(prompt: str, seed: int, frames: Sequence[float]) -> list[PlannedObject] | None:
    """Plan where the objects of a prompt are at some video frames, always the same for a seed; None
    where the prompt is not one of one or two objects."""
    said = read_prompt(prompt)
    if said is None:
        return None
    scene = scene_for(said, seed)
    times = torch.tensor(frames, dtype=torch.float64) / FPS
    planned = []
    for layer, thing in enumerate(scene.objects):
        course = course_of(scene, layer, times)
        discs = torch.stack((course.x, course.y, course.radius), -1)
        planned.append(PlannedObject(object_phrase(thing), discs))
    return planned
