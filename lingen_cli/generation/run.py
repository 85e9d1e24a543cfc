"""Runs commands that make a video: signals, events, progress, the line that is the result."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace

from lingen_cli.errors import InvalidOptionError
from lingen_cli.requests.job import Job
from lingen_cli.terminal import console, signals
from lingen_cli.terminal.events import Events
from lingen_cli.terminal.log_file import log
from lingen_cli.terminal.progress import Progress

Prepare = Callable[[Progress], Job]
_collected: ContextVar[list[Prepare] | None] = ContextVar("collected", default=None)


@contextmanager
def collected() -> Iterator[list[Prepare]]:
    """While inside, commands hand over what they would make, and make nothing."""
    found: list[Prepare] = []
    token = _collected.set(found)
    try:
        yield found
    finally:
        _collected.reset(token)


def make(
    prepare: Prepare,
    *,
    events: str | None,
    as_json: bool,
    quiet: bool,
    no_metadata: bool = False,
) -> None:
    """Prepare a job, make its video, and print its path (or, with `--json`, its events).

    An error in `prepare` or later is in the events too; it is then raised.
    """
    if (others := _collected.get()) is not None:
        others.append(prepare)
        return
    if as_json and events not in (None, "-"):
        raise InvalidOptionError("--json means --events -, so --events FILE contradicts it")
    target = "-" if as_json else events
    with (
        signals.announced(),
        Events(target) as stream,
        Progress(stream, quiet=quiet) as progress,
    ):
        job = prepare(progress)
        if no_metadata:
            job = replace(job, metadata=False)
        if job.destination.streams:
            from lingen_cli.generation.stream import stream as send

            if target == "-":
                raise InvalidOptionError(
                    "-o - writes the video to standard output; put the events into a file"
                )
            send(job, progress)
            return
        from lingen_cli.generation.generate import generate

        result = generate(job, progress)
    log(f"made {result.path}")
    if target != "-":
        console.path(result.path)
