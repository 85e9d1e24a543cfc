"""`lingen cache`: the latents of finished videos."""

from __future__ import annotations

from typing import Annotated

import typer

from lingen_cli.commands.options import AsJson
from lingen_cli.errors import MissingInputError
from lingen_cli.files.printable import printable
from lingen_cli.terminal import console

app = typer.Typer(
    help="Latents of finished videos, from which they are extended.", no_args_is_help=True
)


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """List the videos whose latents are kept, the last used first."""
    from lingen_cli.generation.latent_cache import entries
    from lingen_cli.terminal.tables import columns

    found = entries()
    if as_json:
        records = [
            {
                "latents": one.digest,
                "bytes": one.size,
                "used": one.used.isoformat(),
                "prompt": one.prompt,
                "video": one.video,
            }
            for one in found
        ]
        console.record(records)
        return
    rows = [
        (
            one.digest[:12],
            f"{one.size / 1e6:.1f} MB",
            f"{one.used:%Y-%m-%d %H:%M}",
            printable(one.video) or "-",
            printable(one.prompt) or "-",
        )
        for one in found
    ]
    if rows:
        console.result(columns(rows, head=("latents", "size", "last used", "video", "prompt")))
    total = sum(one.size for one in found)
    console.note(f"lingen: {len(found)} videos, {total / 1e6:.1f} MB")


@app.command()
def path() -> None:
    """Print the folder."""
    from lingen_cli.generation.latent_cache import FOLDER_VARIABLE, cache_folder

    folder = cache_folder()
    if folder is None:
        raise MissingInputError(f"this user has no home folder: name one with {FOLDER_VARIABLE}")
    console.path(folder)


@app.command()
def prune(
    megabytes: Annotated[
        int | None, typer.Option(min=0, help="How much may stay.", show_default="`cache_megabytes`")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Remove everything.")] = False,
) -> None:
    """Remove what was used longest ago; the videos stay, and can be extended from their pixels."""
    from lingen_cli.generation import latent_cache
    from lingen_cli.inputs.settings import load

    limit = load().cache.prune if megabytes is None else megabytes * 1_000_000
    gone = latent_cache.prune(0 if everything else limit, abandoned_after=0 if everything else None)
    freed = sum(one.size for one in gone)
    console.note(f"lingen: removed the latents of {len(gone)} videos, {freed / 1e6:.1f} MB")
