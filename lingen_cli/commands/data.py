"""`lingen data`: footage to train on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lingen_cli.errors import BadDataError
from lingen_cli.terminal import console

if TYPE_CHECKING:
    from lingen_cli.datasets.footage import Clip

_SHEET_CLIPS = 48

app = typer.Typer(help="Footage to train on: folders of videos and images.", no_args_is_help=True)


@app.command()
def check(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Videos, images, captions.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    sheet: Annotated[
        Path | None, typer.Option(help="Write a contact sheet of the clips, as PNG.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the contact sheet.")
    ] = False,
) -> None:
    """Look at every video and image of a folder, and name each that cannot be trained on.

    A caption is a text file of the same name beside the file, or a row of captions.csv or
    captions.jsonl in the folder, with a file and a caption. Exits with 1 if any file cannot be
    used, and none of them stops a training.
    """
    import json
    from statistics import median

    from lingen_cli.datasets.footage import read_footage

    footage = read_footage(folder)
    videos = [one.seconds for one in footage.clips if one.seconds is not None]
    if sheet is not None:
        _write_sheet(sheet, footage.clips, overwrite)
    if as_json:
        record = {
            "folder": str(folder),
            "clips": [
                {
                    "path": str(one.path),
                    "caption": one.caption,
                    "width": one.width,
                    "height": one.height,
                    "seconds": one.seconds,
                }
                for one in footage.clips
            ],
            "duplicates": [[str(one.path) for one in group] for group in footage.duplicates],
            "problems": list(footage.problems),
        }
        console.result(json.dumps(record, indent=2))
    else:
        console.result(f"videos      {len(videos)}")
        console.result(f"images      {len(footage.clips) - len(videos)}")
        if videos:
            spread = f"{min(videos):.1f} to {max(videos):.1f} s, median {median(videos):.1f} s"
            console.result(f"lengths     {spread}, {sum(videos) / 60:.1f} min in all")
        sizes = sorted({(one.width, one.height) for one in footage.clips})
        shown = ", ".join(f"{width}x{height}" for width, height in sizes[:6])
        console.result(f"sizes       {shown}{', ...' if len(sizes) > 6 else ''}")
        words = {word for one in footage.clips for word in one.caption.casefold().split()}
        console.result(f"captions    {len({one.caption for one in footage.clips})} different")
        console.result(f"words       {len(words)} different")
        for group in footage.duplicates:
            console.result(f"the same    {', '.join(str(one.path) for one in group)}")
    for problem in footage.problems:
        console.warning(problem)
    if footage.problems:
        raise typer.Exit(1)


def _write_sheet(target: Path, clips: tuple[Clip, ...], overwrite: bool) -> None:
    """Write the first frames of up to `_SHEET_CLIPS` clips."""
    from lingen_cli.datasets.video_folder import first_image
    from lingen_cli.media.images.contact_sheet import contact_sheet
    from lingen_cli.media.images.image_files import publish_png

    if not clips:
        raise BadDataError("no clips for a contact sheet")
    step = max(1, -(-len(clips) // _SHEET_CLIPS))
    publish_png(target, contact_sheet([first_image(one) for one in clips[::step]]), overwrite)
