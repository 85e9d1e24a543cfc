import pytest
from pydantic import ValidationError

from lingen_cli.errors import BadDataError
from lingen_cli.requests.recipe import Recipe, recipe_from_video

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


def test_a_recipe_survives_json():
    recipe = Recipe.model_validate(GOOD)
    assert Recipe.model_validate_json(recipe.model_dump_json(exclude_none=True)) == recipe
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
        {"format": 2},
    ],
)
def test_a_recipe_of_a_stranger_is_checked(wrong, monkeypatch, tmp_path):
    with pytest.raises(ValidationError):
        Recipe.model_validate(GOOD | wrong)
    monkeypatch.setattr("lingen_cli.media.metadata.read_recipe", lambda path: GOOD | wrong)
    with pytest.raises(BadDataError, match=f"damaged recipe in .*: {next(iter(wrong))}"):
        recipe_from_video(tmp_path / "x.mp4")
