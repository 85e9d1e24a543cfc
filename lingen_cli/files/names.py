"""File names from prompts (reliability.md C10)."""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path

MAX_BYTES = 60
FALLBACK = "video"
LONGEST_NAME = 255
"""Bytes of a file name, on nearly every file system."""
_NUMBER = len("-1000000")
_RESERVED = frozenset(
    {"con", "prn", "aux", "nul", *(f"{name}{n}" for name in ("com", "lpt") for n in range(1, 10))}
)


def slug(prompt: str) -> str:
    """A readable file name without suffix: words joined by hyphens, at most 60 bytes of UTF-8.

    Only letters and digits of the prompt are kept, so no separator, dot or control character
    survives. A prompt that is cut ends in a short hash, so that two long ones differ.
    """
    plain = unicodedata.normalize("NFC", prompt).lower()
    name = "-".join(re.findall(r"[^\W_]+", plain)) or FALLBACK
    if len(name.encode()) > MAX_BYTES:
        digest = hashlib.sha256(prompt.encode("utf-8", "surrogatepass")).hexdigest()[:8]
        room = MAX_BYTES - len(digest) - 1
        kept = name.encode()[:room].decode("utf-8", "ignore")
        whole_words = kept.rpartition("-")[0]
        name = f"{whole_words or kept}-{digest}"
    return f"lingen-{name}" if name in _RESERVED else name


def free_names(folder: Path, stem: str, suffix: str = ".mp4", *beside: str) -> Iterator[Path]:
    """`stem.mp4`, `stem-2.mp4`, ... in `folder`, leaving out those that exist, with this suffix or
    with one of `beside`.

    A stem may come from the name of somebody's video: control characters become underscores, and
    one that is too long for a file system is cut, and ends in a short hash.
    """
    stem = "".join(c if c.isprintable() else "_" for c in stem)
    room = LONGEST_NAME - len(suffix) - _NUMBER
    if len(os.fsencode(stem)) > room:
        digest = hashlib.sha256(os.fsencode(stem)).hexdigest()[:8]
        kept = os.fsencode(stem)[: room - len(digest) - 1].decode("utf-8", "ignore")
        stem = f"{kept}-{digest}"
    number = 1
    while True:
        path = folder / (f"{stem}{suffix}" if number == 1 else f"{stem}-{number}{suffix}")
        names = (path, *(path.with_suffix(one) for one in beside))
        if not any(one.exists() or one.is_symlink() for one in names):
            yield path
        number += 1
