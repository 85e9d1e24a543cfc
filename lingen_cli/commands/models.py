"""`lingen models`: what can be generated with, and its weights."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lingen_cli.commands.options import AsJson, Yes
from lingen_cli.errors import BadDataError, InvalidOptionError, LingenError
from lingen_cli.files.printable import printable
from lingen_cli.terminal import console
from lingen_cli.usage.completion import completed

if TYPE_CHECKING:
    from lingen_plugins.registry import Registry

app = typer.Typer(
    help="List models, and get, check and remove their weights.", no_args_is_help=True
)

Name = Annotated[
    str,
    typer.Argument(
        metavar="NAME",
        help="A name from `lingen models list`.",
        autocompletion=completed("model"),
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")]


@app.command("list")
def list_models(
    everything: Annotated[
        bool, typer.Option("--all", help="Also those whose weights are not here.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """List the models that can be used now: size of their weights, license, trained length.

    With --all, every model, and how to get the weights of each. JSON always has every model.
    """
    from rich.filesize import decimal

    from lingen_cli.terminal.tables import columns
    from lingen_cli.zoo.describe import rows, ways

    registry = _registry()
    found = rows(registry)
    if as_json:
        console.record(found)
        return
    shown = [one for one in found if everything or one["weights"]]
    lines = [
        (
            one["name"],
            one["state"],
            "-" if one["bytes"] is None else decimal(one["bytes"]),
            one["license"],
            f"{one['trained_seconds']:.3g} s",
            one["summary"],
        )
        for one in shown
    ]
    head = ("name", "weights", "size", "license", "trained", "about")
    console.result(columns(lines, head=head))
    if more := len(found) - len(shown):
        console.note(f"lingen: {more} more have no weights here: lingen models list --all")
    if everything:
        for way, names in ways(registry.model_variants.values()).items():
            listed = ", ".join(names)
            if way.startswith("lingen train"):
                console.note(f"lingen: no weights yet of {listed}; to train some: {way}")
            else:
                console.note(f"lingen: weights of {listed}: {way}")


@app.command()
def show(name: Name, as_json: AsJson = False) -> None:
    """Describe one model: size, license, training, parts, files and their hashes, configuration."""
    from rich.filesize import decimal

    from lingen_cli.zoo.describe import facts, hub_facts
    from lingen_cli.zoo.locate import find_model
    from lingen_plugins.contracts import HubModel

    registry = _registry()
    model = find_model(registry, name)
    ours = not isinstance(model, HubModel)
    found = hub_facts(model) if isinstance(model, HubModel) else facts(registry, name)
    if as_json:
        console.record(found)
        return
    if ours:
        if found["parameters"] is not None:
            found["parameters"] = f"{found['parameters']:,} (denoiser)"
        if found["bytes"] is not None:
            found["bytes"] = decimal(found["bytes"])
        found["weights"] = {part: _in_words(one) for part, one in found["weights"].items()}
    for key, value in found.items():
        if value is None:
            continue
        if isinstance(value, dict) and value:
            console.result(f"{key}:")
            for part, detail in value.items():
                console.result(f"  {part:<17}{_plain(detail)}")
        else:
            console.result(f"{key + ':':<19}{_plain(value) or 'none'}")


@app.command()
def pull(
    name: Name,
    offline: Annotated[
        bool, typer.Option("--offline", help="Only check that nothing is missing.")
    ] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Download the weights of a model that are not here; the same command goes on after a stop.

    `owner/name[@revision]` is any repository of the hub: a pipeline of diffusers, or a LoRA.
    """
    from lingen_cli.terminal.progress import Progress
    from lingen_cli.zoo.download import pull as download
    from lingen_cli.zoo.download import pull_repository, repository_of

    registry = _registry()
    if (place := repository_of(registry, name)) is not None:
        with Progress(quiet=quiet) as progress:
            folder = pull_repository(*place, progress, offline=offline)
        if as_json:
            console.record({"name": name, "folder": str(folder), "commit": folder.name})
        else:
            console.path(folder)
        return
    variant = registry.model_variants[name]
    with Progress(quiet=quiet) as progress:
        came = download(variant, progress, offline=offline)
    files = variant.weights.files() if variant.weights else {}
    if as_json:
        console.record(
            {
                "name": name,
                "downloaded": [one.part for one in came],
                "bytes": sum(one.size for one in came),
                "files": {part: str(path) for part, path in files.items()},
            }
        )
    else:
        for path in files.values():
            console.path(path)
        if not came and not quiet:
            console.note(f"lingen: all weights of {name} are here")


