"""Output that is whole or absent: a locked work folder, then one atomic step.

Source: reliability.md C1, C6, C7.
"""

import contextlib
import errno
import hashlib
import os
import shutil
import stat
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

from filelock import FileLock, Timeout

from lingen_cli.errors import (
    DiskFullError,
    LingenError,
    LockedError,
    MissingInputError,
    OutputExistsError,
)
from lingen_cli.files.printable import printable
from lingen_cli.files.write_errors import write_error

_LOCK = "lock"
JOURNAL = "journal"
"""The part of a work folder that outlives a stopped run."""
_NAME_BYTES = 255
_LOCK_SECONDS = 0.2  # long enough to outlast a run that is just removing its folder
_LOCK_POLL = 0.02
_NO_HARD_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.EMLINK, errno.ENOSYS, errno.EXDEV})
_FSYNC_UNSUPPORTED = frozenset({errno.EINVAL, errno.ENOTSUP, errno.EROFS})


class WorkFolder:
    """`DIR/.NAME.lingen/` beside `DIR/NAME`: everything unfinished lives there, under one lock.

        with WorkFolder(target) as work:
            tmp = work.temporary(".mp4")
            ...                                  # write tmp completely and verify it
            work.publish(tmp)

    Entering checks, before any work is done, that the output may be written. The folder of a run
    that was killed is taken over and emptied, because the operating system gave its lock back;
    only its `journal` stays. Leaving removes the folder, but a journal only after `publish`.

    Entering raises OutputExistsError (73: target is there and `overwrite` is False, or is a
    folder), LockedError (75), MissingInputError (66: the folder is missing), PermissionDeniedError
    (77), WriteFailedError (74).
    """

    def __init__(self, target: Path, *, overwrite: bool = False) -> None:
        self.target = target
        self.overwrite = overwrite
        self.path = target.parent / _work_name(target.name)
        self._lock = FileLock(self.path / _LOCK, timeout=_LOCK_SECONDS, thread_local=False)
        self._count = 0
        self._published = False

    @property
    def journal(self) -> Path:
        """A folder for what a later run can go on with; not there unless somebody makes it."""
        return self.path / JOURNAL

    @property
    def holds_journal(self) -> bool:
        """Tell whether there is something to go on with."""
        return self.journal.is_dir() and not self._published

    def drop_journal(self) -> None:
        """Forget what a run before has left. Raises WriteFailedError (74)."""
        try:
            if self.journal.is_dir():
                shutil.rmtree(self.journal)
        except OSError as error:
            raise write_error(error, self.target) from error

    def __enter__(self) -> Self:
        try:
            self._open()
        except OSError as error:
            raise write_error(error, self.target) from error
        try:
            check_target(self.target, self.overwrite)
            self._empty()
        except OSError as error:
            self._remove()
            raise write_error(error, self.target) from error
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._remove()

    def temporary(self, suffix: str = "") -> Path:
        """A new name inside the folder; the file does not exist yet."""
        self._count += 1
        return self.path / f"{self._count}{suffix}"

    def publish(self, temporary: Path, overwrite: bool | None = None) -> None:
        """See the function `publish`; `overwrite` defaults to what the folder was opened with."""
        publish(temporary, self.target, self.overwrite if overwrite is None else overwrite)
        self._published = True

    def _open(self) -> None:
        """Make the folder and take its lock; a run that is leaving may remove both in between."""
        for last in (False, False, True):
            with contextlib.suppress(FileExistsError):
                self.path.mkdir(mode=0o700)
            self._check_own()
            try:
                self._lock.acquire(poll_interval=_LOCK_POLL)
                return
            except Timeout as error:
                message = f"another lingen run is writing this output: {printable(self.target)}"
                raise LockedError(message) from error
            except FileNotFoundError:
                if last:
                    raise

    def _check_own(self) -> None:
        """Refuse a link, a file or a folder with foreign content: it will be emptied."""
        with contextlib.suppress(FileNotFoundError):
            names = os.listdir(self.path) if stat.S_ISDIR(self.path.lstat().st_mode) else None
            if names is None or (names and _LOCK not in names):
                raise OutputExistsError(
                    f"not a lingen work folder, move it away: {printable(self.path)}"
                )

    def _empty(self) -> None:
        with os.scandir(self.path) as entries:
            for entry in entries:
                if entry.name == JOURNAL and self.holds_journal and _holds_no_link(self.journal):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    shutil.rmtree(entry.path)
                elif entry.name != _LOCK:
                    os.unlink(entry.path)

    def _remove(self) -> None:
        """Remove everything, then let go: a run waiting on the old lock file starts over."""
        with contextlib.suppress(OSError):
            self._empty()
        if not self.holds_journal:
            with contextlib.suppress(OSError):
                (self.path / _LOCK).unlink()
                self.path.rmdir()
        self._lock.release(force=True)


