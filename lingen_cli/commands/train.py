"""`lingen train`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lingen_cli.usage.completion import completed

if TYPE_CHECKING:
    from lingen_cli.datasets.video_folder import VideoFolder
    from lingen_plugins.registry import Registry

_SHOWN_PROBLEMS = 5


def train(
    recipe: Annotated[
        Path,
        typer.Argument(
            metavar="RECIPE",
            help="A TOML file of stages, or a name from `lingen recipes list`.",
            autocompletion=completed("recipe"),
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Folder for weights and curves.",
            show_default="runs/RECIPE, or runs/MODEL",
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Videos and images with captions to train on, in place of the recipe's data "
            "(see lingen data check).",
        ),
    ] = None,
    start_from: Annotated[
        Path | None, typer.Option(help="Weights to begin from: a folder, or the name of a model.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="Train the network of this model, from `lingen models list`.",
            autocompletion=completed("model"),
        ),
    ] = None,
    teacher: Annotated[
        Path | None,
        typer.Option(
            help="The network that stages with `distil` learn from: a folder, or a model."
        ),
    ] = None,
    device: Annotated[
        str, typer.Option(help="auto, cpu or cuda.", autocompletion=completed("device"))
    ] = "auto",
    processes: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Processes that share the batches of a step on a CPU.",
            show_default="one per thread",
        ),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(help="Go on with what the folder holds; --no-resume refuses to touch it."),
    ] = True,
) -> None:
    """Train a model from a recipe.

    Stages: autoencoder, images, short clips, long clips. The same command again goes on where the
    last one stopped. With --model, the network is that model's, not the recipe's.
    """
    from lingen_cli.errors import BadDataError, OutOfMemory
    from lingen_cli.requests.new_video import check_device
    from lingen_cli.terminal import console, signals
    from lingen_cli.zoo.locate import open_registry

    recipe = _find_recipe(recipe)
    check_device(device)
    registry = open_registry(console.warning)
    if start_from is not None:
        start_from = _weights_of(registry, start_from, "denoiser", "text_encoder")
    if teacher is not None:
        teacher = _weights_of(registry, teacher, "denoiser")
    config = registry.model_variants[model].config if model else None
    folder = output or Path("runs") / (model or recipe.stem)
    with signals.announced():
        from lingen_cli.installation import plugin_parts
        from lingen_cli.zoo.load_model import find_device
        from lingen_training.optimization.parallel import LostProcessError
        from lingen_training.trainer import train as run_stages
        from lingen_training.training_recipe import RecipeError

        try:
            with plugin_parts.found():
                run_stages(
                    recipe,
                    folder,
                    device=find_device(device),
                    report=console.note,
                    resume=resume,
                    start_from=start_from,
                    model=config,
                    teacher=teacher,
                    registry=registry,
                    processes=processes,
                    data=data,
                    look=_footage,
                )
        except RecipeError as error:
            raise BadDataError(str(error)) from error
        except FloatingPointError as error:
            raise BadDataError(f"{error}; lower its learning_rate in {recipe}") from error
        except LostProcessError as error:
            raise OutOfMemory(
                f"{error}, as the system does when memory runs out; the same command goes on "
                "from the last saved step, with --processes 1 in less memory"
            ) from error
    console.path(folder)


def _footage(folder: Path) -> VideoFolder:
    """Read a folder, and say what is in it."""
    from lingen_cli.datasets.footage import read_footage
    from lingen_cli.datasets.video_folder import VideoFolder
    from lingen_cli.files.printable import printable
    from lingen_cli.terminal import console

    footage = read_footage(folder)
    for problem in footage.problems[:_SHOWN_PROBLEMS]:
        console.warning(problem)
    if len(footage.problems) > _SHOWN_PROBLEMS:
        more = len(footage.problems) - _SHOWN_PROBLEMS
        console.warning(f"{more} more problems: lingen data check {printable(folder)}")
    dataset = VideoFolder(footage)
    console.note(f"{len(footage.clips)} clips in {printable(folder)}")
    return dataset


def _find_recipe(given: Path) -> Path:
    """The file of a recipe, which may be named as one of those that are shipped. Raises
    MissingInputError (66)."""
    from lingen_cli.errors import MissingInputError
    from lingen_cli.files.printable import printable
    from lingen_models.spelling import did_you_mean
    from lingen_training.shipped import shipped_recipes

    if given.is_file():
        return given
    known = shipped_recipes()
    if str(given) in known:
        return known[str(given)]
    if given.exists():
        raise MissingInputError(f"not a regular file: {printable(given)}")
    hint = f" (of `lingen recipes list`: {did_you_mean(given.stem, known)})"
    raise MissingInputError(f"no such file: {printable(given)}{hint}")


def _weights_of(registry: Registry, given: Path, *parts: str) -> Path:
    """The folder of weights: the one that is named, or that of a model of this name. Raises
    MissingInputError (66) where one of these parts is not there."""
    from lingen_cli.errors import MissingInputError
    from lingen_cli.files.printable import printable

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
