"""The hub's side of a download: its addresses, what it says of a file, and what its errors mean."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lingen_cli.errors import NotAvailableError
from lingen_cli.files.printable import printable
from lingen_cli.files.write_errors import write_error
from lingen_plugins.hub_cache import cache_root

READ = ("*.json", "*.safetensors", "*.txt", "*.model", "*.jinja", "*.toml", "LICENSE*", "*.md")
"""Files of a repository that are downloaded: weights of other kinds are never read."""
_TRUE = {"1", "ON", "YES", "TRUE"}


class Repository:
    """One commit of a model repository: needs the package huggingface_hub, and a network.

    Raises NotAvailableError (69) where the package is missing.
    """

    def __init__(self, name: str, revision: str, warn: Callable[[str], None]) -> None:
        if find_spec("huggingface_hub") is None:
            raise NotAvailableError(
                "downloads need the package huggingface_hub: pip install 'lingen[hub]'"
            )
        os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # before it is imported
        from huggingface_hub.utils import disable_progress_bars  # type: ignore[attr-defined]

        disable_progress_bars()
        library = logging.getLogger("huggingface_hub")
        library.handlers[:] = [_Passing(warn)]
        self.name = name
        self.revision = revision

    def size(self, file: str) -> int | None:
        """Bytes of a file, or None where the hub does not say. Raises NotAvailableError (69)."""
        from huggingface_hub import get_hf_file_metadata, hf_hub_url

        with self._explained(file, None):
            return get_hf_file_metadata(hf_hub_url(self.name, file, revision=self.revision)).size

    def snapshot(self, *, offline: bool) -> Path:
        """The folder of the commit in the cache of the library: what is missing of it is downloaded
        first, without files that lingen never reads.

        Raises NotAvailableError (69), and DiskFullError or WriteFailedError (74).
        """
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import LocalEntryNotFoundError

        with self._explained("the repository", Path(self.name)):
            try:
                found = snapshot_download(
                    self.name,
                    revision=self.revision,
                    allow_patterns=list(READ),
                    cache_dir=cache_root(),
                    local_files_only=offline,
                )
            except LocalEntryNotFoundError as error:
                if not offline:
                    raise
                raise NotAvailableError(
                    f"offline: {self.name} at {self.revision} is not in the cache"
                ) from error
        return Path(found)

    def fetch(self, file: str, on_bytes: Callable[[int], None], *, anew: bool) -> Path:
        """The path in the cache of the library of a file, which is downloaded if it is not there,
        or `anew`. Where the connection is lost, it goes on; a file that was not whole when the
        process ended begins again.

        `on_bytes` is told how many have come. Raises NotAvailableError (69), and DiskFullError or
        WriteFailedError (74).
        """
        from huggingface_hub import hf_hub_download

        with self._explained(file, Path(self.name)):
            found = hf_hub_download(
                self.name,
                file,
                revision=self.revision,
                cache_dir=cache_root(),
                force_download=anew,
                tqdm_class=_bar(on_bytes),
            )
        return Path(found)

    @contextmanager
    def _explained(self, file: str, target: Path | None) -> Iterator[None]:
        """Errors of the library, of the network and of the disk as ours."""
        from huggingface_hub.errors import HfHubHTTPError

        # Version 1 of the library has its HTTPError from httpx, version 2 from httpx2.
        expected: tuple[type[Exception], ...] = (OSError, *HfHubHTTPError.__bases__)
        try:
            yield
        except expected as error:
            if target is not None and isinstance(error, OSError) and error.errno is not None:
                raise write_error(error, target) from error
            why = self._meaning(error, file, kept=target is not None)
            raise NotAvailableError(why) from error

    def _meaning(self, error: Exception, file: str, *, kept: bool) -> str:
        """Say what an error of the library means."""
        from huggingface_hub import errors
        from huggingface_hub.constants import ENDPOINT

        page = f"{ENDPOINT}/{self.name}"
        if isinstance(error, errors.GatedRepoError):
            return (
                f"{page} asks for its license to be accepted: do that on the page, then log in "
                "with `hf auth login`"
            )
        refused = isinstance(error, errors.HfHubHTTPError) and error.response.status_code == 401
        if refused or isinstance(error, errors.RepositoryNotFoundError):
            return f"there is no {page}, or it is private: then log in with `hf auth login`"
        if isinstance(error, errors.RevisionNotFoundError):
            return f"{page} has no commit {self.revision}"
        if isinstance(error, errors.EntryNotFoundError):
            return f"{page} has no file {file} at {self.revision}"
        if isinstance(error, errors.HfHubHTTPError):
            return f"{page} answers with the error {error.response.status_code} for {file}"
        if isinstance(error, errors.OfflineModeIsEnabled):
            return f"offline: {file} of {page} cannot be downloaded"
        reason = " ".join(str(error).split()) or type(error).__name__
        if not kept:
            return f"cannot reach {page}: {printable(reason)}"
        return (
            f"{file} of {page} did not arrive whole: {printable(reason)}; files that are whole are "
            "kept, and the same command goes on with the others"
        )


def is_offline() -> bool:
    """Tell whether the hub's own variable forbids downloads."""
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in _TRUE


def _bar(on_bytes: Callable[[int], None]) -> type[Any]:
    """A bar of the library that draws nothing, and tells `on_bytes` of all that have come."""
    from huggingface_hub.utils import tqdm  # type: ignore[attr-defined]

    class Bar(tqdm):
        def __init__(self, *arguments: Any, **choices: Any) -> None:
            super().__init__(*arguments, **choices | {"disable": True})  # type: ignore[no-untyped-call]
            self._come = 0

        def update(self, n: float | None = 1) -> None:
            self._come += int(n or 0)
            on_bytes(self._come)

    return Bar


class _Passing(logging.Handler):
    """What the library warns of, such as a connection that was lost and is tried again."""

    def __init__(self, warn: Callable[[str], None]) -> None:
        super().__init__(logging.WARNING)
        self._warn = warn

    def emit(self, record: logging.LogRecord) -> None:
        self._warn(" ".join(record.getMessage().split()))
