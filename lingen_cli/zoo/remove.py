"""Downloaded weights out of the hub's cache, and nothing else of it."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from filelock import FileLock, Timeout

from lingen_cli.errors import InvalidOptionError, LockedError
from lingen_cli.zoo.download import Wanted, wanted
from lingen_plugins.contracts import ModelVariant
from lingen_plugins.registry import Registry


def removable(registry: Registry, name: str) -> list[Wanted]:
    """List what is here, wholly or in part, of the download of `name`, and no other model needs.

    Raises UnknownNameError (2), and InvalidOptionError (2) for weights that were not downloaded.
    """
    variants = registry.model_variants
    variant = variants[name]
    weights = variant.weights
    if weights is None or weights.repository is None:
        raise InvalidOptionError(_kept(variant, variants.owner(name)))
    others = {
        one.path
        for other in variants.values()
        if other.name != name and other.weights is not None and other.weights.repository
        for one in wanted(other.weights)
    }
    return [
        one
        for one in wanted(weights)
        if one.path not in others and any(map(os.path.lexists, (one.path, *one.partial)))
    ]


def _kept(variant: ModelVariant, owner: str) -> str:
    if variant.weights is None:
        return f"there are no weights of {variant.name!r}"
    if variant.weights.package is None:
        return (
            f"the weights of {variant.name!r} were not downloaded: {variant.weights.folder} is "
            "yours to delete"
        )
    return (
        f"the weights of {variant.name!r} are part of the plugin {owner!r} and cannot be removed "
        "on their own"
    )


def remove(files: list[Wanted]) -> int:
    """Delete them, and folders that are empty then; returns the bytes that were freed.

    Bytes that another file of the cache links to stay. Raises LockedError (75) for a file that is
    being downloaded.
    """
    freed = 0
    for one in files:
        try:
            with FileLock(one.lock, timeout=0):
                freed += _remove(one)
        except Timeout:
            raise LockedError(f"another process downloads {one.file}; try again later") from None
    return freed


def _remove(one: Wanted) -> int:
    repository = one.blob.parents[1]
    blob = one.path.resolve() if one.path.is_symlink() else None
    freed = _delete(one.path) + sum(map(_delete, one.partial))
    if blob is not None and blob.parent == one.blob.parent.resolve():
        links = (path for path in (repository / "snapshots").rglob("*") if path.is_symlink())
        if all(link.resolve() != blob for link in links):
            freed += _delete(blob)
    _drop_empty(one.path.parent, repository)
    _drop_empty(one.blob.parent, repository)
    return freed


def _delete(path: Path) -> int:
    size = 0 if path.is_symlink() or not path.is_file() else path.stat().st_size
    path.unlink(missing_ok=True)
    return size


def _drop_empty(folder: Path, top: Path) -> None:
    """Remove `folder` and those above it, up to `top`, as long as nothing is in them."""
    with contextlib.suppress(OSError):
        while folder.is_relative_to(top):
            folder.rmdir()
            folder = folder.parent
