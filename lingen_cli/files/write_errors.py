"""Names failed file operations in the words of the messages (reliability.md C3, C6)."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lingen_cli.errors import (
    DiskFullError,
    LingenError,
    MissingInputError,
    OutputExistsError,
    PermissionDeniedError,
    WriteFailedError,
)
from lingen_cli.files.printable import printable

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_DENIED = frozenset({errno.EACCES, errno.EPERM})
_NO_FOLDER = frozenset({errno.ENOENT, errno.ENOTDIR})


def write_error(error: OSError, path: Path) -> LingenError:
    """The error a user sees when `path` could not be written because of `error`.

    `path` is the place the user knows (the output, not a temporary name).
    """
    code, shown = error.errno, printable(path)
    if code in _FULL:
        return DiskFullError(f"disk full, free some space and run again: {shown}")
    if code == errno.EFBIG:
        return DiskFullError(f"the file size limit (ulimit -f) was reached: {shown}")
    if code in _DENIED:
        return PermissionDeniedError(f"permission denied: {shown}")
    if code == errno.EROFS:
        return WriteFailedError(f"read-only file system: {shown}")
    if code in _NO_FOLDER:
        return MissingInputError(f"no such folder: {printable(path.parent)}")
    if code == errno.EISDIR:
        return OutputExistsError(f"output is a folder, choose another name: {shown}")
    if code == errno.ENAMETOOLONG:
        return WriteFailedError(f"file name too long, choose a shorter one: {shown}")
    return WriteFailedError(f"cannot write ({error.strerror or error}): {shown}")


@contextmanager
def write_errors(path: Path) -> Iterator[None]:
    """Inside, an OSError becomes what `write_error` makes of it."""
    try:
        yield
    except OSError as error:
        raise write_error(error, path) from error
