"""Output paths as users give them, checked."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from lingen_cli.errors import InvalidOptionError
from lingen_cli.files.names import LONGEST_NAME
from lingen_cli.files.numbered import IMAGES, PATTERN

SUFFIX = ".mp4"
"""Of names that are made up."""
SUFFIXES = (SUFFIX, ".mov", ".mkv", ".webm", ".gif", ".png")
"""Of names that may be given; `lingen_cli.media.formats` writes them."""
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


@dataclass(frozen=True, kw_only=True)
class Destination:
    """Output of a video: a name of the user's own, or the first free one like `stem`."""

    path: Path | None
    """Of the file; of numbered images, of their folder."""
    folder: Path
    stem: str
    pattern: str | None = None
    """Of the names of numbered images, such as `%05d.png`."""
    overwrite: bool = False
    streams: bool = False
    """To standard output, in place of a file."""


def destination(text: str | None, folder: Path, *, stem: str, overwrite: bool) -> Destination:
    """Destination that `text` names: a file, numbered images, or a folder in which a file like
    `stem` gets a free name; that is `folder` without `text`. Raises InvalidOptionError (2)."""
    if text is None:
        return Destination(path=None, folder=folder, stem=stem, overwrite=overwrite)
    named = Path(text)
    if not _URL.match(text) and (
        text.endswith(("/", os.sep))
        or (named.suffix.lower() not in SUFFIXES and os.path.isdir(text))
    ):
        return Destination(path=None, folder=named, stem=stem, overwrite=overwrite)
    path, pattern = check_output(text)
    return Destination(path=path, pattern=pattern, folder=folder, stem=stem, overwrite=overwrite)


def check_output(text: str) -> tuple[Path, str | None]:
    """A path that ends in one of `SUFFIXES`, and None; or, of numbered images, their folder and
    the pattern of their names. Raises InvalidOptionError (2)."""
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
    numbers = PATTERN.findall(path.name)
    if path.suffix.lower() != IMAGES or not numbers:
        return path, None
    if len(numbers) > 1 or not re.fullmatch(r"(0[1-9])?", numbers[0]):
        raise InvalidOptionError(
            f"--output numbers its images by one %d, or %05d with five digits, not {text!r}"
        )
    if path.parent.name in ("", ".."):
        raise InvalidOptionError(
            f"numbered images get a new folder of their own, such as -o frames/{path.name}, "
            f"not {text!r}"
        )
    return path.parent, path.name
