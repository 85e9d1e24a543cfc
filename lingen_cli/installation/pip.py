"""Runs pip for this Python. No shell, no questions, and its words go to standard error."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from importlib.util import find_spec

from lingen_cli.errors import NotAvailableError
from lingen_cli.installation.interpreter import python_module
from lingen_cli.terminal import console

QUIET = ("--disable-pip-version-check", "--no-color", "--no-input")


def pip_command(*arguments: str) -> list[str]:
    """The command itself."""
    return python_module("pip", *arguments)


def run_pip(*arguments: str, failure: str, environment: Mapping[str, str] | None = None) -> None:
    """Run `pip ARGUMENTS` and pass on what it says, without anything a terminal would obey.

    `environment` is added to that of this process. Raises NotAvailableError (69) where there is no
    pip, and with the message `failure` where it fails.
    """
    if find_spec("pip") is None:
        raise NotAvailableError(
            f"there is no pip for {sys.executable}: use the tool that made this environment, "
            f"as in `uv pip {arguments[0]}`"
        )
    process = subprocess.Popen(
        pip_command(*arguments[:1], *QUIET, *arguments[1:]),
        env={**os.environ, **(environment or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="backslashreplace",
    )
    with process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                console.note(line.rstrip("\r\n"))
        except BaseException:  # a signal: pip cleans up after itself
            process.terminate()
            raise
    if process.returncode:
        raise NotAvailableError(f"{failure}; pip's messages are above")
