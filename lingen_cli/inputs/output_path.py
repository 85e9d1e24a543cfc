"""Output paths as users give them, checked."""

from __future__ import annotations

import os
import re
from pathlib import Path

from lingen_cli.errors import InvalidOptionError
from lingen_cli.files.names import LONGEST_NAME

SUFFIX = ".mp4"
"""Of names that are made up."""
SUFFIXES = (SUFFIX, ".mov", ".mkv", ".webm", ".gif", ".png")
"""Of names that may be given; `lingen_cli.media.formats` writes them."""
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


def file_or_folder(text: str | None, folder: Path) -> tuple[Path | None, Path]:
    """Path of the output, or None and the folder in which it gets a free name: the one that is
    named, else `folder`. Raises InvalidOptionError (2)."""
    if text is None:
        return None, folder
    named = Path(text)
    if not _URL.match(text) and (
        text.endswith(("/", os.sep))
        or (named.suffix.lower() not in SUFFIXES and os.path.isdir(text))
    ):
        return None, named
    return check_output(text), folder


def check_output(text: str) -> Path:
    """A file path that ends in one of `SUFFIXES`. Raises InvalidOptionError (2)."""
    if _URL.match(text):
        raise InvalidOptionError(f"--output is not a file path: {text!r}")
    if text == "-":
        raise InvalidOptionError("only `lingen generate` writes to standard output (-o -)")
    path = Path(text)
    if path.suffix.lower() not in SUFFIXES:
        *others, last = SUFFIXES
        raise InvalidOptionError(
            f"--output must be a folder, or end in {', '.join(others)} or {last}, not {text!r}"
        )
    if len(os.fsencode(path.name)) > LONGEST_NAME:
        raise InvalidOptionError(
            f"the name in --output has more than {LONGEST_NAME} bytes: {text!r}"
        )
    return path
