"""Scenes: the same for a seed, visible, spread over everything, and true to the held-out list."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from lingen_playground import Scene, combinations, is_heldout, sample_scene
from lingen_playground.scenes.palette import (
    BACKGROUNDS,
    CAMERAS,
    COLORS,
    PLAIN,
    SHAPES,
    SIZES,
    UNSPINNABLE,
    distinct,
    visible,
)

TRAIN = [sample_scene(seed) for seed in range(3000)]
HELDOUT = [sample_scene(seed, split="heldout") for seed in range(600)]


def test_a_seed_gives_one_scene() -> None:
    assert [sample_scene(seed) for seed in range(50)] == TRAIN[:50]
    assert len(set(TRAIN)) == len(TRAIN)


def test_scenes_survive_json() -> None:
    for scene in TRAIN[:50]:
        assert Scene.from_dict(json.loads(json.dumps(scene.to_dict()))) == scene


def test_training_never_shows_a_heldout_combination() -> None:
    assert not any(is_heldout(obj) for scene in TRAIN for obj in scene.objects)


def test_heldout_scenes_hold_one_and_reach_all() -> None:
    shown = [{obj.combination for obj in scene.objects if is_heldout(obj)} for scene in HELDOUT]
    assert all(shown)
    assert set.union(*shown) == set(combinations())


def test_the_list_is_large_distinct_and_possible() -> None:
    listed = combinations()
    deeds = {obj.deed for scene in TRAIN for obj in scene.objects}
    assert len(listed) == len(set(listed)) == 40
    for color, shape, deed in listed:
        assert color in COLORS and shape in SHAPES and deed in deeds
        assert deed != "spins" or shape not in UNSPINNABLE


def test_training_shows_every_pair_of_a_heldout_combination() -> None:
    seen = {obj.combination for scene in TRAIN for obj in scene.objects}
    for one in range(3):
        known = {tuple(part for i, part in enumerate(item) if i != one) for item in seen}
        for item in combinations():
            assert tuple(part for i, part in enumerate(item) if i != one) in known


@pytest.mark.parametrize("scenes", [TRAIN, HELDOUT], ids=["train", "heldout"])
def test_objects_stand_out(scenes: list[Scene]) -> None:
    for scene in scenes:
        assert all(visible(obj.color, scene.background) for obj in scene.objects)
        if len(scene.objects) == 2:
            first, second = scene.objects
            assert distinct(first.color, second.color)
            assert max(abs(first.x - second.x), abs(first.y - second.y)) > 0.1


def test_a_color_is_never_on_its_own_background() -> None:
    for color, background in (
        ("white", "white"),
        ("black", "black"),
        ("black", "starry night"),
        ("green", "green grass"),
        ("blue", "blue sky"),
        ("yellow", "yellow sand"),
    ):
        assert not visible(color, background)


def test_proportions() -> None:
    two = sum(len(scene.objects) == 2 for scene in TRAIN) / len(TRAIN)
    still = sum(scene.camera == "still" for scene in TRAIN) / len(TRAIN)
    assert 0.31 < two < 0.39
    assert 0.66 < still < 0.80
    objects = [obj for scene in TRAIN for obj in scene.objects]
    for attribute, names in (("color", COLORS), ("shape", SHAPES), ("size", SIZES)):
        counts = Counter(getattr(obj, attribute) for obj in objects)
        assert min(counts[name] for name in names) > 0.5 * len(objects) / len(names)
    assert {scene.camera for scene in TRAIN} == set(CAMERAS)
    assert {scene.background for scene in TRAIN} == set(BACKGROUNDS)


def test_no_pan_that_cannot_be_seen() -> None:
    assert not any(s.background in PLAIN and s.camera.startswith("pans") for s in TRAIN)


def test_what_is_fixed_stays_fixed() -> None:
    scene = sample_scene(3, objects=2, background="black", camera="zooms in")
    assert (len(scene.objects), scene.background, scene.camera) == (2, "black", "zooms in")
    for wrong in ({"objects": 3}, {"background": "lava"}, {"camera": "rolls"}):
        with pytest.raises(ValueError):
            sample_scene(3, **wrong)


def test_twins_share_a_shape_and_are_told_apart() -> None:
    scenes = [sample_scene(seed, objects=2, alike=1.0) for seed in range(600)]
    pairs = [scene.objects for scene in scenes]
    assert all(one.shape == other.shape for one, other in pairs)
    one_color = [pair for pair in pairs if pair[0].color == pair[1].color]
    assert 0.3 < len(one_color) / len(pairs) < 0.7
    assert all(one.deed == other.deed or one.motion == "zigzags" for one, other in one_color)
    for one, other in pairs:
        assert one.color == other.color or distinct(one.color, other.color)
        assert one.motion != "spins" or one.shape not in UNSPINNABLE
    assert not any(is_heldout(obj) for scene in scenes for obj in scene.objects)
    heldout = [sample_scene(seed, split="heldout", objects=2, alike=1.0) for seed in range(100)]
    assert all(any(map(is_heldout, scene.objects)) for scene in heldout)


def test_a_share_of_pairs_is_alike() -> None:
    scenes = [sample_scene(seed, alike=0.5) for seed in range(2000)]
    pairs = [scene.objects for scene in scenes if len(scene.objects) == 2]
    assert 0.31 < len(pairs) / len(scenes) < 0.39
    assert 0.45 < sum(one.shape == other.shape for one, other in pairs) / len(pairs) < 0.6
