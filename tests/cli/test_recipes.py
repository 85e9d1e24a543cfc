"""Training recipes that are part of the package, and weights that are named by their model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lingen_training.shipped import shipped_recipes, summary_of
from lingen_training.training_recipe import read_recipe
from tests.cli.protocols import Fails, RunHere

NAMES = list(shipped_recipes())


@pytest.mark.parametrize("name", NAMES)
def test_shipped_recipes_can_be_read_and_say_what_they_are(name: Any) -> None:
    path = shipped_recipes()[name]
    assert read_recipe(path).name in name
    assert 20 < len(summary_of(path)) < 110 and "docs/" not in summary_of(path)


def test_they_are_listed_printed_and_copied(lingen_here: RunHere, fails: Fails) -> None:
    rows = json.loads(lingen_here("recipes", "list", "--json").stdout)
    assert [row["name"] for row in rows] == NAMES and "lingen-mini" in NAMES
    assert lingen_here("recipes", "list").stdout.startswith("NAME ")
    text = shipped_recipes()["short-clips"].read_text()
    assert lingen_here("recipes", "show", "short-clips").stdout == text
    assert lingen_here("recipes", "copy", "short-clips").stdout == "short-clips.toml\n"
    assert Path("short-clips.toml").read_text() == text
    fails(lingen_here("recipes", "copy", "short-clips"), 73, "short-clips.toml")
    assert lingen_here("recipes", "copy", "convert", "-o", "mine.toml").returncode == 0
    assert Path("mine.toml").read_bytes() == shipped_recipes()["convert"].read_bytes()
    fails(lingen_here("recipes", "show", "short-clip"), 2, "did you mean 'short-clips'?")


def test_a_shipped_recipe_is_trained_by_its_name(
    lingen_here: RunHere, fails: Fails, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And weights to begin from are found by the name of their model."""
    from lingen_training import trainer as run

    asked: dict[str, Any] = {}

    def train(recipe: Path, folder: Path, **choices: Any) -> None:
        asked.update(recipe=recipe, folder=folder, **choices)

    monkeypatch.setattr(run, "train", train)
    options = ("--start-from", "lingen-mini", "--teacher", "lingen-mini")
    found = lingen_here("train", "lingen-mini-4step", *options)
    assert found.returncode == 0, found.stderr
    assert asked["recipe"] == shipped_recipes()["lingen-mini-4step"]
    assert asked["folder"] == Path("runs/lingen-mini-4step")
    assert (asked["start_from"] / "denoiser.safetensors").is_file()
    assert asked["teacher"] == asked["start_from"]
    fails(lingen_here("train", "ablatoin"), 66, "no such file", "did you mean 'ablation'?")
    fails(lingen_here("train", "ablation", "--start-from", "dit-mini"), 66, "no such folder")


def test_every_recipe_that_is_recommended_is_there(lingen_here: RunHere) -> None:
    """`lingen train NAME` in the list of models can be run after an installation."""
    rows = json.loads(lingen_here("models", "list", "--json").stdout)
    named = {row["get"].split()[2] for row in rows if (row["get"] or "").startswith("lingen train")}
    assert named - {"RECIPE.toml"} == {"ablation", "lingen-mini-4step"}
    assert named - {"RECIPE.toml"} <= set(NAMES)
