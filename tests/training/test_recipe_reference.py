"""Keys of recipes: their reference, and what a wrong one is answered with."""

from __future__ import annotations

from pathlib import Path

import pytest

from lingen_models.toml_lines import TomlLines
from lingen_training.reference import SECTIONS, recipe_reference
from lingen_training.training_recipe import RecipeError, read_recipe

PAGE = Path(__file__).parents[2] / "docs" / "recipes.md"
RECIPE = PAGE.read_text(encoding="utf-8").split("```toml\n", 1)[1].split("```", 1)[0]


def test_the_reference_is_that_of_the_code() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert text.split(" a test compares -->\n\n")[1] == recipe_reference()


def test_every_key_says_what_it_means() -> None:
    for section in SECTIONS.values():
        for name, field in section.model_fields.items():
            assert field.description, (section.__name__, name)


def test_the_quick_start_is_a_recipe(tmp_path: Path) -> None:
    (tmp_path / "quick.toml").write_text(RECIPE)
    recipe = read_recipe(tmp_path / "quick.toml")
    assert (recipe.stage[0].steps, recipe.stage[0].source[0].latent_frames) == (20, 5)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("learning_rate", "lr", "9: stage.0.lr: unknown key; did you mean 'learning_rate'?"),
        ("batch =", "batch_size =", "14: stage.0.source.0.batch_size: unknown key; did you mean '"),
        ("clips = 32", "clipz = 32", "15: stage.0.source.0.clipz: unknown key; did you mean 'cli"),
        ("[autoencoder]", "[autoencodr]", "3: autoencodr: unknown key; did you mean 'autoencoder"),
        ("clips = 32", "", "11: stage.0.source.0.clips: is missing (stage 'clips')"),
        ("steps = 20\n\n", "steps = 0\n\n", "4: autoencoder.steps: Input should be greater"),
    ],
)
def test_a_wrong_key_is_told_with_its_line(old: str, new: str, told: str, tmp_path: Path) -> None:
    path = tmp_path / "quick.toml"
    path.write_text(RECIPE.removeprefix("# quick.toml\n").replace(old, new, 1))
    line = int(told.split(":")[0])
    with pytest.raises(RecipeError) as caught:
        read_recipe(path)
    assert str(caught.value).startswith(f"{path}:{told}")
    assert line <= RECIPE.count("\n")


def test_lines_of_nested_tables() -> None:
    text = (
        'name = "x"\n[[stage]]\nsteps = 1\n[[stage.source]]\nsize = 1\n[[stage]]\n'
        "[[stage.source]]\nsize = 2\n[stage.few_steps]\nsteps = 4\n[data.config]\n'a b' = 3\n"
    )
    lines = TomlLines(text)
    places = {
        ("name",): 1,
        ("stage", 0): 2,
        ("stage", 0, "steps"): 3,
        ("stage", 0, "source", 0, "size"): 5,
        ("stage", 1, "source", 0, "size"): 8,
        ("stage", 1, "few_steps", "steps"): 10,
        ("data", "config", "a b"): 12,
        ("stage", 1, "source", 0, "missing"): 7,
        ("nothing",): 1,
    }
    assert {place: lines.of(place) for place in places} == places
