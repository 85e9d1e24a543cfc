"""Scenes seen from half the distance: the frame shows a quarter of the area.

Rendered at half of the usual size, objects have the size and the speed in pixels that they have in
whole frames, and fill the frame: four times as many objects for the same number of pixels, with
all motions, cameras and the way round the edges.
"""

from __future__ import annotations

import dataclasses
import random
from typing import Final

from lingen_playground.scenes.motion import GREATEST_SCALE
from lingen_playground.scenes.scene import Scene, SceneObject
from lingen_playground.scenes.scene_sampler import sample_scene
from lingen_playground.scenes.shapes import BOUND

CLOSENESS: Final = 2
_TWO_OBJECTS: Final = 0.25
_SKIP_LARGE: Final = 0.7
_LEAST_BOUNCE: Final = 0.12


def close_up_scene(seed: int, *, alike: float = 0.0) -> Scene:
    """Draw a scene of the training split whose objects are in sight from up close: one in most, two
    small ones in some, rarely a large one. The same seed gives the same scene; `alike` is that of
    `sample_scene`."""
    rng = random.Random(f"close-up/{seed}")
    two = rng.random() < _TWO_OBJECTS
    while True:
        seed = rng.randrange(2**31)
        scene = sample_scene(seed, objects=2 if two else 1, alike=alike)
        sizes = {obj.size for obj in scene.objects}
        if two and sizes != {"small"}:
            continue
        if "large" in sizes and rng.random() < _SKIP_LARGE:
            continue
        objects = tuple(_moved_in(rng, obj) for obj in scene.objects)
        return dataclasses.replace(scene, objects=objects, closeness=CLOSENESS)


def _moved_in(rng: random.Random, obj: SceneObject) -> SceneObject:
    """Put an object with its whole way into the middle of the scene, that the frame shows."""
    scale = GREATEST_SCALE if obj.motion == "grows" else 1.0
    bound = CLOSENESS * BOUND[obj.shape] * obj.radius * scale
    x = _fitted(obj.x, bound + (obj.reach if obj.motion == "circles" else 0.0))
    y = _fitted(obj.y, bound + (obj.reach if obj.motion in ("circles", "zigzags") else 0.0))
    reach = obj.reach
    if obj.motion == "bounces":
        y = max(0.5, 1 - bound - rng.uniform(0, 0.06))
        reach = max(_LEAST_BOUNCE, min(reach, y - bound))
    if obj.motion == "moves":  # along its direction it comes by anyway
        x, y = (obj.x, y) if obj.direction in ("left", "right") else (x, obj.y)
    return dataclasses.replace(
        obj,
        x=round(0.5 + (x - 0.5) / CLOSENESS, 4),
        y=round(0.5 + (y - 0.5) / CLOSENESS, 4),
        reach=round(reach / CLOSENESS, 4),
    )


def _fitted(position: float, reach: float) -> float:
    """Nearest position that keeps `reach` within the frame; the middle where it does not fit."""
    return min(max(position, reach), 1 - reach) if reach < 0.5 else 0.5
