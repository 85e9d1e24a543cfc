"""`lingen train`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lingen_cli.commands.options import Device
from lingen_cli.errors import BadDataError, InvalidOptionError, NotAvailableError, OutOfMemory
from lingen_cli.exit_codes import failure_of
from lingen_cli.files.printable import printable
from lingen_cli.terminal import console, signals
from lingen_cli.usage.completion import completed

if TYPE_CHECKING:
    from lingen_training.optimization.launched import RollCall
    from lingen_training.optimization.loop import DivergedError
    from lingen_training.optimization.stage_logs import Watcher


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
            help="Folder for weights, logs and the report.",
            show_default="runs/RECIPE, or runs/MODEL",
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Videos and images with captions to train on, also in tars, in place of the "
            "recipe's data (see lingen data check), or what lingen data prepare has made of them.",
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
    device: Device = "auto",
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
    log_to: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TOOL",
            help="Log to tensorboard or wandb, too; may be given twice. They write files in the "
            "folder; nothing is sent unless WANDB_MODE asks for it.",
            autocompletion=completed("log target"),
        ),
    ] = None,
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
    last one stopped. With --model, the network is that model's, not the recipe's. The folder's
    report.html shows losses and samples, also while it trains.
    """
    from lingen_cli.inputs.training_inputs import find_recipe, footage_of, weights_of
    from lingen_cli.requests.new_video import check_device
    from lingen_cli.zoo.locate import open_registry
    from lingen_training.optimization.launched import join_slurm_step, launched_rank

    join_slurm_step()
    leads = launched_rank() == 0
    with _reported_once() as roll_call:
        planned = {"--devices": devices, "--device-kind": device_kind, "--json": as_json}
        if not dry_run and (given := [name for name, value in planned.items() if value]):
            raise InvalidOptionError(f"{given[0]} belongs to --dry-run")
        _check_log_targets(log_to or [])
        recipe = find_recipe(recipe)
        check_device(device)
        registry = open_registry(console.warning if leads else lambda text: None)
        if start_from is not None:
            start_from = weights_of(registry, start_from, "denoiser", "text_encoder")
        if teacher is not None:
            teacher = weights_of(registry, teacher, "denoiser")
        config = registry.model_variants[model].config if model else None
        folder = output or Path("runs") / (model or recipe.stem)
        with signals.announced(), _explained(recipe):
            from lingen_cli.installation import plugin_parts
            from lingen_cli.zoo.load_model import find_device
            from lingen_training.trainer import train as run_stages
            from lingen_training.training_recipe import read_recipe

            if data is None and (named := read_recipe(recipe).data.folder) is not None:
                data = recipe.parent / named
            footage = None if data is None else footage_of(data, quiet=not leads)
            chosen = find_device(device)
            if dry_run:
                from lingen_cli.planning.training_plan import tell_training
                from lingen_training.trainer import Inputs

                with plugin_parts.found():
                    tell_training(
                        Inputs(recipe, folder, chosen, start_from, config, teacher, footage),
                        registry,
                        kind=device_kind,
                        devices=devices or 1,
                        processes=processes,
                        split_clips=split_clips,
                        as_json=as_json,
                    )
                return
            from lingen_training.optimization.stage_logs import watched

            watchers = _watchers(folder, chosen, log_to or []) if leads else []
            with watched(watchers), _explained(recipe), plugin_parts.found():
                run_stages(
                    recipe,
                    folder,
                    device=chosen,
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
                    watchers=watchers,
                    roll_call=roll_call,
                )
        if leads:
            console.path(folder)


@contextmanager
def _reported_once() -> Iterator[RollCall]:
    """While inside, what fails for one reason in several processes of a launcher is told by the
    first of them; the others end with its exit code."""
    from lingen_training.optimization.launched import FailedElsewhereError, RollCall

    roll_call = RollCall()
    try:
        yield roll_call
    except FailedElsewhereError as error:
        raise typer.Exit(error.code) from error
    except typer.Exit:
        raise
    except Exception as error:
        failure = failure_of(error)
        if roll_call.is_reported_elsewhere(failure.code, failure.message):
            raise typer.Exit(failure.code) from error
        raise


@contextmanager
def _explained(recipe: Path) -> Iterator[None]:
    """Turn errors of a training into BadDataError (65) and OutOfMemory (71). Of those that all
    processes of a launcher meet, FailedElsewhereError in all but the first."""
    from lingen_training.optimization.launched import (
        FailedElsewhereError,
        launched,
        launched_rank,
    )
    from lingen_training.optimization.loop import DivergedError
    from lingen_training.optimization.parallel import LostProcessError
    from lingen_training.training_recipe import RecipeError

    try:
        yield
    except RecipeError as error:
        raise BadDataError(str(error)) from error
    except DivergedError as error:
        if launched_rank():
            raise FailedElsewhereError(BadDataError.exit_code) from error
        raise BadDataError(f"{error}; {_remedy(error, recipe)}") from error
    except LostProcessError as error:
        if launched_rank():
            raise FailedElsewhereError(OutOfMemory.exit_code) from error
        if launched():
            raise OutOfMemory(
                f"{error}: it or its launcher says why; the same command goes on from the last "
                "saved step"
            ) from error
        raise OutOfMemory(
            f"{error}, as the system does when memory runs out; the same command goes on "
            "from the last saved step, with --processes 1 in less memory"
        ) from error


def _remedy(error: DivergedError, recipe: Path) -> str:
    """Return what to do about a stage that diverged."""
    from lingen_training.shipped import shipped_recipes

    where = printable(recipe)
    if recipe in shipped_recipes().values():
        where = f"a copy of the recipe (lingen recipes copy {recipe.stem})"
    if error.stage in ("autoencoder", "decoder"):
        key = "learning_rate" if error.stage == "autoencoder" else "decoder_learning_rate"
        return f"lower {key} of [autoencoder] in {where}, and train into another folder"
    then = f"go on from step {error.saved}" if error.saved else "begin the stage again"
    return f"lower its learning_rate in {where}, and train into the same folder to {then}"


def _check_log_targets(names: list[str]) -> None:
    """Raise InvalidOptionError (2) for unknown tools, NotAvailableError (69) for those whose
    package is missing."""
    from importlib.util import find_spec

    from lingen_models.spelling import did_you_mean
    from lingen_training.optimization.scalar_logs import LOG_TARGETS

    for name in names:
        if name not in LOG_TARGETS:
            hint = did_you_mean(name, LOG_TARGETS)
            raise InvalidOptionError(f"--log-to: unknown tool {name!r}; {hint}")
        spec = find_spec(name)
        if spec is None or spec.origin is None:  # or a mere folder of that name, such as W&B's own
            raise NotAvailableError(f"--log-to {name} needs {name}: pip install 'lingen[{name}]'")


def _watchers(folder: Path, device: str, log_targets: list[str]) -> list[Watcher]:
    """Make the watchers of a training in `folder`: its report, and other tools."""
    from lingen_cli.gallery.training_watcher import ReportWatcher
    from lingen_training.bench.machine import describe, in_words
    from lingen_training.optimization.scalar_logs import TensorBoardLog, WandbLog

    found: list[Watcher] = [ReportWatcher(folder, in_words(describe(device)))]
    if "tensorboard" in log_targets:
        found.append(TensorBoardLog(folder / "tensorboard"))
    if "wandb" in log_targets:
        found.append(WandbLog(folder))
    return found
