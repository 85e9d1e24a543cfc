"""Numbered files in a folder of their own, which are one output: `frames/%05d.png`."""

import hashlib
import os
import re
from pathlib import Path

PATTERN = re.compile(r"%(\d*)d")
"""The place of the number in a name, as ffmpeg has it."""
IMAGES = ".png"
"""Suffix of numbered files."""
_DIGITS = re.compile(r"(\d+)")


def name_of(pattern: str, number: int) -> str:
    """Name of a file: `%05d.png` and 1 are `00001.png`."""
    return PATTERN.sub(lambda found: f"{number:{found[1]}d}", pattern)


def holds_only(folder: Path, pattern: str) -> bool:
    """Tell whether `folder` is one, and no link, and all in it are files that `pattern` names."""
    if folder.is_symlink() or not folder.is_dir():
        return False
    with os.scandir(folder) as entries:
        return all(
            entry.is_file(follow_symlinks=False) and _named(pattern, entry.name)
            for entry in entries
        )


def images_at(path: Path) -> list[Path]:
    """Return the numbered images that `path` names, by their numbers: those in a folder, or
    those of a pattern such as `frames/%05d.png`. Empty where there are none."""
    pattern = None if os.path.isdir(path) else path.name
    folder = path if pattern is None else path.parent
    if pattern is not None and not PATTERN.search(pattern):
        return []
    try:
        names = [one for one in os.listdir(folder) if one.lower().endswith(IMAGES)]
    except (OSError, ValueError):
        return []
    wanted = (
        one
        for one in names
        if not one.startswith(".") and (pattern is None or _named(pattern, one))
    )
    return [folder / one for one in sorted(wanted, key=_by_number)]


def fingerprint_of(folder: Path) -> str:
    """SHA-256 of the names, sizes and times of the files of a folder."""
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        status = path.lstat()
        digest.update(f"{path.name}\0{status.st_size}\0{status.st_mtime_ns}\0".encode())
    return digest.hexdigest()


def _named(pattern: str, name: str) -> bool:
    before, _, after = PATTERN.split(pattern, maxsplit=1)
    digits = name.removeprefix(before).removesuffix(after)
    return digits.isdecimal() and digits.isascii() and name_of(pattern, int(digits)) == name


def _by_number(name: str) -> list[tuple[int, str]]:
    """Order names by the numbers in them: 9 before 10."""
    return [
        (int(part), "") if part.isdecimal() else (-1, part) for part in _DIGITS.split(name) if part
    ]
