"""`lingen batch`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lingen_cli.commands.options import OUTPUT, AsJson, Events, Quiet

_RUN = "Which jobs, and what if one fails"


def batch(
    jobs: Annotated[
        Path,
        typer.Argument(
            metavar="JOBS", help="A list of jobs: .txt (a prompt a line), .jsonl, .csv or .toml."
        ),
    ],
    folder: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="The folder for the videos; else one with the name of JOBS, here.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    name: Annotated[
        str,
        typer.Option(
            help="File names, from index, prompt, seed, id, command and model.",
            rich_help_panel=OUTPUT,
        ),
    ] = "{index}-{prompt}",
    keep_going: Annotated[
        bool,
        typer.Option(
            "--keep-going", help="Make the good lines, though others are bad.", rich_help_panel=_RUN
        ),
    ] = False,
    retry: Annotated[
        int,
        typer.Option(min=0, max=100, help="More attempts at a job.", rich_help_panel=_RUN),
    ] = 0,
    shard: Annotated[
        str,
        typer.Option(help="Only a part: 2/8 is the second of eight.", rich_help_panel=_RUN),
    ] = "1/1",
    check: Annotated[
        bool,
        typer.Option("--check", help="Look for mistakes and make nothing.", rich_help_panel=_RUN),
    ] = False,
    events: Events = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Make many videos; again, make what is missing. Prints the path of each.

    Every line is checked before the first video is made. A line may hold any option of generate,
    extend, continue, branch, retake or rerun, by its name.
    """
    from lingen_cli import console, stopping
    from lingen_cli.batch import plan, run
    from lingen_cli.batch import shard as part_of
    from lingen_cli.errors import BadDataError, InvalidOptionError, SomeFailedError
    from lingen_cli.events import Events as EventStream
    from lingen_cli.joblist import read_jobs
    from lingen_cli.media.write_errors import printable
    from lingen_cli.progress import Progress

    if as_json and events not in (None, "-"):
        raise InvalidOptionError("--json means --events -, so --events FILE contradicts it")
    lines = part_of(read_jobs(jobs), shard)
    target = folder or Path(jobs.stem)
    to = "-" if as_json else events
    with stopping.announced(), EventStream(to) as stream:
        # Warnings come when a job is made; here they would come twice.
        tasks, problems = plan(lines, target, name, Progress(EventStream(None), quiet=True))
        for line, _, message in problems:
            console.note(f"{printable(jobs)}:{line}: {message}")
        told = f"{len(problems)} of {len(lines)} lines cannot be made"
        if problems and not keep_going:
            raise BadDataError(f"{printable(jobs)}: {told}; --keep-going makes the others")
        if check:
            console.note(f"lingen: {len(tasks)} jobs can be made")
            if problems:
                raise SomeFailedError(told)
            return
        target.mkdir(parents=True, exist_ok=True)
        tally = run(tasks, stream, quiet=quiet, retries=retry)
        failed = len(problems) + len(tally.failed)
        stream.summarise(done=tally.done, skipped=tally.skipped, failed=failed)
        if not quiet:
            console.note(
                f"lingen: {tally.done} made, {tally.skipped} there already, {failed} failed"
            )
        for line, code, message in tally.failed:
            console.note(f"{printable(jobs)}:{line}: exit code {code}: {message}")
        if to != "-":
            for task in tasks:
                if task.output.exists():
                    console.result(str(task.output))
        if failed:
            raise SomeFailedError(f"{failed} of {len(lines)} jobs failed")
