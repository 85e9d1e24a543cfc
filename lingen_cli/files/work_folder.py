"""Output that is whole or absent: a locked work folder, then one atomic step.

Source: reliability.md C1, C6, C7.
"""

import contextlib
import errno
import hashlib
import os
import secrets
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Self

from filelock import FileLock, Timeout

from lingen_cli.errors import (
    DiskFullError,
    LingenError,
    LockedError,
    MissingInputError,
    OutputExistsError,
    WriteFailedError,
)
from lingen_cli.files.names import LONGEST_NAME
from lingen_cli.files.numbered import holds_only
from lingen_cli.files.own_folder import check_own
from lingen_cli.files.printable import printable
from lingen_cli.files.write_errors import write_error, write_errors
from lingen_models.checkpoints.whole_file import sync, sync_folder

_LOCK = "lock"
JOURNAL = "journal"
"""The part of a work folder that outlives a stopped run."""
_SET_ASIDE = "journal-set-aside-"
_REPLACED = "replaced"
_MARK_OF_A_JOURNAL = "job.json"
_LOCK_SECONDS = 0.2  # long enough to outlast a run that is just removing its folder
_LOCK_POLL = 0.02
_LOOKS = 10
_NO_HARD_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.EMLINK, errno.ENOSYS, errno.EXDEV})
_TAKEN = frozenset({errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR})
"""Errors of a rename onto what is there already."""
_PATIENCE = 5.0
"""Seconds for a folder that other runs are making and removing."""


