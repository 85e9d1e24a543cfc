"""Inputs of trainings: recipes, weights to begin from, footage."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lingen_cli.errors import MissingInputError
from lingen_cli.files.printable import printable
from lingen_cli.terminal import console
from lingen_models.spelling import did_you_mean
from lingen_plugins.registry import Registry
from lingen_training.shipped import shipped_recipes

if TYPE_CHECKING:
    from lingen_cli.datasets.prepared_folder import PreparedFolder
    from lingen_cli.datasets.video_folder import VideoFolder

_SHOWN_PROBLEMS = 5


def footage_of(folder: Path, *, quiet: bool = False) -> VideoFolder | PreparedFolder:
    """Read a folder of footage or a prepared one, and unless `quiet` say what is in it."""
    from lingen_cli.datasets.footage import read_footage
    from lingen_cli.datasets.prepared_folder import PreparedFolder, is_prepared, read_prepared
    from lingen_cli.datasets.video_folder import VideoFolder

    if is_prepared(folder):
        prepared = PreparedFolder(read_prepared(folder))
        if not quiet:
            console.note(f"{prepared.clips} prepared clips in {printable(folder)}")
        return prepared
    footage = read_footage(folder)
    if not quiet:
        warn_of(footage.problems, f"lingen data check {printable(folder)}")
    dataset = VideoFolder(footage)
    if not quiet:
        console.note(f"{len(footage.clips)} clips in {printable(folder)}")
    return dataset


def find_recipe(given: Path) -> Path:
    """The file of a recipe, which may be named as one of those that are shipped. Raises
    MissingInputError (66)."""
    if given.is_file():
        return given
    known = shipped_recipes()
    if str(given) in known:
        return known[str(given)]
    if given.exists():
        raise MissingInputError(f"not a regular file: {printable(given)}")
    hint = f" (of `lingen recipes list`: {did_you_mean(given.stem, known)})"
    raise MissingInputError(f"no such file: {printable(given)}{hint}")


def weights_of(registry: Registry, given: Path, *parts: str) -> Path:
    """The folder of weights: the one that is named, or that of a model of this name. Raises
    MissingInputError (66) where one of these parts is not there."""
    folder, variants = given, registry.model_variants
    if not given.is_dir() and str(given) in variants:
        weights = variants[str(given)].weights
        folder = given if weights is None else weights.files()["denoiser"].parent
    if not folder.is_dir():
        raise MissingInputError(f"no such folder of weights: {printable(given)}")
    for part in parts:
        path = folder / f"{part}.safetensors"
        if not path.is_file():
            raise MissingInputError(f"no {part} weights: {printable(path)}")
    return folder


def warn_of(problems: Sequence[str], where: str) -> None:
    """Print the first of them as warnings, and where the others stand."""
    for problem in problems[:_SHOWN_PROBLEMS]:
        console.warning(problem)
    if len(problems) > _SHOWN_PROBLEMS:
        console.warning(f"{len(problems) - _SHOWN_PROBLEMS} more problems: {where}")
