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


def check_output(text: str) -> Path:
    """A file path that ends in one of `SUFFIXES`. Raises InvalidOptionError (2)."""
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", text):
        raise InvalidOptionError(f"--output is not a file path: {text!r}")
    if text == "-":
        raise InvalidOptionError("only `lingen generate` writes to standard output (-o -)")
    path = Path(text)
    if path.suffix.lower() not in SUFFIXES:
        if os.path.isdir(path) or text.endswith(("/", os.sep)):
            raise InvalidOptionError(
                f"--output is a folder: name a file in it, {path / 'video.mp4'}"
            )
        *others, last = SUFFIXES
        raise InvalidOptionError(
            f"--output must end in {', '.join(others)} or {last}, not {text!r}"
        )
    if len(os.fsencode(path.name)) > LONGEST_NAME:
        raise InvalidOptionError(
            f"the name in --output has more than {LONGEST_NAME} bytes: {text!r}"
        )
    return path
