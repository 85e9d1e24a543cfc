"""Opens regular files that nobody has vouched for (media.md 2.1)."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from lingen_cli.errors import BadDataError, MissingInputError, PermissionDeniedError
from lingen_cli.files.printable import printable
from lingen_cli.files.tar_members import InputFile, TarMember


@contextmanager
def open_file(path: InputFile) -> Iterator[BinaryIO]:
    """A regular, non-empty file, opened without ever waiting (a FIFO would block for good).

    Raises MissingInputError (66), PermissionDeniedError (77), BadDataError (65: empty, or in a tar
    that has changed).
    """
    shown = printable(path)
    if isinstance(path, TarMember):
        if path.size == 0:
            raise BadDataError(f"file is empty: {shown}")
        with open_file(path.tar) as tar:
            yield path.content(tar)
        return
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:  # the last: a NUL in it
        raise MissingInputError(f"no such file: {shown}") from error
    except PermissionError as error:
        raise PermissionDeniedError(f"permission denied: {shown}") from error
    except OSError as error:
        raise MissingInputError(f"cannot open ({error.strerror}): {shown}") from error
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise MissingInputError(f"not a regular file: {shown}")
    with os.fdopen(descriptor, "rb") as file:
        if status.st_size == 0:
            raise BadDataError(f"file is empty: {shown}")
        yield file
