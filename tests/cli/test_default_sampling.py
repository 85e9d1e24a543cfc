"""Fewer denoising steps are the default where the layout of a video is planned."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lingen_cli.requests.capabilities import params_of
from lingen_cli.requests.recipe import recipe_from_video
from lingen_models.sampling.params import SamplingParams
from lingen_plugins.builtin.variants import plan_layout, plans
from lingen_plugins.registry import collect
from tests.cli.protocols import RunHere

VARIANT = collect().model_variants["lingen-mini"]
USUAL, PLANNED = params_of(VARIANT), params_of(VARIANT, planned=True)
SMALL = ("--size", "32", "--frames", "9", "--seed", "3")
BALL = "a red ball bounces on green grass"
CAT = "a cat sleeps on green grass"
Sampled = Callable[..., SamplingParams]


@pytest.fixture
def sampled(lingen_here: RunHere, tmp_path: Path) -> Sampled:
    """Return a function that runs a command into a file and tells what its end was sampled with."""

    def run(*words: object, output: str = "made.mp4") -> SamplingParams:
        result = lingen_here(*map(str, words), "--overwrite", "-o", str(tmp_path / output))
        assert result.returncode == 0, result.stderr
        return recipe_from_video(tmp_path / output).last.sampling

    return run


def like(params: SamplingParams, other: SamplingParams) -> bool:
    """Tell whether two have the same steps and guidance."""
    return (params.steps, params.guidance_interval, params.guidance_scale) == (
        other.steps,
        other.guidance_interval,
        other.guidance_scale,
    )


@pytest.mark.parametrize("prompt", [BALL, CAT, "two blue stars spin"])
def test_what_is_said_to_be_planned_is_planned(prompt: str) -> None:
    assert plans(prompt) == (plan_layout(prompt, 0, [0.0, 8.0], None) is not None)


def test_a_planned_video_takes_fewer_steps(sampled: Sampled, tmp_path: Path) -> None:
    assert PLANNED.steps < USUAL.steps
    assert like(sampled("generate", BALL, *SMALL), PLANNED)
    assert sampled("generate", BALL, *SMALL, "--steps", "2").steps == 2
    assert like(sampled("generate", CAT, *SMALL), USUAL)
    assert like(sampled("generate", BALL, *SMALL, "--no-plan-layout"), USUAL)
    Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(tmp_path / "last.png")
    last = ("--last-image", tmp_path / "last.png")
    assert like(sampled("generate", BALL, *SMALL, *last), USUAL)


def test_an_edit_takes_the_steps_of_its_own_prompt(sampled: Sampled, tmp_path: Path) -> None:
    video, more = tmp_path / "video.mp4", ("--seconds", "0.5")
    assert like(sampled("generate", BALL, *SMALL, output="video.mp4"), PLANNED)
    assert like(sampled("extend", video, *more), PLANNED)
    assert like(sampled("continue", video, "a blue ball bounces", *more), PLANNED)
    assert like(sampled("continue", video, CAT, *more), USUAL)
    assert like(sampled("retake", video, "--from", "0.2s"), PLANNED)
    assert like(sampled("retake", video, "--from", "0.2s", "--prompt", "a blue star"), USUAL)
    sampled("generate", BALL, *SMALL, "--steps", "2", output="video.mp4")
    assert sampled("continue", video, CAT, *more).steps == 2
