"""Latents of finished videos, kept so that a video can be extended without a round trip to pixels.

One safetensors file per video, named by the SHA-256 of its latents, which is in the video's recipe
too. The cache is a convenience: what is missing or damaged is made from the pixels again, and the
files that were used longest ago go first when it grows over its limit.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs

from lingen_cli.settings import CacheLimit
from lingen_models.checkpoints.whole_file import TEMPORARY

if TYPE_CHECKING:
    from torch import Tensor

FOLDER_VARIABLE = "LINGEN_CACHE_DIR"
_SUFFIX = ".safetensors"
_TENSOR = "latents"
_ABANDONED = 3600.0
"""Seconds after which nobody writes a file any more."""


@dataclass(frozen=True)
class Entry:
    """One file of the cache."""

    path: Path
    size: int
    """Bytes."""
    used: datetime

    @property
    def digest(self) -> str:
        """SHA-256 of the latents."""
        return self.path.stem


def cache_folder() -> Path:
    """Return where the latents lie: `LINGEN_CACHE_DIR`, or this user's cache folder."""
    named = os.environ.get(FOLDER_VARIABLE)
    return Path(named) if named else platformdirs.user_cache_path("lingen") / "latents"


def digest_of(latents: Tensor) -> str:
    """SHA-256 of the shape and the float32 numbers."""
    plain = latents.detach().cpu().float().contiguous()
    digest = hashlib.sha256(repr(tuple(plain.shape)).encode())
    digest.update(plain.numpy().tobytes())
    return digest.hexdigest()


def store(latents: Tensor, digest: str, limit: CacheLimit) -> None:
    """Keep `latents`; drop what was used longest ago until the cache holds no more than `limit`
    says.

    Raises OSError when they cannot be written. With a limit of 0 nothing is kept.
    """
    from lingen_models.checkpoints.safetensors import save_tensors

    kept = latents.float()
    stores = limit.store > 0
    if limit.store < limit.prune:  # there, to make room is not allowed
        stores = sum(one.size for one in entries()) + kept.nbytes <= limit.store
    if stores:
        folder = cache_folder()
        folder.mkdir(parents=True, exist_ok=True)
        save_tensors(folder / f"{digest}{_SUFFIX}", {_TENSOR: kept}, {})
    prune(limit.prune)


def load(digest: str) -> Tensor | None:
    """The latents, or None when they are not here or not whole."""
    from lingen_models.checkpoints.safetensors import CheckpointError, load_tensors

    path = cache_folder() / f"{digest}{_SUFFIX}"
    try:
        tensors, _ = load_tensors(path)
        os.utime(path)
    except (OSError, CheckpointError):
        return None
    latents = tensors.get(_TENSOR)
    if latents is None or digest_of(latents) != digest:
        with contextlib.suppress(OSError):
            path.unlink()
        return None
    return latents


def entries() -> list[Entry]:
    """Everything in the cache, what was used last first."""
    found = []
    for path in cache_folder().glob(f"*{_SUFFIX}"):
        with contextlib.suppress(OSError):
            status = path.stat()
            found.append(Entry(path, status.st_size, _moment(status.st_mtime)))
    return sorted(found, key=lambda entry: entry.used, reverse=True)


def _moment(seconds: float) -> datetime:
    """A time as the file system has it; one that no calendar has is long ago."""
    try:
        return datetime.fromtimestamp(seconds).astimezone()
    except (ValueError, OverflowError, OSError):
        return datetime.fromtimestamp(0).astimezone()


def prune(limit: int, abandoned_after: float | None = None) -> list[Entry]:
    """Remove what was used longest ago until at most `limit` bytes are left; returns what went.

    What killed runs have left half written goes too, after so many seconds, by default an hour.
    """
    _remove_abandoned(_ABANDONED if abandoned_after is None else abandoned_after)
    total, gone = 0, []
    for entry in entries():
        total += entry.size
        if total > limit:
            with contextlib.suppress(FileNotFoundError):
                entry.path.unlink()
            gone.append(entry)
    return gone


def _remove_abandoned(seconds: float) -> None:
    for path in cache_folder().glob(TEMPORARY):
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime >= seconds:
                path.unlink()
