"""`lingen batch --jobs N`: the same batch in several processes of this machine.

Each process goes through the whole list, but begins at a part of its own. An output that is made,
or that another process is at, is passed over, as in every batch. So a process that is killed costs
nothing: what it left is made by the others, or at last by this one.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from typing import IO

from lingen_cli.batch.run import Outcome, Tally, Task, run
from lingen_cli.terminal import signals
from lingen_cli.terminal.progress import Progress

_PATIENCE = 10.0
"""Seconds in which a process that is asked to stop writes its journal."""


def run_in_processes(
    tasks: Sequence[Task],
    command: Sequence[str],
    count: int,
    tally: Tally,
    *,
    quiet: bool,
    retries: int,
) -> None:
    """Make `tasks` with `count` processes of `lingen batch`; `command` is what all have in common.

    The events of the processes go nowhere but into the tally.
    """
    found: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    processes: list[subprocess.Popen[str]] = []
    with Progress(tally.events, quiet=quiet) as progress:
        try:
            for number in range(count):
                processes.append(_start(command, number, count))
                _listen(processes[-1], found)
            _collect(found, processes, tasks, tally, progress)
        except BaseException:
            _stop(processes)
            raise
        for number, process in enumerate(processes, start=1):
            if process.returncode not in (0, 1):
                progress.warn(f"process {number} of {count} ended with {process.returncode}")
    left = [task for task in tasks if task.line not in tally.outcomes]
    run(left, tally, quiet=quiet, retries=retries)


def _start(command: Sequence[str], number: int, count: int) -> subprocess.Popen[str]:
    start = [sys.executable, "-m", "lingen_cli", "batch", "--keep-going", "--quiet"]
    return subprocess.Popen(
        [*start, "--worker", f"{number + 1}/{count}", "--events", "-", *command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=os.environ | _own_device(number, count),
        start_new_session=True,  # a Ctrl-C reaches this process, which passes it on once
    )


def _own_device(number: int, count: int) -> dict[str, str]:
    """Its GPU, where there are several; its share of the processors, where there is none."""
    import torch

    if devices := torch.cuda.device_count():
        named = os.environ.get("CUDA_VISIBLE_DEVICES")
        names = named.split(",") if named else [str(one) for one in range(devices)]
        return {"CUDA_VISIBLE_DEVICES": names[number % len(names)]}
    threads = max(1, (os.cpu_count() or 1) // count)
    return {} if "OMP_NUM_THREADS" in os.environ else {"OMP_NUM_THREADS": str(threads)}


def _listen(process: subprocess.Popen[str], found: queue.SimpleQueue[str | None]) -> None:
    """Pass on the lines of a process, and None at its end."""

    def read(lines: IO[str]) -> None:
        with lines:
            for line in lines:
                found.put(line)
        found.put(None)

    assert process.stdout is not None
    threading.Thread(target=read, args=(process.stdout,), daemon=True).start()


def _collect(
    found: queue.SimpleQueue[str | None],
    processes: Sequence[subprocess.Popen[str]],
    tasks: Sequence[Task],
    tally: Tally,
    progress: Progress,
) -> None:
    """Count what the processes say until all have ended."""
    running = len(processes)
    while running:
        if signals.journal_asked():
            signals.journal_written()
            for process in processes:
                with contextlib.suppress(ProcessLookupError):
                    process.send_signal(signal.SIGUSR1)
        try:
            line = found.get(timeout=0.5)
        except queue.Empty:
            continue
        if line is None:
            running -= 1
            continue
        with contextlib.suppress(ValueError):
            event = json.loads(line)
            if event["event"] == "job" and event["status"] != "skipped":
                outcome = _outcome(event)
                _count(outcome, tally)
                progress.note(f"{len(tally.outcomes)} of {len(tasks)}: {outcome.output}")
    for process in processes:
        process.wait()


def _outcome(event: dict[str, object]) -> Outcome:
    names = ("line", "output", "status", "code", "message")
    return Outcome(**{name: event[name] for name in names if name in event})  # type: ignore[arg-type]


def _count(outcome: Outcome, tally: Tally) -> None:
    """A line that failed in one process may be done in another, and the other way round."""
    before = tally.outcomes.get(outcome.line)
    if before is None or (before.status, outcome.status) == ("failed", "done"):
        tally.add(outcome)


def _stop(processes: Sequence[subprocess.Popen[str]]) -> None:
    """Have them write their journals and end."""
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
    for process in processes:
        try:
            process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
