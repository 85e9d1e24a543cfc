"""From any exception to an exit code and the one line that a user sees (reliability.md C3, C8)."""

from __future__ import annotations

import errno
import os
import re
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, metadata, version
from types import ModuleType

import typer

from lingen_cli import TESTED
from lingen_cli.errors import (
    INTERRUPTED,
    TERMINATED,
    BugError,
    InvalidOptionError,
    LingenError,
    NotAvailableError,
    OutOfMemory,
    PermissionDeniedError,
    WriteFailedError,
)

TRACEBACK_VARIABLE = "LINGEN_TRACEBACK"
_NO_ROOM = ("failed to map segment", "cannot allocate memory", "Cannot allocate memory")
_ALLOCATION = ("DefaultCPUAllocator", "can't allocate memory", "out of memory")


class Terminated(BaseException):
    """SIGTERM or SIGHUP arrived; like KeyboardInterrupt, no ordinary `except` may swallow it."""


@dataclass(frozen=True)
class Failure:
    """End of a run: its exit code and its message; an empty one is not printed."""

    code: int
    message: str


def failure_of(error: BaseException) -> Failure:
    """Classify `error`; what is not a user's mistake and not a known accident is a bug (70)."""
    from lingen_plugins.plugin_errors import PluginError

    if isinstance(error, LingenError):
        return Failure(error.exit_code, _line(error))
    if isinstance(error, KeyboardInterrupt):
        return Failure(INTERRUPTED, "interrupted")
    if isinstance(error, Terminated):
        return Failure(TERMINATED, "terminated")
    if isinstance(error, typer.Exit):
        return Failure(error.exit_code, "interrupted" if error.exit_code == INTERRUPTED else "")
    if isinstance(error, typer.TyperException):
        return Failure(error.exit_code, _line(error.format_message()))
    if isinstance(error, PluginError):
        return Failure(InvalidOptionError.exit_code, _line(error))
    if is_out_of_memory(error):
        return Failure(
            OutOfMemory.exit_code, "out of memory; try a smaller --size or a shorter video"
        )
    if isinstance(error, OSError):
        return _operating_system(error)
    if lacking := _lacking_package(error):
        found = newer_than_tested(lacking)
        return Failure(
            NotAvailableError.exit_code,
            f"{lacking} {found} lacks what lingen uses here ({_line(error)}); lingen was tested "
            f"with {lacking} up to {TESTED[lacking]}: put lingen beside that one",
        )
    hint = f"{TRACEBACK_VARIABLE}=1 shows where{_report_to()}"
    message = f"internal error: {type(error).__name__}: {_line(error)} ({hint})"
    return Failure(BugError.exit_code, message)


def newer_than_tested(package: str) -> str | None:
    """Version of a package of `TESTED` that is here, if it is newer than what was tested."""
    try:
        found = version(package)
    except PackageNotFoundError:
        return None
    numbers = [
        [int(one) for one in re.findall(r"\d+", text)[:2]] for text in (found, TESTED[package])
    ]
    return found if numbers[0] > numbers[1] else None


def _lacking_package(error: BaseException) -> str | None:
    """The package of `TESTED` without a name that it was asked for, where that version is not
    tested."""
    place = None
    if isinstance(error, ImportError):
        place = error.name
    elif isinstance(error, AttributeError) and isinstance(error.obj, ModuleType | type):
        place = error.obj.__name__ if isinstance(error.obj, ModuleType) else error.obj.__module__
    package = (place or "").partition(".")[0]
    return package if package in TESTED and newer_than_tested(package) else None


def _report_to() -> str:
    """Where bugs are reported, if the package has a real address for that (pyproject.toml)."""
    try:
        urls = metadata("lingen").get_all("Project-URL") or []
    except PackageNotFoundError:
        return ""
    addresses = dict(one.split(", ", 1) for one in urls if ", " in one)
    address = addresses.get("Issues", "")
    host = address.partition("://")[2].partition("/")[0]
    return f"; please report it: {address}" if host and not host.endswith(".example") else ""


def is_out_of_memory(error: BaseException) -> bool:
    """torch has its own class on a GPU and a plain RuntimeError on a CPU."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    if isinstance(error, ImportError):  # of a library that the loader found no room for
        return any(sign in str(error) for sign in _NO_ROOM)
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in _ALLOCATION)


def _operating_system(error: OSError) -> Failure:
    place = f": {os.fsdecode(error.filename)}" if error.filename else ""
    if error.errno in (errno.EACCES, errno.EPERM):
        return Failure(PermissionDeniedError.exit_code, _line(f"permission denied{place}"))
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return Failure(WriteFailedError.exit_code, _line(f"disk full{place}"))
    return Failure(WriteFailedError.exit_code, _line(f"{error.strerror or error}{place}"))


def _line(text: object) -> str:
    """One line that no control character can leave."""
    joined = " ".join(str(text).split())
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in joined)
