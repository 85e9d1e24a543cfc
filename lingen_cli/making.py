"""What `generate` and `rerun` share: signals, events, progress, and the line that is the result."""

from __future__ import annotations

from collections.abc import Callable

from lingen_cli import console, stopping
from lingen_cli.errors import InvalidOptionError
from lingen_cli.events import Events
from lingen_cli.job import Job
from lingen_cli.progress import Progress


def make(
    prepare: Callable[[Progress], Job],
    *,
    events: str | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Prepare a job, make its video, and print its path (or, with `--json`, its events).

    An error in `prepare` or later is in the events too; it is then raised.
    """
    if as_json and events not in (None, "-"):
        raise InvalidOptionError("--json means --events -, so --events FILE contradicts it")
    target = "-" if as_json else events
    with (
        stopping.announced(),
        Events(target) as stream,
        Progress(stream, quiet=quiet) as progress,
    ):
        job = prepare(progress)
        from lingen_cli.generation import generate

        result = generate(job, progress)
    if target != "-":
        console.result(str(result.path))
