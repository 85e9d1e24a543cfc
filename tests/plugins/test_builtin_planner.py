"""The planner of lingen's own models, for words that weights know and captions do not."""

from __future__ import annotations

import pytest

from lingen_plugins.builtin.variants import plan_layout


def phrases(prompt: str, unknown: tuple[str, ...] = ()) -> list[str] | None:
    planned = plan_layout(prompt, 0, [0.0, 8.0], None, unknown)
    return None if planned is None else [one.phrase for one in planned.objects]


def test_a_learnt_adjective_is_in_the_phrase() -> None:
    assert phrases("a brown ball moves left on grey") == ["brown ball moving left"]


def test_a_word_that_the_weights_do_not_know_is_passed_over() -> None:
    plain = plan_layout("a red ball moves left", 0, [0.0, 8.0], None, ())
    planned = plan_layout("a shiny red ball moves left", 0, [0.0, 8.0], None, ("shiny",))
    assert plain is not None and planned is not None
    assert planned.objects == plain.objects


@pytest.mark.parametrize("prompt", ["a cat chases a red ball", "a red ball explodes", "a cat"])
def test_a_prompt_that_says_more_than_a_layout_holds_is_not_planned(prompt: str) -> None:
    assert phrases(prompt) is None
    if "ball" in prompt:
        assert phrases(prompt, ("cat", "chases", "explodes")) is not None
