"""Runs commands that make a video: signals, events, progress, the line that is the result."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from rich.filesize import decimal

from lingen_cli.errors import InvalidOptionError
from lingen_cli.files.printable import printable
from lingen_cli.inputs.request import Report, Request
from lingen_cli.requests.context import Context
from lingen_cli.requests.job import Job
from lingen_cli.terminal import console, signals
from lingen_cli.terminal.events import Events
from lingen_cli.terminal.log_file import log
from lingen_cli.terminal.progress import Progress

if TYPE_CHECKING:
    from lingen_cli.generation.generate import Result

Prepare = Callable[[Progress], Job]


def make(request: Request, report: Report) -> None:
    """Make the video of a request, and print its path (or, with `--json`, its events).

    An error in a setting or later is in the events too; it is then raised.
    """
    from lingen_cli.requests.resolve import resolve

    run_job(lambda progress: resolve(request, Context.open(progress)), report)


def run_job(prepare: Prepare, report: Report) -> None:
    """Make a video as `make` does, from a job that `prepare` makes."""
    target = report.target()
    with (
        signals.announced(),
        Events(target) as stream,
        Progress(stream, quiet=report.quiet) as progress,
    ):
        job = prepare(progress)
        if job.output.destination.streams:
            from lingen_cli.generation.stream import stream as send

            if target == "-":
                raise InvalidOptionError(
                    "-o - writes the video to standard output; put the events into a file"
                )
            send(job, progress)
            return
        from lingen_cli.generation.generate import generate
        from lingen_cli.generation.output import mark_reported

        begin = time.monotonic()
        result = generate(job, progress)
        if not (result.skipped or report.quiet):
            _tell_end(result, time.monotonic() - begin, progress)
    log(f"made {result.path}")
    if target != "-":
        console.path(result.path)
    mark_reported(job)


def _tell_end(result: Result, took: float, progress: Progress) -> None:
    """Say how long it took, how large the video is, and how to look at it."""
    files = result.path.iterdir() if result.path.is_dir() else [result.path]
    size = decimal(sum(path.stat().st_size for path in files))
    name = shlex.quote(printable(result.path))
    progress.note(
        f"{result.seconds:g} s of video ({size}) in {took:.0f} s; to look at it: lingen show {name}"
    )
