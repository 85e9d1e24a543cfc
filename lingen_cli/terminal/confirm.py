"""Questions before something is taken away."""

from __future__ import annotations

import sys

from lingen_cli.errors import InvalidOptionError
from lingen_cli.terminal import console


def agreed(verb: str, what: str) -> bool:
    """Ask, on a terminal only. Raises InvalidOptionError (2) where there is none."""
    if not all(one is not None and one.isatty() for one in (sys.stdin, sys.stderr)):
        raise InvalidOptionError(f"nobody can be asked here: add --yes to {verb} {what}")
    console.note(f"lingen: {verb} {what}? y/N")
    return sys.stdin.readline().strip().lower() in ("y", "yes")
