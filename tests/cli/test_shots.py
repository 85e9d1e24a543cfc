"""Cuts, fades and dissolves in renders of the playground, and fast motion that is none."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import lingen_playground as playground
from lingen_cli.datasets.shots import Judged, ShotDetector
from lingen_playground import Scene

Frames = np.ndarray[Any, np.dtype[np.uint8]]
SIDE = 64


def frames_of(scene: Scene, count: int) -> Frames:
    return np.asarray(playground.as_frames(playground.render([scene], count, SIDE)[0]))


def judged(images: Iterable[Frames]) -> list[Judged]:
    detector = ShotDetector()
    found = [one for image in images if (one := detector.push(image)) is not None]
    return [*found, *detector.finish()]


def begins(images: Iterable[Frames]) -> list[int]:
    return [number for number, one in enumerate(judged(images)) if one.begins]


def test_cuts_are_found_where_they_are() -> None:
    lengths = [18, 25, 40, 16, 60, 20]
    shots = [
        frames_of(playground.sample_scene(seed), count)
        for seed, count in enumerate(lengths, start=300)
    ]
    assert begins(np.concatenate(shots)) == np.cumsum(lengths)[:-1].tolist()


def test_a_cut_to_other_things_on_the_same_ground_is_one() -> None:
    first, second = (
        replace(playground.sample_scene(seed), background="green grass", camera="still")
        for seed in (11, 12)
    )
    assert begins(np.concatenate([frames_of(first, 30), frames_of(second, 30)])) == [30]


def test_fast_motion_zooms_and_what_leaves_the_image_are_no_cuts() -> None:
    scenes = [playground.sample_scene(seed) for seed in range(400)]
    fast = [one for one in scenes if any(thing.speed == "quickly" for thing in one.objects)]
    zooms = [one for one in scenes if one.camera.startswith(("zoom", "pan"))]
    assert len(fast) >= 12 and len(zooms) >= 12
    for scene in fast[:12] + zooms[:12]:
        found = judged(frames_of(scene, 64))
        assert not any(one.begins or one.blank for one in found), scene


@pytest.mark.parametrize("rate", [1, 2, 4])
def test_repeated_frames_make_no_cuts(rate: int) -> None:
    """A video of 4 frames a second shows each for four of these."""
    video = frames_of(playground.sample_scene(7), 64)[:: 16 // (4 * rate)]
    images = [image for image in video for _ in range(16 // (4 * rate))]
    found = judged(images)
    assert not any(one.begins for one in found)
    assert [one.moves for one in found].count(True) <= len(video)


def test_a_flash_is_no_cut() -> None:
    video = frames_of(playground.sample_scene(7), 40).copy()
    video[20] = 255 - video[20]
    assert begins(video) == []


@pytest.mark.parametrize("length", [8, 16])
def test_a_fade_through_black_ends_a_shot(length: int) -> None:
    first, second = _two()
    steps = np.linspace(1, 0, length)[:, None, None, None]
    first[-length:] = first[-length:] * steps
    second[:length] = second[:length] * steps[::-1]
    black = np.zeros((6, SIDE, SIDE, 3), np.uint8)
    found = judged(np.concatenate([first, black, second]))
    assert all(one.blank for one in found[60:66])
    (begin,) = (number for number, one in enumerate(found) if one.begins)
    assert 66 <= begin <= 66 + length
    assert not any(one.blank for one in found[: 60 - length] + found[66 + length :])


@pytest.mark.parametrize("length", [4, 8, 16])
def test_a_dissolve_ends_a_shot(length: int) -> None:
    first, second = _two()
    share = np.linspace(0, 1, length + 2)[1:-1, None, None, None]
    between = first[-length:] * (1 - share) + second[:length] * share
    video = np.concatenate([first[:-length], between.astype(np.uint8), second[length:]])
    found = judged(video)
    (begin,) = (number for number, one in enumerate(found) if one.begins)
    assert 60 - length <= begin <= 61
    assert not any(one.blank for one in found[: 60 - length] + found[60:])


def _two() -> tuple[Frames, Frames]:
    """Two shots of 60 frames on grounds of other colors."""
    scenes = zip((21, 22), ("green grass", "blue sky"), strict=True)
    first, second = (
        frames_of(replace(playground.sample_scene(seed), background=ground, camera="still"), 60)
        for seed, ground in scenes
    )
    return first.copy(), second.copy()
