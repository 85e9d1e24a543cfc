"""`lingen batch --jobs N`: the same batch in several processes of this machine.

Each process goes through the whole list, but begins at a part of its own. An output that is made,
or that another process is at, is passed over, as in every batch. So a process that is killed costs
nothing: what it left is made by the others, or at last by this one. And none outlives this one: its
standard input is a pipe from here, at whose end it stops.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import threading
from collections.abc import Sequence
from typing import IO

from lingen_cli.batch.run_batch import Outcome, Tally, Task, run
from lingen_cli.errors import LockedError, SomeFailedError
from lingen_cli.installation.interpreter import lingen_command
from lingen_cli.terminal import signals
from lingen_cli.terminal.progress import Progress

_PATIENCE = 10.0
"""Seconds in which a process that is asked to stop writes its journal."""
_ENDS_OF_A_BATCH = (0, SomeFailedError.exit_code, LockedError.exit_code)


def run_in_processes(
    tasks: Sequence[Task],
    command: Sequence[str],
    count: int,
    tally: Tally,
    *,
    quiet: bool,
    retries: int,
    wait: float,
) -> None:
    """Make `tasks` with `count` processes of `lingen batch`; `command` is what all have in common.

    The events of the processes go nowhere but into the tally.
    """
    found: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    workers: list[_Worker] = []
    with Progress(tally.events, quiet=quiet) as progress:
        try:
            for number in range(count):
                workers.append(_Worker(command, number, count, found))
            _collect(found, workers, tasks, tally, progress)
        except BaseException:
            _stop(workers)
            raise
        for number, worker in enumerate(workers, start=1):
            if (how := worker.how_it_failed()) is not None:
                progress.warn(f"process {number} of {count} {how}")
    left = [task for task in tasks if task.line not in tally.outcomes]
    run(left, tally, quiet=quiet, retries=retries, wait=wait)


class _Worker:
    """A process that goes through the list, and two threads that read what it tells."""

    def __init__(
        self, command: Sequence[str], number: int, count: int, found: queue.SimpleQueue[str | None]
    ) -> None:
        """Begin; its events go to `found`, and None at their end."""
        options = ["--keep-going", "--quiet", "--wait", "0", "--worker", f"{number + 1}/{count}"]
        self.process = subprocess.Popen(
            lingen_command("batch", *options, "--events", "-", *command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="backslashreplace",
            env=os.environ | _own_device(number, count),
            start_new_session=True,  # a Ctrl-C reaches this process, which passes it on once
        )
        assert self.process.stdout is not None and self.process.stderr is not None
        self.ended = False
        """Its last event was read."""
        self._error = ""
        """The last line that it wrote to standard error."""
        self._threads = [
            threading.Thread(target=self._listen, args=(self.process.stdout, found), daemon=True),
            threading.Thread(target=self._keep, args=(self.process.stderr,), daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def _listen(self, lines: IO[str], found: queue.SimpleQueue[str | None]) -> None:
        line = ""
        with lines:
            for line in lines:
                found.put(line)
        with contextlib.suppress(ValueError, TypeError, KeyError):
            self.ended = json.loads(line)["event"] == "end"
        found.put(None)

    def _keep(self, lines: IO[str]) -> None:
        with lines:
            for line in lines:
                if line.strip():
                    self._error = line.strip()

    def wait(self) -> None:
        """Wait for its end, and for all of its events."""
        self.process.wait()
        assert self.process.stdin is not None
        self.process.stdin.close()
        for thread in self._threads:
            thread.join(_PATIENCE)

    def how_it_failed(self) -> str | None:
        """Return how it ended, if not as a batch ends: with the last that it said."""
        code = self.process.returncode
        if self.ended and code in _ENDS_OF_A_BATCH:
            return None
        return f"ended with {code}" + (f": {self._error}" if self._error else "")


def _own_device(number: int, count: int) -> dict[str, str]:
    """Its GPU, where there are several; its share of the processors, where there is none."""
    import torch

    if devices := torch.cuda.device_count():
        named = os.environ.get("CUDA_VISIBLE_DEVICES")
        names = named.split(",") if named else [str(one) for one in range(devices)]
        return {"CUDA_VISIBLE_DEVICES": names[number % len(names)]}
    threads = max(1, (os.cpu_count() or 1) // count)
    return {} if "OMP_NUM_THREADS" in os.environ else {"OMP_NUM_THREADS": str(threads)}


def _collect(
    found: queue.SimpleQueue[str | None],
    workers: Sequence[_Worker],
    tasks: Sequence[Task],
    tally: Tally,
    progress: Progress,
) -> None:
    """Count what the processes say until all have ended."""
    running = len(workers)
    while running:
        if signals.journal_requested():
            signals.journal_written()
            for worker in workers:
                with contextlib.suppress(ProcessLookupError):
                    worker.process.send_signal(signal.SIGUSR1)
        try:
            line = found.get(timeout=0.5)
        except queue.Empty:
            continue
        if line is None:
            running -= 1
            continue
        with contextlib.suppress(ValueError):
            event = json.loads(line)
            if event["event"] == "job" and event["status"] in ("done", "failed"):
                names = ("line", "output", "status", "code", "message")
                outcome = Outcome(**{name: event[name] for name in names if name in event})
                before = tally.outcomes.get(outcome.line)
                # A line that failed in one process may be done in another, or the other way round.
                if before is None or (before.status, outcome.status) == ("failed", "done"):
                    tally.add(outcome)
                left = tally.left(tasks)
                progress.note(f"{len(tally.outcomes)} of {len(tasks)}: {outcome.output}{left}")
    for worker in workers:
        worker.wait()


def _stop(workers: Sequence[_Worker]) -> None:
    """Have them write their journals and end."""
    for worker in workers:
        with contextlib.suppress(ProcessLookupError):
            worker.process.terminate()
    for worker in workers:
        try:
            worker.process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            worker.process.kill()
        worker.wait()
