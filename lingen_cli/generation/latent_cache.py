"""Latents of finished videos, kept so that a video can be extended without a round trip to pixels.

One safetensors file per video, named by the SHA-256 of its latents, which is in the video's recipe
too. The cache is a convenience: what is missing or damaged is made from the pixels again, and the
files that were used longest ago go first when it grows over its limit.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from lingen_cli.files.user_folders import user_folder
from lingen_cli.inputs.settings import CacheLimit
from lingen_models.checkpoints.safetensors import (
    CheckpointError,
    load_tensors,
    read_metadata,
    save_tensors,
)
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
    prompt: str
    """Of the end of the video; empty where that is not known, as is `video`."""
    video: str
    """Path that the video was given."""

    @property
    def digest(self) -> str:
        """SHA-256 of the latents."""
        return self.path.stem


def cache_folder() -> Path | None:
    """Return where the latents lie: `LINGEN_CACHE_DIR`, or this user's cache folder; None for a
    user without a home, for whom nothing is kept."""
    named, folder = os.environ.get(FOLDER_VARIABLE), user_folder("cache", FOLDER_VARIABLE)
    return folder if named or folder is None else folder / "latents"


def digest_of(latents: Tensor) -> str:
    """SHA-256 of the shape and the float32 numbers."""
    plain = latents.detach().cpu().float().contiguous()
    digest = hashlib.sha256(repr(tuple(plain.shape)).encode())
    digest.update(plain.numpy().tobytes())
    return digest.hexdigest()


def store(
    latents: Tensor, digest: str, limit: CacheLimit, *, prompt: str = "", video: str = ""
) -> None:
    """Keep `latents` of a video; drop what was used longest ago until the cache holds no more than
    `limit` says.

    Raises OSError when they cannot be written. With a limit of 0 nothing is kept.
    """
    kept = latents.float()
    stores = limit.store > 0
    if limit.store < limit.prune:  # there, to make room is not allowed
        stores = sum(one.size for one in entries()) + kept.nbytes <= limit.store
    folder = cache_folder()
    if stores and folder is not None:
        facts = {"lingen": json.dumps({"prompt": prompt, "video": video})}
        folder.mkdir(parents=True, exist_ok=True)
        save_tensors(folder / f"{digest}{_SUFFIX}", {_TENSOR: kept}, facts)
    prune(limit.prune)


def load(digest: str) -> Tensor | None:
    """The latents, or None when they are not here or not whole."""
    folder = cache_folder()
    if folder is None:
        return None
    path = folder / f"{digest}{_SUFFIX}"
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
    found: list[Entry] = []
    folder = cache_folder()
    if folder is None:
        return found
    paths: list[Path] = []
    with contextlib.suppress(OSError):  # somebody else's home
        paths = list(folder.glob(f"*{_SUFFIX}"))
    for path in paths:
        with contextlib.suppress(OSError):
            status = path.stat()
            try:
                facts = read_metadata(path)
            except CheckpointError:
                facts = {}
            texts = [str(facts.get(name, "")) for name in ("prompt", "video")]
            found.append(Entry(path, status.st_size, _moment(status.st_mtime), *texts))
    return sorted(found, key=lambda entry: entry.used, reverse=True)


def _moment(seconds: float) -> datetime:
    """A time as the file system has it; one that no calendar has is long ago."""
    try:
        return datetime.fromtimestamp(seconds).astimezone()
    except (ValueError, OverflowError, OSError):
        return datetime.fromtimestamp(0).astimezone()


def holds(digest: str) -> bool:
    """Tell whether latents are here; they may still be damaged."""
    folder = cache_folder()
    return folder is not None and (folder / f"{digest}{_SUFFIX}").is_file()


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
    folder = cache_folder()
    for path in () if folder is None else folder.glob(TEMPORARY):
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime >= seconds:
                path.unlink()
