"""The facts that tokens are aligned with, against what is seen in renders."""

from __future__ import annotations

import random

import pytest
import torch

from lingen_playground import Scene, close_up_scene, course_of, render, sample_scene
from lingen_playground.scenes.palette import BACKGROUNDS, COLORS, SHAPES
from lingen_training.datasets.clip_cache import LatentClips
from lingen_training.stages.alignment import FACTS, AlignmentHead, ground_truth

STRIDE = 8


def clips_of(scenes: list[Scene], side: int, frames: int = 5) -> LatentClips:
    latents = torch.zeros(len(scenes), 1, frames, side, side)
    return LatentClips(latents, scenes, [0.25 * at for at in range(len(scenes))], STRIDE)


@pytest.mark.parametrize("close", [False, True])
def test_occupied_tokens_are_those_that_the_object_covers(close: bool) -> None:
    size = 64 if close else 128
    draw = close_up_scene if close else sample_scene
    scenes = [scene for scene in map(draw, range(60)) if len(scene.objects) == 1]
    clips = clips_of(scenes, size // 8)
    picked = clips.pick(random.Random(0), 40, 1)
    starts = [clips.starts[index] for index in picked.indices]
    side = size // 16
    facts = ground_truth(picked, starts, 5, (side, side), size, STRIDE)
    assert facts.shape == (40, 1, side, side, FACTS)
    for row, (scene, start) in enumerate(zip(picked.scenes, starts, strict=True)):
        obj = scene.objects[0]
        color = torch.tensor(list(COLORS.values())[list(COLORS).index(obj.color)])
        video = render([scene], 1, size, start=start)[0, :, 0]
        is_object = ((video - (color / 127.5 - 1)[:, None, None]).abs().amax(0) < 0.15).float()
        covered = is_object.view(side, 16, side, 16).mean((1, 3))
        occupied = facts[row, 0, ..., 0] / 2
        if obj.shape == "ring":
            continue  # its middle is not of its color
        if float(covered.max()) > 0.3:
            assert occupied.flatten()[int(covered.argmax())] > 0.5
        assert (covered[occupied < 0.02] < 0.25).all()
        named = facts[row, 0, ..., 6:].flatten(0, 1)[int(occupied.argmax())]
        if float(occupied.max()) > 0.9:
            assert SHAPES[int(named[: len(SHAPES)].argmax())] == obj.shape
            colors = named[len(SHAPES) : len(SHAPES) + len(COLORS)]
            assert list(COLORS)[int(colors.argmax())] == obj.color
        ground = facts[row, 0, 0, 0, -len(BACKGROUNDS) :]
        assert list(BACKGROUNDS)[int(ground.argmax())] == scene.background


def test_crops_and_later_windows_see_the_same_facts() -> None:
    scenes = [sample_scene(seed, objects=1) for seed in range(40)]
    clips = clips_of(scenes, 16)
    picked = clips.pick(random.Random(1), 12, 2, inside=True, window=(8, 8))
    starts = [clips.starts[index] for index in picked.indices]
    cropped = ground_truth(picked, starts, 5, (4, 4), 128, STRIDE)
    for row, index in enumerate(picked.indices):
        x, y = picked.corners[row]
        if x % 2 or y % 2:
            continue
        begin = picked.begins[row]
        whole = LatentClips(clips.latents[index : index + 1], [scenes[index]], [0.0], STRIDE)
        every = ground_truth(
            whole.pick(random.Random(0), 1, 5), [starts[row]], 5, (8, 8), 128, STRIDE
        )
        window = every[0, begin : begin + 2, y // 2 : y // 2 + 4, x // 2 : x // 2 + 4]
        torch.testing.assert_close(cropped[row], window)


def test_velocity_is_that_of_the_course() -> None:
    scene = next(
        scene
        for scene in (sample_scene(seed, objects=1) for seed in range(200))
        if scene.objects[0].deed == "moves right" and scene.camera == "still"
    )
    clips = LatentClips(torch.zeros(1, 1, 3, 16, 16), [scene], [0.0], STRIDE)
    facts = ground_truth(clips.pick(random.Random(0), 1, 3), [0.0], 3, (8, 8), 128, STRIDE)
    at = facts[0, 1, ..., 0].flatten().argmax()
    velocity = facts[0, 1].flatten(0, 1)[at]
    times = torch.tensor([4.5 / 16, 4.5 / 16 + 0.25], dtype=torch.float64)
    x = course_of(scene, 0, times).x * 128
    moved = float((x[1] - x[0] + 64) % 128 - 64)
    assert float(velocity[3] / (velocity[0] / 2)) == pytest.approx(moved / 16, abs=0.02)
    assert float(velocity[4]) == pytest.approx(0, abs=1e-4)


def test_the_head_reads_tokens() -> None:
    assert AlignmentHead(16)(torch.randn(2, 3, 4, 4, 16)).shape == (2, 3, 4, 4, FACTS)
