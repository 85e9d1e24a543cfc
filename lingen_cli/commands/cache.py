"""`lingen cache`: the latents of finished videos."""

from __future__ import annotations

from typing import Annotated

import typer

from lingen_cli.terminal import console

app = typer.Typer(
    help="Latents of finished videos, from which they are extended.", no_args_is_help=True
)


@app.command("list")
def list_(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Print what is kept, what was used last first."""
    import json

    from lingen_cli.generation.latent_cache import entries

    found = entries()
    if as_json:
        records = [
            {"latents": one.digest, "bytes": one.size, "used": one.used.isoformat()}
            for one in found
        ]
        console.result(json.dumps(records, indent=2))
        return
    for one in found:
        console.result(f"{one.digest}  {one.size / 1e6:8.1f} MB  {one.used:%Y-%m-%d %H:%M}")
    total = sum(one.size for one in found)
    console.note(f"lingen: {len(found)} videos, {total / 1e6:.1f} MB")


@app.command()
def path() -> None:
    """Print the folder."""
    from lingen_cli.generation.latent_cache import cache_folder

    console.path(cache_folder())


@app.command()
def prune(
    megabytes: Annotated[
        int | None, typer.Option(min=0, help="How much may stay; else `cache_megabytes`.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Remove everything.")] = False,
) -> None:
    """Remove what was used longest ago; the videos stay, and can be extended from their pixels."""
    from lingen_cli.generation import latent_cache
    from lingen_cli.settings import load

    limit = load().cache.prune if megabytes is None else megabytes * 1_000_000
    gone = latent_cache.prune(0 if everything else limit, abandoned_after=0 if everything else None)
    freed = sum(one.size for one in gone)
    console.note(f"lingen: removed the latents of {len(gone)} videos, {freed / 1e6:.1f} MB")
