"""Scenes from half the distance: the same pixels per object, all of its way in sight."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
import torch

from lingen_playground import (
    Scene,
    as_frames,
    close_up_scene,
    course_of,
    extent,
    is_heldout,
    judge,
    render,
    sample_scene,
)
from lingen_playground.scenes.palette import MOTIONS

SCENES = [close_up_scene(seed) for seed in range(300)]


def test_the_same_seed_is_the_same_scene_and_survives_json() -> None:
    for scene in SCENES[:20]:
        assert Scene.from_dict(scene.to_dict()) == scene
    assert close_up_scene(7) == SCENES[7]
    assert SCENES[7] != SCENES[8]


def test_records_of_whole_scenes_from_before_are_read() -> None:
    record = sample_scene(3).to_dict()
    del record["closeness"]
    assert Scene.from_dict(record) == sample_scene(3)


def test_every_motion_is_there_and_nothing_is_held_out() -> None:
    motions = Counter(obj.motion for scene in SCENES for obj in scene.objects)
    assert set(motions) == set(MOTIONS)
    assert not any(is_heldout(obj) for scene in SCENES for obj in scene.objects)
    two = sum(len(scene.objects) == 2 for scene in SCENES)
    assert 50 < two < 100


@pytest.mark.parametrize("camera", ["still", "pans left", "zooms in"])
def test_a_close_up_is_the_middle_of_a_whole_frame(camera: str) -> None:
    scene = sample_scene(11, objects=1, background="blue sky", camera=camera)
    objects = tuple(replace(obj, motion="still", speed="") for obj in scene.objects)
    scene = replace(scene, objects=objects)
    whole = render([scene], 5, 128, start=0.5)[..., 32:96, 32:96]
    close = render([replace(scene, closeness=2)], 5, 64, start=0.5)
    assert float((whole - close).abs().mean()) < 0.01


def test_objects_stay_in_sight() -> None:
    """All but those that leave the frame and come back in."""
    times = torch.arange(0, 20, 0.1, dtype=torch.float64)
    for scene in SCENES:
        for layer, obj in enumerate(scene.objects):
            course = course_of(scene, layer, times)
            seen = (course.x - 0.5).abs().lt(0.5) & (course.y - 0.5).abs().lt(0.5)
            least = 0.35 if obj.motion in ("moves", "zigzags") else 0.98
            assert float(seen.double().mean()) > least, (scene, obj)


def test_most_fit_whole() -> None:
    fit = []
    for scene in SCENES:
        if len(scene.objects) == 1 and scene.objects[0].motion not in ("moves", "zigzags"):
            box = extent(scene, torch.arange(0, 8, 0.1, dtype=torch.float64))
            fit.append(bool((box[:, :2] > -0.05).all() and (box[:, 2:] < 1.05).all()))
    assert sum(fit) / len(fit) > 0.85


def test_the_oracle_knows_what_they_show() -> None:
    right = Counter[str]()
    scenes = [scene for scene in SCENES if len(scene.objects) == 1][:24]
    for scene in scenes:
        verdict = judge(as_frames(render([scene], 65, 64)[0]), scene)
        right.update(mark for mark in ("color", "background", "shape") if getattr(verdict, mark))
    assert right["color"] >= 22 and right["background"] >= 22
    assert right["shape"] >= 22
