"""SHA-256 sums of folders of weights; nothing that the cache of `huggingface_hub` knows is read."""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache
from pathlib import Path

from lingen_models.checkpoints.safetensors import sha256_file
from lingen_plugins.hub_cache import cache_root

_SHA256 = re.compile("[0-9a-f]{64}")


def folder_sum(*folders: Path) -> str:
    """SHA-256 of the names and sums of all files in some folders. Raises OSError."""
    digest = hashlib.sha256()
    for folder in folders:
        for path in sorted(one for one in folder.rglob("*") if one.is_file()):
            status = path.stat()
            found = _sha256(path, status.st_ino, status.st_size, status.st_mtime_ns)
            digest.update(f"{path.relative_to(folder).as_posix()} {found}\n".encode())
    return digest.hexdigest()


@lru_cache(maxsize=1024)
def _sha256(path: Path, number: int, size: int, time: int) -> str:
    """SHA-256 of a file in that state.

    The cache of `huggingface_hub` keeps large files under their sums, and links to them: those are
    not read again. Elsewhere a name says nothing.
    """
    kept = path.resolve()
    blobs = kept.parent
    in_cache = blobs.name == "blobs" and blobs.parent.parent == cache_root().resolve()
    if in_cache and _SHA256.fullmatch(kept.name):
        return kept.name
    return sha256_file(path)
