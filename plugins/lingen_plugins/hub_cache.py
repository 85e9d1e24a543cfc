"""Files in the cache of the Hugging Face hub; nothing of the hub's library is imported.

The layout is documented: https://huggingface.co/docs/huggingface_hub/guides/manage-cache
"""

from __future__ import annotations

import os
from pathlib import Path


def cache_root() -> Path:
    """The cache's folder: `HF_HUB_CACHE`, or `hub` in `HF_HOME`, or the user's."""
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if name in os.environ:
            return _expanded(os.environ[name])
    if "HF_HOME" in os.environ:
        return _expanded(os.environ["HF_HOME"]) / "hub"
    return _expanded(os.environ.get("XDG_CACHE_HOME", "~/.cache")) / "huggingface" / "hub"


def repository_folder(repository: str) -> Path:
    """All that is cached of the model repository `owner/name`."""
    return cache_root() / f"models--{repository.replace('/', '--')}"


def snapshot_folder(repository: str, revision: str) -> Path:
    """The files of one commit: links into `blobs` beside it, or files where there are no links."""
    return repository_folder(repository) / "snapshots" / revision


def cached_folder(repository: str, revision: str, holds: str) -> Path | None:
    """The files of a branch, a tag or a commit, where they are here and have the file `holds`."""
    folder = cached_snapshot(repository, revision)
    return folder if folder is not None and (folder / holds).is_file() else None


def cached_snapshot(repository: str, revision: str) -> Path | None:
    """The folder of a branch, a tag or a commit, where it is here."""
    entry = repository_folder(repository)
    try:
        commit = (entry / "refs" / revision).read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        commit = revision
    folder = entry / "snapshots" / commit
    return folder if folder.is_dir() else None


def _expanded(path: str) -> Path:
    return Path(os.path.expandvars(os.path.expanduser(path)))
