from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from lingen_cli.errors import BadDataError
from lingen_cli.requests.edits import Added, Dropped
from lingen_cli.requests.recipe import Recipe, recipe_from_video
from lingen_models.sampling.params import SamplingParams

GOOD = {
    "prompt": "a red ball",
    "seed": 1,
    "model": "lingen-mini",
    "weights": {"denoiser": "0" * 64},
    "frames": 16,
    "fps": "24000/1001",
    "width": 128,
    "height": 128,
    "steps": 20,
    "guidance": 3.0,
    "sampler": "euler",
    "crf": 18,
    "encoder_preset": "medium",
    "device": "cpu",
    "dtype": "float32",
    "threads": 4,
    "versions": {"torch": "2.13.0"},
}
"""A recipe of format 1, in which the sampling parameters lie beside the prompt."""
SAMPLING = SamplingParams(steps=20, guidance_scale=3.0, sampler="euler", seed=1)


def test_a_recipe_survives_json() -> None:
    recipe = Recipe.model_validate(GOOD)
    assert Recipe.model_validate_json(recipe.model_dump_json(exclude_none=True)) == recipe
    assert (recipe.format, recipe.sampling) == (2, SAMPLING)
    assert float(recipe.rate) == pytest.approx(23.976, abs=1e-3)


@pytest.mark.parametrize(
    "wrong",
    [
        {"prompt": ""},
        {"seed": -1},
        {"fps": "1/0"},
        {"fps": "fast"},
        {"steps": 0},
        {"guidance": float("inf")},
        {"weights": {"denoiser": "../../etc/passwd"}},
        {"threads": 0},
        {"threads": 100_000},
        {"frames": 10**9},
        {"command": "rm"},
        {"format": 3},
        {"sampling": {"steps": 2, "guidance_scale": 2.0, "sampler": "euler"}},
    ],
)
def test_a_recipe_of_a_stranger_is_checked(
    wrong: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(ValidationError):
        Recipe.model_validate(GOOD | wrong)
    monkeypatch.setattr("lingen_cli.media.metadata.read_recipe", lambda path: GOOD | wrong)
    place = "seed is missing" if "sampling" in wrong else next(iter(wrong))
    with pytest.raises(BadDataError, match=f"damaged recipe in .*: {place}"):
        recipe_from_video(tmp_path / "x.mp4")


def test_a_recipe_of_format_1_is_read_with_its_edits() -> None:
    more = {
        "format": 1,
        "negative": "a star",
        "guidance_interval": [0.1, 0.8],
        "step_cache": 0.2,
        "edits": [
            {"kind": "add", "prompt": "a ball", "seed": 2, "frames": 8, "steps": 3}
            | {"guidance": 2.0, "sampler": "heun", "windows": [33, 9], "crossfade": 1.0},
            {"kind": "cut", "keep": 20},
        ],
    }
    recipe = Recipe.model_validate(GOOD | more)
    assert recipe.sampling == replace(
        SAMPLING, negative_prompt="a star", guidance_interval=(0.1, 0.8), step_cache=0.2
    )
    added, cut = recipe.edits
    assert isinstance(added, Added) and isinstance(cut, Dropped)
    assert added.sampling == SamplingParams(steps=3, guidance_scale=2.0, sampler="heun", seed=2)
    assert (added.windows, added.crossfade, cut.keep) == ((33, 9), 1.0, 20)
    assert Recipe.model_validate_json(recipe.model_dump_json()) == recipe