@app.command()
def verify(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="[NAME]",
            help="A model; by default all whose weights are here.",
            autocompletion=completed("model"),
        ),
    ] = None,
    weights: Annotated[
        Path | None, typer.Option(help="Weights in this folder, in place of the model's own.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check weights: hashes, configuration, every tensor's name, shape and numbers."""
    from dataclasses import asdict

    from lingen_cli.zoo.availability import state_of
    from lingen_cli.zoo.verify_weights import inspect_weights

    if weights is not None and name is None:
        raise InvalidOptionError("--weights needs the NAME of the model that they are for")
    registry = _registry()
    _check_ours(registry, name)
    here = [one for one, its in registry.model_variants.items() if state_of(its) == "ready"]
    names = here if name is None else [name]
    reports, failed = [], []
    for one in names:
        try:
            parts = inspect_weights(registry, one, weights)
        except LingenError as error:
            if name is not None and not as_json:
                raise
            failed.append(error)
            reports.append({"name": one, "passed": False, "problem": str(error), "parts": {}})
            if not as_json:
                console.warning(str(error))
            continue
        listed = {part: {**asdict(its), "path": str(its.path)} for part, its in parts.items()}
        reports.append({"name": one, "passed": True, "problem": None, "parts": listed})
        if not as_json:
            for part, its in parts.items():
                pinned = ", as published" if its.pinned else ""
                console.result(
                    f"{one}  {part}: ok, {its.tensors} tensors, {its.parameters:,} parameters, "
                    f"SHA-256 {its.sha256}{pinned}"
                )
    if as_json:
        console.record(reports)
    if len(failed) == 1:
        raise failed[0]
    if failed:
        raise BadDataError(f"weights of {len(failed)} of {len(names)} models cannot be used")


@app.command()
def remove(
    name: Name,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Remove downloaded weights; those of other models, and those of plugins, stay."""
    from rich.filesize import decimal

    from lingen_cli.zoo import remove as removing

    registry = _registry()
    _check_ours(registry, name)
    files = removing.removable(registry, name)
    if files and not yes and not console.agreed("remove", f"the weights of {name}"):
        files = []
    freed = removing.remove(files)
    if as_json:
        console.record({"name": name, "removed": [one.part for one in files], "bytes": freed})
    elif files:
        console.result(f"removed {len(files)} files of {name}, {decimal(freed)}")
    else:
        console.note("lingen: nothing was removed")


def _registry() -> Registry:
    from lingen_cli.zoo.locate import open_registry

    return open_registry(console.warning)


def _check_ours(registry: Registry, name: str | None) -> None:
    """Raise InvalidOptionError (2) for open weights from elsewhere: the hub has its own tool."""
    from lingen_cli.zoo.locate_hub import how_to_fetch

    if name is not None and name in registry.hub_models:
        raise InvalidOptionError(
            f"{name} is not lingen's own: `{how_to_fetch(registry.hub_models[name])}` gets its "
            "weights, and `hf cache` looks after them"
        )


def _in_words(part: dict[str, Any]) -> str:
    """One line of `show` for one file."""
    from rich.filesize import decimal

    size = "" if part["bytes"] is None else f", {decimal(part['bytes'])}"
    digest = f", SHA-256 {part['sha256']}" if part["sha256"] else ""
    return f"{printable(part['path'])}{'' if part['here'] else ' (missing)'}{size}{digest}"


def _plain(value: object) -> str:
    """Lists without brackets, nothing for what is empty; anything else as it is."""
    if isinstance(value, dict) and not value:
        return ""
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
