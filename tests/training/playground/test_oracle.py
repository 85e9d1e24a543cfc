"""The oracle: right about real renders, also soft ones, and not about other scenes."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from lingen_training.playground import (
    Scene,
    SceneObject,
    as_frames,
    consistency,
    judge,
    measure,
    render,
    sample_scene,
)
from lingen_training.playground.palette import BACKGROUNDS, COLOURS, SHAPES, visible

ATTRIBUTES = ("colour", "background", "direction", "shape", "size", "motion")


def film(scene: Scene, seconds: float = 3, start: float = 0.0) -> torch.Tensor:
    return as_frames(render([scene], int(16 * seconds), 96, start=start)[0])


def failures(video: torch.Tensor, scene: Scene) -> list[str]:
    verdict = judge(video, scene)
    return [name for name in ATTRIBUTES if getattr(verdict, name) is False]


def alone(**changes: object) -> Scene:
    plain = SceneObject("red", "ball", "medium", "moves", "left", "", 0.6, 0.5, 0.0, 0.0)
    return Scene((replace(plain, **changes),), "white", "still", 1)  # type: ignore[arg-type]


def test_real_renders_pass() -> None:
    scenes = [sample_scene(seed, split="heldout") for seed in range(100, 108)]
    wrong = [failures(film(scene), scene) for scene in scenes]
    assert sum("motion" in names for names in wrong) <= 1
    assert not any(set(names) - {"motion"} for names in wrong), wrong


def test_every_shape_and_colour_is_known_in_a_still() -> None:
    colours = tuple(COLOURS)
    for index, shape in enumerate(SHAPES * 2):
        colour = colours[index % len(colours)]
        ground = next(name for name in BACKGROUNDS if visible(colour, name))
        scene = replace(alone(shape=shape, colour=colour, x=0.5), background=ground)
        (seen,) = measure(as_frames(render([scene], 1, 64)[0])).objects
        assert (seen.shape, seen.colour, seen.size) == (shape, colour, "medium")


def test_soft_and_noisy_video_passes() -> None:
    scene = alone(shape="star", x=0.5)
    clip = render([scene], 32, 128)[0].permute(1, 0, 2, 3)
    soft = F.interpolate(F.interpolate(clip, size=52, mode="area"), size=128, mode="bilinear")
    noise = torch.randn(soft.shape, generator=torch.Generator().manual_seed(1))
    video = as_frames((0.95 * soft + 0.05 * noise).permute(1, 0, 2, 3))
    assert failures(video, scene) == []


@pytest.mark.parametrize(
    ("attribute", "asked"),
    [
        ("colour", {"colour": "orange"}),
        ("shape", {"shape": "square"}),
        ("shape", {"shape": "ring"}),
        ("size", {"size": "small"}),
        ("size", {"size": "large"}),
        ("direction", {"direction": "right"}),
        ("direction", {"direction": "up"}),
    ],
)
def test_what_was_not_asked_for_fails(attribute: str, asked: dict[str, str]) -> None:
    assert failures(film(alone()), alone(**asked)) == [attribute]


def test_another_motion_or_background_fails() -> None:
    video = film(alone())
    assert "motion" in failures(video, alone(motion="still", direction=None))
    assert failures(video, replace(alone(), background="yellow sand")) == ["background"]


def test_nothing_asked_no_direction_judged() -> None:
    scene = alone(motion="still", direction=None)
    assert judge(film(scene), scene).direction is None


def test_an_empty_or_torn_video_is_no_object() -> None:
    empty = torch.full((8, 64, 64, 3), 250, dtype=torch.uint8)
    assert set(failures(empty, alone())) == {"colour", "direction", "shape", "size", "motion"}
    torn = empty.clone()
    torn[:, 28:36, 4:60] = torch.tensor(COLOURS["red"], dtype=torch.uint8)
    assert "shape" in failures(torn, alone())


def test_both_objects_must_be_right() -> None:
    scene = sample_scene(8, objects=2)
    first, second = scene.objects
    wrong = next(name for name in SHAPES if name not in (first.shape, second.shape))
    asked = replace(scene, objects=(first, replace(second, shape=wrong)))
    assert "shape" in failures(film(scene), asked)


def test_consistency_over_a_minute() -> None:
    scene = alone(motion="circles", direction=None, reach=0.2, x=0.5)
    other = replace(scene, objects=(replace(scene.objects[0], colour="blue", size="large"),))
    first = film(scene, 2)
    same = consistency(first, film(scene, 2, start=58), scene)
    assert same.colour and same.size
    changed = consistency(first, film(other, 2, start=58), scene)
    assert not changed.colour and not changed.size


def test_floats_and_bytes_measure_alike() -> None:
    clip = render([alone()], 8, 96)[0]
    assert (
        measure(clip.permute(1, 2, 3, 0)).objects[0].shape
        == measure(as_frames(clip)).objects[0].shape
    )
    with pytest.raises(ValueError, match=r"\(T, H, W, 3\)"):
        measure(clip)
