"""Files that are whole or absent, whenever the process or the machine stops."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from pathlib import Path

TEMPORARY = ".*.tmp"
"""Pattern of the names under which files are written; what is left of them belongs to runs that
were killed."""
_CANNOT_SYNC = frozenset({errno.EINVAL, errno.ENOTSUP, errno.EROFS})


def write_whole(path: Path, data: bytes) -> None:
    """Write under a name of its own that no link can take, sync, rename, and sync the folder.

    Raises OSError; then nothing is left, and what was at `path` is there as it was.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
    with contextlib.ExitStack() as stack:
        descriptor = os.open(temporary, flags, 0o666)
        stack.callback(temporary.unlink, missing_ok=True)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        stack.pop_all()
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` outlive a loss of power, where its file system can."""
    sync(folder, getattr(os, "O_DIRECTORY", 0))


def sync(path: Path, flags: int = 0) -> None:
    """Make what is at `path` outlive a loss of power, where its file system can."""
    descriptor = os.open(path, os.O_RDONLY | flags)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _CANNOT_SYNC:
            raise
    finally:
        os.close(descriptor)
