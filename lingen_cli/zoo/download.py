"""Weights from the hub into its cache: each file whole and with the right hash, or not there."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from rich.filesize import decimal

from lingen_cli.errors import BadDataError, DiskFullError, NotAvailableError
from lingen_cli.files.printable import printable
from lingen_cli.files.write_errors import write_error
from lingen_cli.terminal.progress import Progress
from lingen_cli.zoo.availability import not_here, state_of
from lingen_cli.zoo.compatibility import file_hash
from lingen_cli.zoo.hub_client import Repository, is_offline
from lingen_plugins.contracts import ModelVariant, Weights
from lingen_plugins.hub.found import REPOSITORY
from lingen_plugins.hub_cache import repository_folder
from lingen_plugins.registry import Registry


@dataclass(frozen=True)
class Wanted:
    """One file of a download."""

    part: str
    file: str
    """Its path in the repository."""
    path: Path
    """Where it is going to be."""
    blob: Path
    """Where its bytes are: `path` is a link to them, where the file system has links."""
    lock: Path
    """Held by the hub's library while it is downloaded."""
    sha256: str
    size: int

    @property
    def partial(self) -> list[Path]:
        """Files with what came of it before a process was killed."""
        return sorted(self.blob.parent.glob(f"{self.sha256}*.incomplete"))

    def is_right(self) -> bool:
        """Tell whether it is there, and is what it should be."""
        return _is(self.path, self.size, self.sha256)


def wanted(weights: Weights) -> list[Wanted]:
    """The files of a download, in the order of `Weights.names`."""
    folder = repository_folder(weights.repository or "")
    locks = folder.parent / ".locks" / folder.name
    paths = weights.files()
    return [
        Wanted(
            part=part,
            file=str(PurePosixPath(weights.folder, name)),
            path=paths[part],
            blob=folder / "blobs" / weights.sha256[part],
            lock=locks / f"{weights.sha256[part]}.lock",
            sha256=weights.sha256[part],
            size=weights.sizes[part],
        )
        for part, name in weights.names().items()
    ]


def pull(variant: ModelVariant, progress: Progress, *, offline: bool = False) -> list[Wanted]:
    """Download what is not here of the weights of `variant`; returns the files that came.

    Raises NotAvailableError (69: no weights exist, no package for downloads, no network, no such
    file on the hub), BadDataError (65: the hub has another file), DiskFullError (74) and others
    where the cache cannot be written. Files that are whole are kept, and the same call goes on with
    the others.
    """
    weights = variant.weights
    if weights is None or weights.repository is None:
        if state_of(variant) != "ready":
            raise NotAvailableError(not_here(variant))
        return []
    missing = [one for one in wanted(weights) if not one.is_right()]
    if not missing:
        return []
    first = missing[0]
    if offline or is_offline():
        state = "is not what it should be" if first.path.is_file() else "is not here"
        raise NotAvailableError(
            f"offline: {first.file} of {weights.repository}, the {first.part} of "
            f"{variant.name!r}, {state}"
        )
    repository = Repository(weights.repository, weights.revision or "", progress.warn)
    for one in missing:
        if (size := repository.size(one.file)) not in (None, one.size):
            raise BadDataError(
                f"wrong size: {one.file} of {weights.repository} has {size} bytes, that of "
                f"{variant.name} has {one.size}; nothing was downloaded"
            )
    try:
        first.blob.parent.mkdir(parents=True, exist_ok=True)
        _check_space(first.blob.parent, sum(one.size for one in missing))
    except OSError as error:
        raise write_error(error, first.blob.parent) from error
    for one in missing:
        _get(one, repository, progress)
    return missing


def repository_of(registry: Registry, name: str) -> tuple[str, str] | None:
    """Repository and revision that `lingen models pull NAME` is about, where NAME is one of open
    weights from elsewhere, or is itself `owner/name[@revision]`."""
    if name in registry.hub_models:
        model = registry.hub_models[name]
        return model.repository, model.revision
    found = None if name in registry.model_variants else REPOSITORY.fullmatch(name)
    return None if found is None else (found[1], found[2] or "main")


def pull_repository(name: str, revision: str, progress: Progress, *, offline: bool) -> Path:
    """Download what is missing of a repository; returns its folder in the cache.

    Raises NotAvailableError (69), and DiskFullError or WriteFailedError (74).
    """
    progress.phase("download", 1)
    folder = Repository(name, revision, progress.warn).snapshot(offline=offline or is_offline())
    progress.advance(1)
    return folder


def _check_space(folder: Path, size: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < size:
        raise DiskFullError(
            f"disk full, free some space and run again: {printable(folder)} has {decimal(free)} "
            f"left, the download needs {decimal(size)}"
        )


def _get(one: Wanted, repository: Repository, progress: Progress) -> None:
    """Download a file. Raises BadDataError (65) where the hub has another one, which is not
    kept."""
    if one.is_right():  # another process was quicker
        return
    if one.path.is_file():
        progress.warn(f"{one.path} has the wrong hash; it is downloaded again")
    found_wrong = one.blob.is_file() and not _is(one.blob, one.size, one.sha256)
    anew = found_wrong or one.path.is_file()
    million = 1_000_000
    progress.phase(f"{one.part} (MB)", -(-one.size // million))
    path = repository.fetch(
        one.file, lambda done: progress.advance(min(done, one.size) // million), anew=anew
    )
    progress.advance(-(-one.size // million))
    if (found := file_hash(path)) != one.sha256:
        path.resolve().unlink()
        path.unlink(missing_ok=True)
        raise BadDataError(
            f"wrong hash: {one.file} of {repository.name} has the SHA-256 {found}, its record says "
            f"{one.sha256}; it was not kept"
        )


def _is(path: Path, size: int, sha256: str) -> bool:
    return path.is_file() and path.stat().st_size == size and file_hash(path) == sha256
