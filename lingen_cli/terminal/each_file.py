"""Work that is done for each of several files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from lingen_cli.errors import BadDataError, CheckFailedError, LingenError
from lingen_cli.files.printable import printable
from lingen_cli.terminal import console


def for_each(paths: Sequence[Path], work: Callable[[Path], None]) -> None:
    """Do `work` for every file: one that cannot be used is reported, and the others go on.

    Raises the error of `work` for one file alone; for several, CheckFailedError (1) where some were
    found wanting, else BadDataError (65) where some cannot be used.
    """
    if len(paths) == 1:
        work(paths[0])
        return
    found: list[LingenError] = []
    for path in paths:
        try:
            work(path)
        except LingenError as error:
            found.append(error)
            console.note(f"lingen: {printable(path)}: {error}")
    wanting = sum(isinstance(error, CheckFailedError) for error in found)
    unusable = len(found) - wanting
    parts = [f"{wanting} of {len(paths)} videos do not pass"] if wanting else []
    parts += [f"{unusable} of {len(paths)} videos cannot be read"] if unusable else []
    if parts:
        kind = CheckFailedError if wanting else BadDataError
        raise kind("; ".join(parts))
