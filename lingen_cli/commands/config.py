"""`lingen config`: what is set, and by what."""

from __future__ import annotations

import json

import typer

from lingen_cli.commands.options import AsJson
from lingen_cli.terminal import console

app = typer.Typer(help="Show the settings and where they come from.", no_args_is_help=True)


@app.command()
def show(
    as_json: AsJson = False,
) -> None:
    """Print every setting, its value and the file or variable that set it."""
    from lingen_cli.inputs.settings import load, user_file
    from lingen_cli.terminal.tables import columns

    loaded = load()
    values = loaded.values.model_dump(mode="json")
    if as_json:
        entries = {k: {"value": v, "source": loaded.sources[k]} for k, v in values.items()}
        console.record(entries)
        return
    rows = [
        (name, "(the model's)" if value is None else json.dumps(value), loaded.sources[name])
        for name, value in values.items()
    ]
    console.result(columns(rows, head=("setting", "value", "set by")))
    console.note(f"lingen: to set one, write a line such as `steps = 30` into {user_file()}")


@app.command()
def path() -> None:
    """Print the files that are read, the strongest first, and whether they exist."""
    from pathlib import Path

    from lingen_cli.inputs.settings import FILE_NAME, is_file, nearest_file, user_file

    project = nearest_file(Path.cwd())
    console.result(str(project) if project else f"{FILE_NAME} (none here or above)")
    user = user_file()
    if user is None:
        console.result("no file of this user, who has no home folder")
    else:
        console.result(str(user) if is_file(user) else f"{user} (does not exist)")
