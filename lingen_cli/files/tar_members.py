"""Files inside tar archives that nobody has vouched for, read where they lie."""

from __future__ import annotations

import os
import re
import shlex
import tarfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, cast

from lingen_cli.errors import BadDataError
from lingen_cli.files.printable import printable

_TAR = re.compile(r"(.+)\.(tar(\.(gz|bz2|xz|zst|lz4))?|tgz|tbz2?|txz|tzst)", re.IGNORECASE)
_UNPACKED_BY = {
    b"\x1f\x8b": "gunzip",
    b"BZh": "bunzip2",
    b"\xfd7zXZ\0": "unxz",
    b"(\xb5/\xfd": "unzstd",
    b"\x04\x22M\x18": "unlz4",
}
"""What unpacks a compressed file, by its first bytes."""
_MAX_HEADER = 1 << 20
_DAMAGE = (tarfile.TarError, ValueError, ArithmeticError, OSError, RecursionError)


@dataclass(frozen=True)
class TarMember:
    """A file in an uncompressed tar. As a path it is that of the tar with the name behind it, which
    is for messages; `open_file` reads it."""

    tar: Path
    name: str
    header: int
    """Byte of the tar at which what is said about it begins."""
    size: int

    def __fspath__(self) -> str:
        return os.fspath(self.tar / self.name)

    def content(self, file: BinaryIO) -> BinaryIO:
        """The bytes of this member, as a file that can be sought, in its tar, which is open as
        `file`. Raises BadDataError (65) where that has changed."""
        length = file.seek(0, os.SEEK_END)
        try:
            file.seek(self.header)
            tar = tarfile.TarFile(fileobj=file)
            info = tar.next()
            if info is not None and (info.name, info.size) == (self.name, self.size):
                content = tar.extractfile(info)
                if content is not None and info.offset_data + info.size <= length:
                    return cast(BinaryIO, content)
        except _DAMAGE:
            pass
        raise BadDataError(
            f"changed since its files were listed, give the command again: {printable(self.tar)}"
        )


InputFile = Path | TarMember
"""What `open_file` opens."""


def is_tar(name: str) -> bool:
    """Tell whether a file of this name is taken for a tar, be it compressed."""
    return _TAR.fullmatch(name) is not None


def list_members(path: Path, file: BinaryIO) -> tuple[list[TarMember], list[str]]:
    """List the files of the tar `path`, which is open as `file`, in the order in which a folder of
    them would be walked, and a line for all that cannot be used.

    Hidden files are passed over. Of a damaged tar the files before the damage are listed. Raises
    BadDataError (65) for one that is compressed, or no tar.
    """
    shown = printable(path)
    start = file.read(8)
    for magic, tool in _UNPACKED_BY.items():
        if start.startswith(magic):
            raise BadDataError(f"compressed tar, unpack it first: {_unpack(tool, path)}")
    length = file.seek(0, os.SEEK_END)
    file.seek(0)
    found: dict[str, TarMember] = {}
    problems: list[str] = []
    end = count = 0
    try:
        tar = tarfile.TarFile(fileobj=cast(Any, _Headers(file)))
        while (info := tar.next()) is not None:
            if info.offset < end or tar.offset <= info.offset:
                raise tarfile.ReadError("it leads backwards")
            if tar.offset > length:
                raise tarfile.ReadError("unexpected end of data")
            end, count = tar.offset, count + 1
            name = PurePosixPath(info.name)
            member = TarMember(path, info.name, info.offset, info.size)
            why = _unusable(info, name)
            if why:
                problems.append(f"{why}: {printable(member)}")
            elif not info.isdir() and not any(part.startswith(".") for part in name.parts):
                if str(name) in found:
                    problems.append(f"twice in its tar, the last is used: {printable(member)}")
                found[str(name)] = member
        file.seek(end)
        whole = file.read(tarfile.BLOCKSIZE) == bytes(tarfile.BLOCKSIZE)
    except _DAMAGE as error:
        if not count:
            raise BadDataError(f"not a tar, or cut off ({error}): {shown}") from error
        whole = False
    if not whole:
        problems.append(f"damaged or cut off after {count} files, which are used: {shown}")
    return [found[name] for name in sorted(found, key=_in_a_folder)], problems


def _unusable(info: tarfile.TarInfo, name: PurePosixPath) -> str:
    """Why a member is not used, or an empty text."""
    if name.is_absolute() or ".." in name.parts:
        return "leads out of its tar"
    if info.isdir():
        return ""
    return "" if info.isreg() and not info.issparse() else "no regular file in its tar"


def _in_a_folder(name: str) -> tuple[tuple[str, ...], str]:
    """Key that sorts names as a walk from the top does."""
    path = PurePosixPath(name)
    return path.parent.parts, path.name


def _unpack(tool: str, path: Path) -> str:
    """The command that unpacks a compressed tar beside it."""
    match = _TAR.fullmatch(path.name)
    stem = match[1] if match else path.name
    target = path.with_name(f"{stem}.tar")
    target = path.with_name(f"{stem}-unpacked.tar") if target == path else target
    return f"{tool} < {shlex.quote(printable(path))} > {shlex.quote(printable(target))}"


class _Headers:
    """An open tar of which only headers are read; one that says it is as long as memory is
    refused."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int) -> bytes:
        if size > _MAX_HEADER:
            raise tarfile.ReadError("a header is too long")
        return self._file.read(size)
