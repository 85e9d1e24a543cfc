"""`lingen gallery`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lingen_cli.errors import InvalidOptionError
from lingen_cli.terminal import console


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
    serve: Annotated[
        bool,
        typer.Option("--serve", help="Write nothing; show the page to browsers on this machine."),
    ] = False,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port for --serve; 0 takes a free one.")
    ] = 8765,
) -> None:
    """Write an HTML page that shows many videos, and print its path.

    Videos play when the mouse is on them. They can be filtered, sorted, and compared by prompt.
    With --serve the page is looked at over HTTP, for this machine alone, until Ctrl-C; new videos
    are on it when it is loaded again.
    """
    from lingen_cli.gallery.page import write_gallery

    if serve:
        _serve(paths or [Path()], title, port)
        return

    if output.suffix.lower() != ".html":
        raise InvalidOptionError(
            f"--output writes HTML, the name must end in .html: {output.name!r}"
        )
    written = write_gallery(paths or [Path()], output, title, overwrite=overwrite)
    note = f", {written.broken} of them unreadable" if written.broken else ""
    console.note(f"lingen: {written.videos} videos{note}")
    console.path(output)


def _serve(paths: list[Path], title: str, port: int) -> None:
    """Show the page until Ctrl-C. Raises MissingInputError (66), NotAvailableError (69)."""
    from lingen_cli.gallery.collect import find_videos
    from lingen_cli.gallery.serve import ADDRESS, Gallery, open_server

    list(find_videos(paths))  # paths that are not there
    with open_server(Gallery(paths, title), port) as server:
        console.result(f"http://{ADDRESS}:{server.server_address[1]}/")
        console.note("lingen: open this address in a browser; Ctrl-C ends it")
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            console.note("lingen: ended")
