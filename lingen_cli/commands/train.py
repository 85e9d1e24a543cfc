"""`lingen train`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from lingen_cli.datasets.video_folder import VideoFolder
    from lingen_plugins.registry import Registry

_SHOWN_PROBLEMS = 5


def train(
    recipe: Annotated[
        Path,
        typer.Argument(metavar="RECIPE.toml", help="A TOML file with the stages of the training."),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="Folder for weights and curves; else runs/RECIPE, or runs/MODEL."
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
        str | None,
        typer.Option(metavar="MODEL|FOLDER", help="Model or folder whose weights to begin from."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="Train the network of this model, from `lingen models list`."),
    ] = None,
    teacher: Annotated[
        Path | None,
        typer.Option(help="A folder with the network that stages with `distil` learn from."),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    processes: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Processes that share the batches of a step on a CPU; else one per thread.",
        ),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(help="Go on with what the folder holds; --no-resume refuses to touch it."),
    ] = True,
) -> None:
    """Train a model by a recipe.

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
    if teacher is not None:
        _check_parts(teacher, "denoiser")
    registry = open_registry(console.warning)
    begin = None if start_from is None else _weights_folder(start_from, registry)
    config = registry.model_variants[model].config if model else None
    folder = output or Path("runs") / (model or recipe.stem)
    with signals.announced():
        from lingen_cli.plugin_admin import plugin_parts
        from lingen_cli.zoo.load import find_device
        from lingen_training.optimization.parallel import LostProcessError
        from lingen_training.trainer import train as run_stages
        from lingen_training.training_recipe import RecipeError, read_recipe

        try:
            if data is None and (named := read_recipe(recipe).data.folder) is not None:
                data = recipe.parent / named
            footage = None if data is None else _footage(data)
            with plugin_parts.found():
                run_stages(
                    recipe,
                    folder,
                    device=find_device(device),
                    report=console.note,
                    resume=resume,
                    start_from=begin,
                    model=config,
                    teacher=teacher,
                    registry=registry,
                    processes=processes,
                    footage=footage,
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


def _weights_folder(name: str, registry: Registry) -> Path:
    """The folder of a model's weights, or a folder itself."""
    from lingen_cli.zoo.locate import locate

    if name in registry.model_variants and not Path(name).exists():
        return locate(registry, name).files["denoiser"].parent
    folder = Path(name)
    _check_parts(folder, "denoiser", "text_encoder")
    return folder


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
