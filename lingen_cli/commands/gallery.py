"""`lingen gallery`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def gallery(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[PATHS]...", help="Folders and videos.", show_default="this folder"
        ),
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="The page, an .html file.")] = Path(
        "gallery.html"
    ),
    title: Annotated[str, typer.Option(help="Title of the page.")] = "lingen gallery",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the page.")] = False,
) -> None:
    """Write an HTML page that shows many videos, and print its path.

    Videos play when the mouse is on them. They can be filtered, sorted, and compared by prompt.
    """
    from lingen_cli.errors import InvalidOptionError
    from lingen_cli.gallery.page import write_gallery
    from lingen_cli.terminal import console

    if output.suffix.lower() != ".html":
        raise InvalidOptionError(
            f"--output writes HTML, the name must end in .html: {output.name!r}"
        )
    entries = write_gallery(paths or [Path()], output, title, overwrite=overwrite)
    broken = sum(entry.kind == "broken" for entry in entries)
    note = f", {broken} of them unreadable" if broken else ""
    console.note(f"lingen: {len(entries)} videos{note}")
    console.path(output)
