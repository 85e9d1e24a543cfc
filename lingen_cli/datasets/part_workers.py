"""Processes that prepare the parts of footage, each with an autoencoder and one thread.

A decoder that a damaged file brings down takes its process with it, and nothing else: the file is
left out, and its part begins anew in another process.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import signal
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from lingen_cli.datasets.footage_windows import LeftOut
from lingen_cli.datasets.prepare_part import Part, prepare_part
from lingen_cli.errors import BugError, OutOfMemory
from lingen_cli.installation.interpreter import inherited_safe_path

_GRACE = 5.0
"""Seconds for a process to end."""


def prepare_parts(
    parts: Sequence[Part], jobs: int, on_part: Callable[[Part], None] = lambda part: None
) -> None:
    """Prepare all parts in so many processes; `on_part` is called with each that is done.

    Raises what a process has raised, and OutOfMemory (71) where the system has killed one.
    """
    left = list(reversed(parts))
    workers: list[_Worker] = []
    try:
        with inherited_safe_path():
            workers += [_Worker() for _ in range(min(jobs, len(parts)))]
        for worker in workers:
            worker.give(left.pop())
        while any(worker.part for worker in workers):
            ready = wait([worker.connection for worker in workers if worker.part])
            for number, worker in enumerate(workers):
                if worker.connection not in ready or worker.part is None:
                    continue
                part = worker.part
                if worker.is_done():
                    on_part(part)
                elif not worker.process.is_alive():
                    left.append(_without_the_file(worker))
                    worker.end()
                    with inherited_safe_path():
                        workers[number] = worker = _Worker()
                if worker.part is None and left:
                    worker.give(left.pop())
    finally:
        for worker in workers:
            worker.end()


class _Worker:
    """A process, the part that it is at, and the file that it has open."""

    def __init__(self) -> None:
        forks = "forkserver" in multiprocessing.get_all_start_methods()  # not on Windows
        get_context = multiprocessing.get_context
        context = get_context("forkserver") if forks else get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process: BaseProcess = context.Process(target=_work, args=(theirs,), daemon=True)
        self.process.start()
        theirs.close()
        self.part: Part | None = None
        self.file: str | None = None

    def give(self, part: Part) -> None:
        """Begin a part."""
        self.part, self.file = part, None
        with contextlib.suppress(OSError):  # it has died: that is seen when it is waited for
            self.connection.send(part)

    def is_done(self) -> bool:
        """Read what it says; returns whether its part is done. Raises what it has raised."""
        try:
            said: Any = self.connection.recv()
        except (EOFError, OSError):
            self.process.join(_GRACE)
            return False
        if isinstance(said, Exception):
            raise said
        self.file = said
        if said is None:
            self.part = None
        return said is None

    def end(self) -> None:
        """Stop the process."""
        self.connection.close()
        self.process.terminate()
        self.process.join(_GRACE)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


def _without_the_file(worker: _Worker) -> Part:
    """The part of a process that has died, without the file that it had open. Raises OutOfMemory
    (71) and BugError (70) where that is not to blame."""
    code, part, file = worker.process.exitcode, worker.part, worker.file
    assert part is not None
    if code == -signal.SIGKILL:
        raise OutOfMemory(
            "a process was killed, as the system does when memory runs out; the same command goes "
            "on, with --jobs 1 in less memory"
        )
    if file is None:
        raise BugError(f"a process ended with status {code} before it had read anything")
    seconds = max(one.end for one in part.stretches)
    why = f"no decoder survives it (exit status {code})"
    return replace(part, skipped=(*part.skipped, LeftOut(file, 0.0, seconds, why)))


def _work(connection: Connection) -> None:
    """Prepare parts until there are no more, or the process that began this one is gone."""
    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the first process decides when to stop
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(1)
    with contextlib.suppress(EOFError, OSError):
        while True:
            part: Part = connection.recv()
            try:
                prepare_part(part, connection.send)
            except Exception as error:
                connection.send(_portable(error))
                return
            connection.send(None)


def _portable(error: Exception) -> Exception:
    """An error that another process can read."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
