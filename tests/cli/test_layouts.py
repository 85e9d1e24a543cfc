"""Layouts of the parts of a video: which plan counts after each edit."""

from __future__ import annotations

from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import pytest

from lingen_cli.generation.layouts import layouts_of
from lingen_cli.inputs.frame_rates import Grid
from lingen_cli.requests.edits import Added, Dropped, Retaken
from lingen_models.sampling.params import SamplingParams


class Pipe:
    """Plans are the arguments of their calls."""

    def latent_frames(self, frames: int) -> int:
        return 1 + -(-(frames - 1) // 8)

    def plan_layout(
        self, prompt: str, seed: int, latent_frames: int, begin: int = 0, before: Any = None
    ) -> tuple[str, int, int, int, Any] | None:
        return None if prompt == "unreadable" else (prompt, seed, latent_frames, begin, before)


def stretch(prompt: str = "a ball", frames: int = 64, seed: int = 1, **more: Any) -> Added:
    plan = more.pop("plan", True)
    params = SamplingParams(seed=seed, plan_layout=plan)
    return Added(prompt=prompt, sampling=params, frames=frames, **more)


def retake(prompt: str = "a ball", seed: int = 1) -> Retaken:
    return Retaken(prompt=prompt, sampling=SamplingParams(seed=seed), begin=30, frames=20)


def layouts(*edits: object, **more: Any) -> Any:
    timeline = SimpleNamespace(
        edits=edits, base=more.get("base"), image=more.get("image"), last_image=None
    )
    job: Any = SimpleNamespace(timeline=timeline, grid=Grid(Fraction(16), Fraction(16)))
    pipe: Any = Pipe()
    return layouts_of(job, pipe)


def test_the_same_prompt_goes_on_with_its_plan() -> None:
    first, second = layouts(stretch(frames=65), stretch(frames=64, seed=7))
    assert first == ("a ball", 1, 9, 0, None)
    assert second == ("a ball", 1, 17, 0, None)


def test_another_prompt_goes_on_from_where_things_are() -> None:
    _, second, third = layouts(
        stretch(frames=65), stretch("a star", seed=7), stretch("a star", seed=9)
    )
    assert second == ("a star", 7, 17, 9, ("a ball", 1, 10, 0, None))
    assert third == ("a star", 7, 25, 9, ("a ball", 1, 10, 0, None))


def test_a_cut_begins_anew() -> None:
    for prompt in ("a ball", "a star"):
        _, second = layouts(stretch(frames=65), stretch(prompt, seed=7, cut=True))
        assert second == (prompt, 7, 17, 9, None)


def test_what_is_made_anew_keeps_its_plan_unless_the_prompt_is_another() -> None:
    again = retake(seed=5)
    other = retake("a star", seed=5)
    whole = ("a ball", 1, 9, 0, None)
    assert layouts(stretch(frames=65), again, other) == [whole, whole, None]


def test_after_its_end_is_cut_off_a_video_goes_on_with_what_is_left() -> None:
    found = layouts(
        stretch(frames=65), stretch("a star", seed=7), Dropped(keep=33), stretch(frames=32, seed=9)
    )
    assert found[2:] == [None, ("a ball", 1, 9, 0, None)]


@pytest.mark.parametrize("more", [{"base": object()}, {"image": object()}])
def test_nothing_is_planned_after_something_unknown(more: dict[str, Any]) -> None:
    edits = (stretch(frames=65), stretch(), stretch("a star"))
    assert layouts(*edits, **more) == [None] * 3


def test_a_cut_is_planned_even_after_an_image() -> None:
    found = layouts(stretch(frames=65), stretch("a star", cut=True), image=object())
    assert found == [None, ("a star", 1, 17, 9, None)]


def test_nothing_is_planned_where_that_is_not_wanted() -> None:
    found = layouts(stretch(frames=65), stretch(plan=False), stretch(seed=3))
    assert found == [("a ball", 1, 9, 0, None), None, None]


def test_prompts_that_cannot_be_read_end_the_plan() -> None:
    found = layouts(stretch(frames=65), stretch("unreadable"), stretch("a star"))
    assert found == [("a ball", 1, 9, 0, None), None, None]
