"""One JSON object per line, for programs that watch a run (reliability.md C4)."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from lingen_cli.exit_codes import failure_of
from lingen_cli.files.numbered import pictures_at
from lingen_cli.files.write_errors import write_error

VERSION = 1


class Events:
    """Stream of events: into standard output (`-`), a file, or nowhere (None).

    As a context manager it ends the stream with exactly one `end` event, after an `error` event
    where the run failed. A reader that goes away, or a disk that fills up, never stops the run.
    """

    def __init__(self, target: str | None) -> None:
        self._sequence = 0
        self._end: dict[str, Any] = {"output": None, "sha256": None, "frames": 0, "seconds": 0.0}
        self._files = contextlib.ExitStack()
        self._stream: IO[str] | None = None
        if target == "-":
            self._stream = sys.stdout
        elif target is not None:
            try:
                self._stream = self._files.enter_context(
                    io.TextIOWrapper(io.FileIO(target, "w"), encoding="utf-8")
                )
            except OSError as error:
                raise write_error(error, Path(target)) from error

    def emit(self, event: str, **fields: Any) -> None:
        """Write one event at once. `fields` are JSON values."""
        if self._stream is None:
            return
        head = {"v": VERSION, "ts": round(time.time(), 3), "seq": self._sequence, "event": event}
        self._sequence += 1
        try:
            self._stream.write(json.dumps(head | fields, ensure_ascii=True) + "\n")
            self._stream.flush()
        except (OSError, ValueError):
            self._stream = None

    def finish(self, output: Path, frames: int, seconds: float, *, skipped: bool = False) -> None:
        """Tell what the `end` event will say about the published file, or folder of pictures."""
        digest = hashlib.sha256()
        for path in pictures_at(output) or [output]:
            with path.open("rb") as file:
                while block := file.read(1 << 20):
                    digest.update(block)
        self._end = {
            "output": str(output),
            "sha256": digest.hexdigest(),
            "frames": frames,
            "seconds": seconds,
        } | ({"skipped": True} if skipped else {})

    def summarise(self, **fields: Any) -> None:
        """Tell what the `end` event will say where there is not one file."""
        self._end = fields

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        code = 0
        if exc is not None:
            failure = failure_of(exc)
            code = failure.code
            self.emit("error", code=code, message=failure.message)
        self.emit("end", code=code, **self._end)
        with contextlib.suppress(OSError):
            self._files.close()
