"""One JSON object per line, for programs that watch a run (reliability.md C4)."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import select
import socket
import stat
import sys
import time
from pathlib import Path
from typing import IO, Any, Self

from lingen_cli.exit_codes import failure_of
from lingen_cli.files.numbered import images_at
from lingen_cli.files.write_errors import write_error
from lingen_cli.terminal import console

VERSION = 1
PATIENCE = 10.0
"""Seconds for a reader that does not read."""
_PART = select.PIPE_BUF
"""Bytes that a pipe which is ready takes without waiting."""


class Events:
    """Stream of events: into standard output (`-`), a file, or nowhere (None).

    As a context manager it ends the stream with exactly one `end` event, after an `error` event
    where the run failed. A reader that goes away, one that does not read, or a disk that fills up
    never stops the run.
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
        self._pipe = None if self._stream is None else _Pipe.of(self._stream, self._files)

    def emit(self, event: str, **fields: Any) -> None:
        """Write one event at once. `fields` are JSON values."""
        if self._stream is None:
            return
        line = self._line(event, fields)
        try:
            if self._pipe is not None:
                self._pipe.write(line.encode(), last=event == "end")
            else:
                self._stream.write(line)
                self._stream.flush()
        except (OSError, ValueError):
            self._stream = None

    def _line(self, event: str, fields: dict[str, Any]) -> str:
        head = {"v": VERSION, "ts": round(time.time(), 3), "seq": self._sequence, "event": event}
        self._sequence += 1
        return json.dumps(head | fields, ensure_ascii=True) + "\n"

    def finish(self, output: Path, frames: int, seconds: float, *, skipped: bool = False) -> None:
        """Tell what the `end` event will say about the published file, or folder of images."""
        digest = hashlib.sha256()
        for path in images_at(output) or [output]:
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

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        code = 0
        if error is not None:
            failure = failure_of(error)
            code = failure.code
            self.emit("error", code=code, message=failure.message)
        self.emit("end", code=code, **self._end)
        with contextlib.suppress(OSError):
            self._files.close()


class _Pipe:
    """A pipe or a socket whose reader may have stopped reading.

    It is waited for once; then lines are dropped until it reads again. A line that has begun is
    finished before the next.
    """

    def __init__(self, descriptor: int, sender: socket.socket | None) -> None:
        self._descriptor, self._sender = descriptor, sender
        self._rest = b""
        self._stalled = False
        self._ready = select.poll()
        self._ready.register(descriptor, select.POLLOUT)

    @classmethod
    def of(cls, stream: IO[str], files: contextlib.ExitStack) -> Self | None:
        """The pipe that `stream` writes into; None where it is something else. `files` closes what
        is opened for it."""
        try:
            descriptor = stream.fileno()
            mode = os.fstat(descriptor).st_mode
        except (OSError, ValueError):
            return None
        if stat.S_ISSOCK(mode):
            return cls(descriptor, files.enter_context(socket.socket(fileno=os.dup(descriptor))))
        return cls(descriptor, None) if stat.S_ISFIFO(mode) else None

    def write(self, line: bytes, *, last: bool) -> None:
        """Write a line, or drop it. Raises OSError where the reader is gone."""
        until = time.monotonic() + (0.0 if self._stalled and not last else PATIENCE)
        self._rest = self._written(self._rest, until)
        if not self._rest:
            self._rest = self._written(line, until)
        whole = not self._rest
        if self._rest == line:
            self._rest = b""
        if not whole and not self._stalled:
            console.warning(
                f"nobody has read the events for {PATIENCE:g} s: they are dropped until "
                "somebody does"
            )
        self._stalled = not whole

    def _written(self, data: bytes, until: float) -> bytes:
        """What is left of `data` when nothing more could be written before `until`."""
        while data:
            left = max(0.0, until - time.monotonic())
            if not self._ready.poll(left * 1000):
                return data
            try:
                data = data[self._send(data[:_PART]) :]
            except BlockingIOError:  # a socket that has less room, or a pipe that others fill
                if left == 0:
                    return data
                time.sleep(min(left, 0.01))
        return data

    def _send(self, part: bytes) -> int:
        if self._sender is not None:
            return self._sender.send(part, socket.MSG_DONTWAIT)
        return os.write(self._descriptor, part)
