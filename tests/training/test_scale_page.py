"""docs/scale.md beside the formulas."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lingen_models.network_config import PRESETS
from lingen_training.forecast import scale_page
from lingen_training.shipped import shipped_recipes
from lingen_training.training_recipe import read_recipe

PAGE = (Path(__file__).parents[2] / "docs" / "scale.md").read_text(encoding="utf-8")


def between(mark: str) -> str:
    """What stands between a comment that begins with `mark` and the next `<!-- end -->`."""
    return re.split(rf"<!-- {mark}[^\n]*-->\n\n", PAGE)[1].split("\n<!-- end -->")[0]


def numbers(table: str) -> list[list[float]]:
    """The numbers of every row."""
    return [
        [float(one.replace(",", "")) for one in re.findall(r"\d[\d.,]*(?:e[+-]\d+)?", row)]
        for row in table.replace("`", " ").splitlines()
        if re.search(r"\d", row)
    ]


def test_the_tables_are_those_of_the_formulas() -> None:
    told, found = between("from lingen_training/forecast/scale_page.py"), scale_page.scale_tables()
    assert re.sub(r"\d[\d.,e+]*", "0", told) == re.sub(r"\d[\d.,e+]*", "0", found)
    for row, again in zip(numbers(told), numbers(found), strict=True):
        # Memory is counted by running a step: another torch may keep a little more or less.
        assert again == pytest.approx(row, rel=0.06)


@pytest.mark.parametrize(
    "mark, frames, devices",
    [
        ("split", scale_page.MINUTE, scale_page.MINUTE_DEVICES),
        ("hour", scale_page.HOUR, scale_page.HOUR_DEVICES),
    ],
)
def test_the_cost_models_are_those_of_the_formulas(
    mark: str, frames: int, devices: tuple[int, ...]
) -> None:
    told, found = between(mark).splitlines(), scale_page.split_table(frames, devices).splitlines()
    assert len(told) == len(found)
    for row, again in zip(told, found, strict=True):
        *cells, held, _ = row.split("|")
        *others, held_again, _ = again.split("|")
        assert cells == others
        for a, b in zip(numbers(held), numbers(held_again), strict=True):
            assert b == pytest.approx(a, rel=0.06)


def test_dividing_an_hour_pays_less_and_less() -> None:
    rows = numbers(scale_page.split_table(scale_page.HOUR, scale_page.HOUR_DEVICES))
    assert [row[0] for row in rows] == list(scale_page.HOUR_DEVICES)
    in_all, ideal = [row[6] for row in rows], [row[7] for row in rows]
    assert in_all == sorted(in_all, reverse=True) and ideal == sorted(ideal, reverse=True)
    assert all(row[1] * row[0] >= scale_page.HOUR for row in rows)


def test_the_stages_are_those_of_the_paper() -> None:
    recipes = [read_recipe(shipped_recipes()[name]) for name in scale_page.RECIPES]
    stages = [stage for recipe in recipes for stage in recipe.stage]
    clips = [(stage.source[0].size, stage.source[0].latent_frames) for stage in stages]
    assert clips[:5] == [(256, 1), (256, 34), (512, 34), (512, 68), (512, 136)]
    assert all(stage.checkpoint_blocks for stage in stages)
    grids = [recipe.model.config().position_grid for recipe in recipes]
    assert all(a <= b for a, b in zip(grids[0], grids[1], strict=True)) and grids[1] == grids[2]
    for recipe, grid in zip(recipes, grids, strict=True):
        assert recipe.model.config().width == PRESETS["4b"].width
        for source in (source for stage in recipe.stage for source in stage.source):
            assert source.latent_frames <= grid[0] and source.size // 16 <= min(grid[1:])
