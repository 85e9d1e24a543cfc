"""`lingen report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lingen_cli.terminal import console


def report(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="A folder that `lingen train` has written.")
    ],
) -> None:
    """Write report.html into the folder of a training, and print its path.

    The page shows losses, validations, samples, the recipe and the machine. `lingen train` keeps
    one already; this makes it anew, as of an older training, or of one that was killed.
    """
    from lingen_cli.gallery.training_report import write_report

    console.path(write_report(folder))
