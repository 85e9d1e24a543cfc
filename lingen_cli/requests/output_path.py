"""Output paths as users give them, checked."""

from __future__ import annotations

import os
import re
from pathlib import Path

from lingen_cli.errors import InvalidOptionError

SUFFIX = ".mp4"
_LONGEST = 255
"""Bytes of a file name, on nearly every file system."""


def check_output(text: str) -> Path:
    """A file path that ends in .mp4. Raises InvalidOptionError (2)."""
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", text):
        raise InvalidOptionError(f"--output is not a file path: {text!r}")
    if text == "-":
        raise InvalidOptionError("only `lingen generate` writes to standard output (-o -)")
    path = Path(text)
    if path.suffix.lower() != SUFFIX:
        if os.path.isdir(path) or text.endswith(("/", os.sep)):
            raise InvalidOptionError(
                f"--output is a folder: name a file in it, {path / 'video.mp4'}"
            )
        raise InvalidOptionError(f"--output must end in {SUFFIX}, not {text!r}")
    if len(os.fsencode(path.name)) > _LONGEST:
        raise InvalidOptionError(f"the name in --output has more than {_LONGEST} bytes: {text!r}")
    return path
