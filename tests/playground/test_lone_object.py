"""Objects of unknown colors, measured in clips, against the scenes that these were rendered of."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from lingen_playground import FPS, as_frames, course_of, render, sample_scene
from lingen_playground.oracle.lone_object import lone_object
from lingen_playground.scenes.palette import COLORS
from lingen_playground.scenes.scene import Scene


def scene_of() -> Scene:
    """A ball of a color that is orange to the renderer, which moves in a circle."""
    scene = sample_scene(3, objects=1, background="white", camera="still")
    ball = replace(scene.objects[0], shape="ball", size="medium", color="orange", direction=None)
    ball = replace(ball, motion="circles", speed="", x=0.5, y=0.5, reach=0.2)
    return replace(scene, objects=(ball,))


def clip_of(scene: Scene, monkeypatch: pytest.MonkeyPatch, frames: int = 33) -> torch.Tensor:
    monkeypatch.setitem(COLORS, "orange", (120, 70, 25))
    return as_frames(render([scene], frames, 64)[0])


def test_a_brown_ball_is_where_it_was_rendered(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = scene_of()
    found = lone_object(clip_of(scene, monkeypatch), "a brown ball moves in a circle on white")
    assert found is not None
    phrase, places = found
    assert phrase == "brown ball moving in a circle"
    course = course_of(scene, 0, torch.arange(33, dtype=torch.float64) / FPS)
    torch.testing.assert_close(places[:, 0].double(), course.x, atol=0.01, rtol=0)
    torch.testing.assert_close(places[:, 1].double(), course.y, atol=0.01, rtol=0)
    torch.testing.assert_close(places[:, 2].double(), course.radius, atol=0.01, rtol=0)
    assert bool(places[:, 3].all())


@pytest.mark.parametrize("caption", ["a cat runs", "a ball", "a brown ball and a brown star", ""])
def test_other_captions_have_no_layout(caption: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert lone_object(clip_of(scene_of(), monkeypatch, 9), caption) is None


def test_clips_of_something_else_have_no_layout(monkeypatch: pytest.MonkeyPatch) -> None:
    caption = "a brown ball moves left"
    noise = torch.randint(0, 256, (9, 64, 64, 3), generator=torch.Generator().manual_seed(0))
    assert lone_object(noise.to(torch.uint8), caption) is None
    empty = torch.full((9, 64, 64, 3), 255, dtype=torch.uint8)
    assert lone_object(empty, caption) is None
    scene = scene_of()
    still = replace(scene.objects[0], motion="still", size="small")
    apart = tuple(replace(still, x=at, y=at) for at in (0.25, 0.75))
    assert lone_object(clip_of(replace(scene, objects=apart), monkeypatch, 9), caption) is None
