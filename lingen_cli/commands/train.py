"""`lingen train`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lingen_cli.completion import completed


def train(
    recipe: Annotated[
        Path,
        typer.Argument(metavar="RECIPE.toml", help="A TOML file with the stages of the training."),
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
    from lingen_cli.errors import BadDataError, MissingInputError, OutOfMemory
    from lingen_cli.files.printable import printable
    from lingen_cli.requests.new_video import check_device
    from lingen_cli.terminal import console, signals
    from lingen_cli.zoo.locate import open_registry

    if not recipe.exists():
        raise MissingInputError(f"no such file: {printable(recipe)}")
    if not recipe.is_file():
        raise MissingInputError(f"not a regular file: {printable(recipe)}")
    check_device(device)
    if start_from is not None:
        _check_parts(start_from, "denoiser", "text_encoder")
    if teacher is not None:
        _check_parts(teacher, "denoiser")
    registry = open_registry(console.warning)
    config = registry.model_variants[model].config if model else None
    folder = output or Path("runs") / (model or recipe.stem)
    with signals.announced():
        from lingen_cli.plugin_admin import plugin_parts
        from lingen_cli.zoo.load import find_device
        from lingen_training.parallel import LostProcessError
        from lingen_training.recipe import RecipeError
        from lingen_training.run import train as run_stages

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


def _check_parts(folder: Path, *parts: str) -> None:
    """Raise MissingInputError (66) for a folder without these weights."""
    from lingen_cli.errors import MissingInputError
    from lingen_cli.files.printable import printable

    if not folder.is_dir():
        raise MissingInputError(f"no such folder of weights: {printable(folder)}")
    for part in parts:
        path = folder / f"{part}.safetensors"
        if not path.is_file():
            raise MissingInputError(f"no {part} weights: {printable(path)}")
