"""Commands that start this Python again, and the folders in which it finds modules.

Nothing in the current folder is ever imported: a `typer.py` that lies there is not Typer, and the
metadata of a plugin that lies there is no plugin (reliability.md C9).
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import lingen_cli

_SAFE_PATH = "PYTHONSAFEPATH"
"""Variable that does for a whole tree of processes what `-P` does for one."""


def python_module(name: str, *arguments: str) -> list[str]:
    """The command that runs a module of this environment."""
    return [sys.executable, "-P", "-m", name, *arguments]


def lingen_command(*arguments: str) -> list[str]:
    """The command that runs `lingen ARGUMENTS`."""
    return python_module("lingen_cli", *arguments)


@contextlib.contextmanager
def inherited_safe_path() -> Iterator[None]:
    """While inside, a Python that somebody else starts for us imports nothing from its current
    folder either."""
    before = os.environ.get(_SAFE_PATH)
    os.environ[_SAFE_PATH] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[_SAFE_PATH]
        else:
            os.environ[_SAFE_PATH] = before


def packages_folder() -> str:
    """The folder in which lingen itself lies."""
    return os.path.realpath(Path(lingen_cli.__file__).parents[1])


def search_path() -> list[str]:
    """The folders in which this process finds modules, but for the current one, unless lingen
    itself lies there."""
    here = os.path.realpath(os.curdir)
    if here == packages_folder():
        return [one for one in sys.path if one]
    return [one for one in sys.path if os.path.realpath(one or os.curdir) != here]
