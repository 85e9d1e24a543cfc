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
    shard: Annotated[
        bool,
        typer.Option(
            "--shard",
            help="Divide parameters, gradients and optimizer state over the processes (FSDP2), "
            "for models larger than one device.",
        ),
    ] = False,
    split_clips: Annotated[
        bool,
        typer.Option(
            "--split-clips",
            help="Divide every clip over the processes by its latent frames (sequence "
            "parallelism), for clips larger than one device.",
        ),
    ] = False,
    resume: Annotated[
        bool,
        typer.Option(help="Go on with what the folder holds; --no-resume refuses to touch it."),
    ] = True,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Print tokens, FLOPs, memory, disk and time; train nothing."
        ),
    ] = False,
    devices: Annotated[
        int | None,
        typer.Option(min=1, help="With --dry-run: how many devices.", show_default="1"),
    ] = None,
    device_kind: Annotated[
        str | None,
        typer.Option(
            metavar="KIND",
            help="With --dry-run: a100, h100, h200, b200, l40s, mi300x or rtx4090.",
            show_default="this machine",
            autocompletion=completed("device kind"),
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="With --dry-run: print JSON.")] = False,
) -> None:
    """Train a model from a recipe.

    Stages: autoencoder, images, short clips, long clips. The same command again goes on where the
    last one stopped. With --model, the network is that model's, not the recipe's.
    """
    from lingen_cli.errors import BadDataError, InvalidOptionError, OutOfMemory
    from lingen_cli.requests.new_video import check_device
    from lingen_cli.terminal import console, signals
    from lingen_cli.zoo.locate import open_registry

    planned = {"--devices": devices, "--device-kind": device_kind, "--json": as_json}
    if not dry_run and (given := [name for name, value in planned.items() if value]):
        raise InvalidOptionError(f"{given[0]} belongs to --dry-run")
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
        from lingen_training.training_recipe import RecipeError, read_recipe

        try:
            if data is None and (named := read_recipe(recipe).data.folder) is not None:
                data = recipe.parent / named
            footage = None if data is None else _footage(data)
            if dry_run:
                from lingen_cli.planning.training_plan import tell_training
                from lingen_training.trainer import Inputs

                chosen = find_device(device)
                with plugin_parts.found():
                    tell_training(
                        Inputs(recipe, folder, chosen, start_from, config, teacher, footage),
                        registry,
                        kind=device_kind,
                        devices=devices or 1,
                        processes=processes,
                        as_json=as_json,
                    )
                return
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
                    shard=shard,
                    split_clips=split_clips,
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
    from lingen_training.optimization.parallel import launched_rank

    if launched_rank() == 0:
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