def publish(temporary: Path, target: Path, overwrite: bool = False) -> None:
    """Move a finished file to `target`, durably and in one step; both must lie on one file system.

    Without `overwrite` exactly one of several racing runs wins; the others get OutputExistsError
    (73). With it the target is replaced at once (a symbolic link itself, not what it points to).
    Raises WriteFailedError (74) and PermissionDeniedError (77) too.
    """
    try:
        _sync(temporary)
        if overwrite:
            os.replace(temporary, target)
        else:
            _link(temporary, target)
        _sync(target.parent, os.O_DIRECTORY)
    except FileExistsError as error:
        raise _exists(target) from error
    except OSError as error:
        raise write_error(error, target) from error


def reserve_space(folder: Path, size: int) -> None:
    """Raise DiskFullError (74) unless `folder` can take `size` bytes; leaves nothing behind."""
    if size <= 0:
        return
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, size)
            elif shutil.disk_usage(folder).free < size:  # macOS
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise MissingInputError(f"no such folder: {printable(folder)}") from error
    except OSError as error:
        told = write_error(error, folder)
        if isinstance(told, DiskFullError):
            raise DiskFullError(f"{told} ({size / 2**20:.0f} MiB needed)") from error
        raise told from error


def check_target(target: Path, overwrite: bool) -> None:
    try:
        mode = target.lstat().st_mode
    except FileNotFoundError:
        return
    except OSError as error:
        raise write_error(error, target) from error
    if target.is_dir():
        raise write_error(IsADirectoryError(errno.EISDIR, ""), target)
    if not overwrite or not (stat.S_ISREG(mode) or stat.S_ISLNK(mode)):
        raise _exists(target)


def _exists(target: Path) -> LingenError:
    return OutputExistsError(
        f"output already exists, choose another name or pass --overwrite: {printable(target)}"
    )


def _link(temporary: Path, target: Path) -> None:
    try:
        os.link(temporary, target, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS:
            raise
    else:
        os.unlink(temporary)
        return
    # No hard links here (FAT, some network shares). A placeholder made with O_EXCL would leave an
    # empty output if the run died next, so the work folder's lock keeps other runs away and a
    # rename keeps the output whole.
    if os.path.lexists(target):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
    os.replace(temporary, target)


def _sync(path: Path, flags: int = 0) -> None:
    descriptor = os.open(path, os.O_RDONLY | flags)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _FSYNC_UNSUPPORTED:
            raise
    finally:
        os.close(descriptor)


def _holds_no_link(folder: Path) -> bool:
    """Whether all in `folder`, and itself, lies there: through a link we would write elsewhere."""
    return not any(path.is_symlink() for path in (folder, *folder.rglob("*")))


def _work_name(name: str) -> str:
    """`.NAME.lingen`, shortened with a hash when the file system could not hold it."""
    full = os.fsencode(f".{name}.lingen")
    if len(full) <= _NAME_BYTES:
        return os.fsdecode(full)
    digest = hashlib.sha256(os.fsencode(name)).hexdigest()[:16]
    return f".{digest}.lingen"
