"""`lingen --log-file`: messages of a run, with time and process, at the end of a file."""

from __future__ import annotations

import contextlib
import logging
import shlex
from collections.abc import Sequence
from pathlib import Path

from lingen_cli.files.printable import printable
from lingen_cli.files.write_errors import write_error

logger = logging.getLogger("lingen")
logger.addHandler(logging.NullHandler())


class _File(logging.FileHandler):
    """A disk that fills up never stops a run."""

    def handleError(self, record: logging.LogRecord) -> None:
        """Nothing: the record is lost."""


def open_log(path: Path, arguments: Sequence[str]) -> None:
    """Append to `path` from now on, first of all the command line.

    Raises WriteFailedError (74), PermissionDeniedError (77), MissingInputError (66).
    """
    try:
        handler = _File(path, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise write_error(error, path) from error
    form = "%(asctime)s %(levelname)s [%(process)d] %(message)s"
    handler.setFormatter(logging.Formatter(form, "%Y-%m-%dT%H:%M:%S%z"))
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    log(f"lingen {shlex.join(arguments)}")


def log(text: str, *, error: BaseException | None = None) -> None:
    """A line for the file, if there is one; with where `error` came from."""
    if len(logger.handlers) > 1:
        level = logging.INFO if error is None else logging.ERROR
        logger.log(level, "%s", printable(text), exc_info=error)


def close_log(code: int) -> None:
    """Say how it ended, and let go of the file."""
    log(f"exit code {code}")
    for handler in logger.handlers[1:]:
        logger.removeHandler(handler)
        with contextlib.suppress(OSError):
            handler.close()
