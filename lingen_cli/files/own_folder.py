"""Folders that nobody but this user can have written into (reliability.md C9)."""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path

from lingen_cli.errors import OutputExistsError
from lingen_cli.files.printable import printable

_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


def check_own(folder: Path) -> None:
    """Refuse a link, and a folder that another user owns or may write into.

    Raises OutputExistsError (73) and OSError.
    """
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode):
        raise _refused("not a lingen work folder", folder)
    if not hasattr(os, "geteuid"):
        return
    if status.st_uid != os.geteuid() and status.st_uid != _owner_of_new(folder):
        raise _refused("the work folder belongs to another user", folder)
    if status.st_mode & _OTHERS_WRITE:
        folder.chmod(0o700)
        tightened = not folder.lstat().st_mode & _OTHERS_WRITE  # FAT has no modes
        if tightened and any(folder.iterdir()):
            raise _refused("other users could write into the work folder", folder)


def _owner_of_new(folder: Path) -> int | None:
    """The owner that a file of ours gets in `folder`: not us on some disks and network shares."""
    probe = folder / f"probe-{secrets.token_hex(8)}"
    try:
        descriptor = os.open(probe, os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    except PermissionError:
        return None
    try:
        return os.fstat(descriptor).st_uid
    finally:
        os.close(descriptor)
        probe.unlink()


def _refused(why: str, folder: Path) -> OutputExistsError:
    return OutputExistsError(f"{why}, move it away: {printable(folder)}")