class WorkFolder:
    """`DIR/.NAME.lingen/` beside `DIR/NAME`: everything unfinished lives there, under one lock.

        with WorkFolder(target) as work:
            tmp = work.temporary(".mp4")
            ...                                  # write tmp completely and verify it
            work.publish(tmp)

    Entering checks, before any work is done, that the output may be written. The folder of a run
    that was killed is taken over and emptied, because the operating system gave its lock back;
    only its `journal` stays. Leaving removes the folder, but a journal only after `publish`.

    The folder must be this user's own, with no other user's right to write into it, and temporary
    files lie in a folder of a name that nobody can guess: what others have put there, or put in its
    place, is neither read nor followed.

    With `pattern`, the target is a folder of numbered files with such names, which are published
    together.

    Entering raises OutputExistsError (73: target is there and `overwrite` is False, or is a folder
    that holds something else), LockedError (75), MissingInputError (66: the folder is missing),
    PermissionDeniedError (77), WriteFailedError (74).
    """

    def __init__(
        self, target: Path, *, overwrite: bool = False, pattern: str | None = None
    ) -> None:
        self.target = target
        self.overwrite = overwrite
        self.pattern = pattern
        self.path = target.parent / _work_name(target.name)
        self._lock = FileLock(self.path / _LOCK, timeout=_LOCK_SECONDS, thread_local=False)
        self._count = 0
        self._scratch: Path | None = None
        self._room = contextlib.ExitStack()
        self._published = False
        self.remembers = False
        """Whether the journal stays after `publish`: somebody drops it later."""

    @property
    def journal(self) -> Path:
        """A folder for what a later run can go on with; not there unless somebody makes it."""
        return self.path / JOURNAL

    @property
    def holds_journal(self) -> bool:
        """Tell whether there is something to go on with."""
        if self._published or not self.journal.is_dir():
            return False
        return any(not entry.name.startswith(".") for entry in self.journal.iterdir())

    def drop_journal(self) -> None:
        """Forget what a run before has left. Raises WriteFailedError (74)."""
        with write_errors(self.target):
            if self.journal.is_dir():
                aside = self._new_name("")
                self.journal.rename(aside)  # in one step it is no journal any more
                shutil.rmtree(aside)

    def set_journal_aside(self) -> Path:
        """Rename a journal that is of no use; it stays until there is a video. Raises
        WriteFailedError (74)."""
        places = (self.path / f"{_SET_ASIDE}{number}" for number in count(1))
        aside = next(place for place in places if not place.exists())
        with write_errors(self.target):
            self.journal.rename(aside)
            sync_folder(self.path)
        return aside

    def reserve(self, size: int) -> None:
        """Take `size` bytes of the disk, until `release_space`. Raises as `reserve_space`."""
        self._room.enter_context(reserve_space(self.target.parent, size))

    def release_space(self) -> None:
        """Give back what was reserved: now it is needed."""
        self._room.close()

    def __enter__(self) -> Self:
        with write_errors(self.target):
            self._open()
            try:
                self._put_back()
                check_target(self.target, self.overwrite, self.pattern)
                self._empty()
            except BaseException:
                self._remove()
                raise
        return self

    def __exit__(self, *error: object) -> None:
        self._remove()

    def temporary(self, suffix: str = "") -> Path:
        """A new, empty file inside the folder. Raises WriteFailedError (74)."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
        with write_errors(self.target):
            path = self._new_name(suffix)
            os.close(os.open(path, flags, 0o666))
        return path

    def temporary_folder(self) -> Path:
        """A new, empty folder inside the folder. Raises WriteFailedError (74)."""
        with write_errors(self.target):
            path = self._new_name("")
            path.mkdir()
        return path

    def _new_name(self, suffix: str) -> Path:
        self._count += 1
        if self._scratch is None:
            self._scratch = self.path / f"tmp-{secrets.token_hex(8)}"
            self._scratch.mkdir(mode=0o700)
        return self._scratch / f"{self._count}{suffix}"

    def publish(
        self,
        temporary: Path,
        overwrite: bool | None = None,
        beside: Sequence[tuple[Path, Path]] = (),
    ) -> None:
        """See the function `publish`; `overwrite` defaults to what the folder was opened with.

        `beside` are temporary files and names of what belongs to the output. They follow it, and
        only after the last is the journal of no more use: a run that stops in between can be
        given again.
        """
        replace = self.overwrite if overwrite is None else overwrite
        if self.pattern is None:
            publish(temporary, self.target, replace)
        else:
            self._publish_folder(temporary, replace)
        for part, path in beside:
            publish(part, path, replace)
        self._published = True

    def _publish_folder(self, temporary: Path, overwrite: bool) -> None:
        """Move a folder of finished files to the target, durably.

        One that it takes the place of is out of the way for a moment, inside the work folder: a run
        that dies then has it put back by the next.
        """
        try:
            for path in temporary.iterdir():
                sync(path, getattr(os, "O_NOFOLLOW", 0))
            sync_folder(temporary)
            check_target(self.target, overwrite, self.pattern)
            if os.path.lexists(self.target):
                os.rename(self.target, self.path / _REPLACED)
            try:
                os.rename(temporary, self.target)
            except OSError:
                self._put_back()
                raise
            sync_folder(self.target.parent)
        except OSError as error:
            if error.errno in _TAKEN:
                raise _exists(self.target) from error
            raise write_error(error, self.target) from error

    def _put_back(self) -> None:
        replaced = self.path / _REPLACED
        if replaced.is_dir() and not os.path.lexists(self.target):
            os.rename(replaced, self.target)

    def _open(self) -> None:
        """Make the folder and take its lock, while other runs may be making and removing both.

        Raises LockedError (75) where that goes on for long.
        """
        until = time.monotonic() + _PATIENCE
        while True:
            self._make()
            try:
                self._check_own()
                self._lock.acquire(poll_interval=_LOCK_POLL)
                check_own(self.path)
                return
            except Timeout as error:
                raise self._held() from error
            except (FileNotFoundError, FileExistsError, NotADirectoryError) as error:
                self._lock.release(force=True)
                if time.monotonic() > until:
                    raise self._held() from error
            except BaseException:
                self._lock.release(force=True)
                raise
            time.sleep(_LOCK_POLL)

    def _make(self) -> None:
        try:
            self.path.mkdir(mode=0o700)
        except FileExistsError:
            return
        except FileNotFoundError:
            if not os.path.isdir(self.target.parent):
                raise
            raise WriteFailedError(  # such as /proc
                f"this folder takes no new files, choose another: {printable(self.target)}"
            ) from None

    def _held(self) -> LockedError:
        return LockedError(f"another lingen run is writing this output: {printable(self.target)}")

    def _check_own(self) -> None:
        """Refuse a link, a file or a folder with foreign content: it will be emptied.

        What runs are making or removing meanwhile can look like that for a moment.
        """
        for last in (*(False,) * _LOOKS, True):
            check_own(self.path)
            names = set(os.listdir(self.path))
            ours = {JOURNAL} if (self.journal / _MARK_OF_A_JOURNAL).exists() else set()
            if not names or _LOCK in names or names == ours:
                return
            if last:
                raise OutputExistsError(
                    f"not a lingen work folder, move it away: {printable(self.path)}"
                )
            time.sleep(_LOCK_POLL)

    def _empty(self) -> None:
        keeps = self.holds_journal or self.remembers
        with os.scandir(self.path) as entries:
            for entry in entries:
                if entry.name == JOURNAL and keeps and _holds_no_link(self.journal):
                    continue
                if entry.name.startswith(_SET_ASIDE) and not self._published:
                    continue
                if entry.is_dir(follow_symlinks=False):
                    shutil.rmtree(entry.path)
                elif entry.name != _LOCK:
                    os.unlink(entry.path)

    def _remove(self) -> None:
        """Remove everything, then let go: a run waiting on the old lock file starts over."""
        self.release_space()
        with contextlib.suppress(OSError):
            self._empty()
            if os.listdir(self.path) == [_LOCK]:  # it tells the next run whose folder that is
                (self.path / _LOCK).unlink()
                self.path.rmdir()
        self._lock.release(force=True)


def publish(temporary: Path, target: Path, overwrite: bool = False) -> None:
    """Move a finished file to `target`, durably and in one step; both must lie on one file system.

    Without `overwrite` exactly one of several racing runs wins; the others get OutputExistsError
    (73). With it the target is replaced at once (a symbolic link itself, not what it points to).
    Raises WriteFailedError (74) and PermissionDeniedError (77) too.
    """
    with write_errors(target):
        if not stat.S_ISREG(temporary.lstat().st_mode):
            raise WriteFailedError(f"something else was put in the place of {printable(target)}")
        sync(temporary, getattr(os, "O_NOFOLLOW", 0))
        try:
            if overwrite:
                os.replace(temporary, target)
            else:
                _link(temporary, target)
        except FileExistsError as error:
            raise _exists(target) from error
        sync_folder(target.parent)


@contextlib.contextmanager
def reserve_space(folder: Path, size: int) -> Iterator[None]:
    """Hold `size` bytes of the disk of `folder` while inside, in a file without a name.

    Raises DiskFullError (74) where there are not so many, MissingInputError (66) without a folder.
    """
    if size <= 0:
        yield
        return
    with contextlib.ExitStack() as stack:
        try:
            file = stack.enter_context(tempfile.TemporaryFile(dir=folder))
            _allocate(file.fileno(), folder, size)
        except OSError as error:
            raise _no_space(error, folder, size) from error
        yield


def _allocate(descriptor: int, folder: Path, size: int) -> None:
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, size)
    elif shutil.disk_usage(folder).free < size:  # macOS
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _no_space(error: OSError, folder: Path, size: int) -> LingenError:
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return MissingInputError(f"no such folder: {printable(folder)}")
    named = write_error(error, folder)
    if isinstance(named, DiskFullError):
        return DiskFullError(f"{named} ({size / 2**20:.0f} MiB needed)")
    return named


def check_target(target: Path, overwrite: bool, pattern: str | None = None) -> None:
    """Check that an output may be written there, as `WorkFolder` says.

    Raises OutputExistsError (73) and what `write_error` gives.
    """
    try:
        mode = target.lstat().st_mode
    except FileNotFoundError:
        return
    except OSError as error:
        raise write_error(error, target) from error
    if pattern is not None:
        if not overwrite:
            raise _exists(target)
        if not holds_only(target, pattern):
            raise OutputExistsError(
                f"output is not a folder of images named {pattern} alone, choose another name: "
                f"{printable(target)}"
            )
        return
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
        with contextlib.suppress(OSError):  # it is published; the name goes with its folder
            os.unlink(temporary)
        return
    # No hard links here (FAT, some network shares). A placeholder made with O_EXCL would leave an
    # empty output if the run died next, so the work folder's lock keeps other runs away and a
    # rename keeps the output whole.
    if os.path.lexists(target):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
    os.replace(temporary, target)


def _holds_no_link(folder: Path) -> bool:
    """Whether all in `folder`, and itself, lies there: through a link we would write elsewhere."""
    return not any(path.is_symlink() for path in (folder, *folder.rglob("*")))


def _work_name(name: str) -> str:
    """`.NAME.lingen`, shortened with a hash when the file system could not hold it."""
    full = os.fsencode(f".{name}.lingen")
    if len(full) <= LONGEST_NAME:
        return os.fsdecode(full)
    digest = hashlib.sha256(os.fsencode(name)).hexdigest()[:16]
    return f".{digest}.lingen"
