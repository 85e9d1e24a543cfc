"""`lingen recipes`: the training recipes that are part of the package."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from lingen_cli.commands.options import AsJson
from lingen_cli.errors import InvalidOptionError
from lingen_cli.terminal import console
from lingen_cli.usage.completion import completed

app = typer.Typer(help="Training recipes to use and to begin with.", no_args_is_help=True)

Name = Annotated[
    str,
    typer.Argument(
        metavar="NAME",
        help="A name from `lingen recipes list`.",
        autocompletion=completed("shipped recipe"),
    ),
]


@app.command("list")
def list_recipes(
    as_json: AsJson = False,
) -> None:
    """List the recipes; `lingen train NAME` runs one."""
    from lingen_cli.terminal.tables import columns
    from lingen_training.shipped import shipped_recipes, summary_of

    rows = [(name, summary_of(path)) for name, path in shipped_recipes().items()]
    if as_json:
        console.result(json.dumps([{"name": name, "summary": text} for name, text in rows]))
    else:
        console.result(columns(rows, head=("name", "what it trains")))


@app.command()
def show(name: Name) -> None:
    """Print a recipe."""
    console.result(_find(name).read_text(encoding="utf-8").removesuffix("\n"))


@app.command()
def copy(
    name: Name,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The file.", show_default="NAME.toml, here"),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file.")] = False,
) -> None:
    """Write a recipe into a file, to change it, and print its path."""
    from lingen_cli.files.work_folder import WorkFolder

    source, target = _find(name), output or Path(f"{name}.toml")
    with WorkFolder(target, overwrite=overwrite) as work:
        temporary = work.temporary(".toml")
        temporary.write_bytes(source.read_bytes())
        work.publish(temporary)
    console.path(target)


def _find(name: str) -> Path:
    """The file of a recipe. Raises InvalidOptionError (2) for an unknown name."""
    from lingen_models.spelling import did_you_mean
    from lingen_training.shipped import shipped_recipes

    known: Mapping[str, Path] = shipped_recipes()
    if name not in known:
        raise InvalidOptionError(f"unknown recipe {name!r}; {did_you_mean(name, known)}")
    return known[name]
