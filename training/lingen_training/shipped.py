"""Recipes that are part of the package."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path


def shipped_recipes() -> dict[str, Path]:
    """Return the files of the recipes by their names."""
    folder = Path(str(files("lingen_training"))) / "recipes"
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def summary_of(recipe: Path) -> str:
    """Return the first sentence of the comment with which a recipe begins."""
    words: list[str] = []
    for line in recipe.read_text(encoding="utf-8").splitlines():
        if not line.startswith("# "):
            break
        words += line[2:].split()
    text = " ".join(words)
    return re.sub(r" \(docs/[^)]*\)", "", text.split(". ")[0]).rstrip(".:")
