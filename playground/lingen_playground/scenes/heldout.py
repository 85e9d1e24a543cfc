"""The combinations that training never shows, read from the one file that lists them."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib.resources import files

from lingen_playground.scenes.scene import SceneObject

Combination = tuple[str, str, str]


@cache
def combinations() -> tuple[Combination, ...]:
    """Color, shape and deed (see `SceneObject.deed`) of each held-out triple, in file order."""
    text = files(__package__).joinpath("heldout.toml").read_text(encoding="utf-8")
    rows = tomllib.loads(text)["combinations"]
    return tuple((color, shape, deed) for color, shape, deed in rows)


def is_heldout(obj: SceneObject) -> bool:
    """Tell whether training must not show this object doing this."""
    return obj.combination in combinations()
