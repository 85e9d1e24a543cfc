"""Output paths: checking one that was given, finding a free one, holding it while it is made."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

from lingen_cli.errors import (
    InvalidOptionError,
    LockedError,
    MissingInputError,
    OutputExistsError,
)
from lingen_cli.job import Destination
from lingen_cli.naming import free_names
from lingen_cli.publish import WorkFolder

SUFFIX = ".mp4"


def check_output(text: str) -> Path:
    """A file path that ends in .mp4. Raises InvalidOptionError (2)."""
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", text):
        raise InvalidOptionError(f"--output is not a file path: {text!r}")
    path = Path(text)
    if path.suffix.lower() != SUFFIX:
        raise InvalidOptionError(f"--output must end in {SUFFIX}, not {text!r}")
    return path


@contextlib.contextmanager
def held(destination: Destination) -> Iterator[WorkFolder]:
    """Lock the output and its work folder; see `WorkFolder` for what is raised.

    Without a name of the user's own, a name that another run holds is passed over for the next.
    """
    with contextlib.ExitStack() as stack:
        if destination.path is not None:
            folder = WorkFolder(destination.path, overwrite=destination.overwrite)
            yield stack.enter_context(folder)
            return
        if not destination.folder.is_dir():
            raise MissingInputError(f"no such folder: {destination.folder}")
        for path in free_names(destination.folder, destination.stem, SUFFIX):
            try:
                work = stack.enter_context(WorkFolder(path))
            except (LockedError, OutputExistsError):
                continue
            yield work
            return
