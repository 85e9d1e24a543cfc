"""Standard output for results, standard error for people (reliability.md C3, C4)."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from lingen_cli.errors import InvalidOptionError, WriteFailedError
from lingen_cli.files.printable import printable
from lingen_cli.terminal.log_file import log

_COLORS = {"lingen: error:": 31, "lingen: warning:": 33}
"""Beginning of a line -> the code of its color."""


def result(text: str) -> None:
    """Print a line of the command's result, at once.

    A reader that has gone away (`| head -1`) is no failure. Raises WriteFailedError (74) when
    standard output is a full disk.
    """
    if sys.stdout is None:
        return
    try:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()
    except BrokenPipeError:
        discard_output()
    except OSError as error:
        discard_output()
        message = f"cannot write to standard output: {error.strerror}"
        raise WriteFailedError(message) from error


def record(values: object) -> None:
    """Print the command's result as JSON, as `result` does."""
    result(json.dumps(values, indent=2))


def path(made: Path) -> None:
    """Print the path of a file that was made: as it is for programs, harmless for a terminal."""
    shows = sys.stdout is not None and sys.stdout.isatty()
    result(printable(made) if shows else str(made))


def note(text: str) -> None:
    """Print lines for people, also into the log. Losing standard error never stops a job."""
    text = harmless(text)
    log(text)
    if sys.stderr is None:
        return
    try:
        sys.stderr.write(f"{painted(text)}\n")
        sys.stderr.flush()
    except (OSError, ValueError):
        return


def painted(text: str) -> str:
    """`text` with the words `error:` and `warning:` at its beginning in color, where standard error
    is a terminal that shows colors and nobody asked for none (NO_COLOR)."""
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    if plain or sys.stderr is None or not sys.stderr.isatty():
        return text
    for begin, color in _COLORS.items():
        if text.startswith(begin):
            return f"\x1b[1;{color}m{begin}\x1b[0m{text.removeprefix(begin)}"
    return text


def harmless(text: str) -> str:
    """`text` without anything that a terminal would obey; it may come out of somebody's file."""
    return "\n".join(printable(line) for line in text.split("\n"))


def warning(text: str) -> None:
    """Print a warning for people."""
    note(f"lingen: warning: {text}")


def agreed(verb: str, what: str) -> bool:
    """Ask before something is taken away, on a terminal only. Raises InvalidOptionError (2) where
    there is none."""
    if not all(one is not None and one.isatty() for one in (sys.stdin, sys.stderr)):
        raise InvalidOptionError(f"nobody can be asked here: add --yes to {verb} {what}")
    note(f"lingen: {verb} {what}? y/N")
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def discard_output() -> None:
    """Send what is still buffered, and anything after it, to nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)
