"""`lingen batch`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from lingen_cli.commands.options import grouped_options
from lingen_cli.errors import BadDataError, InvalidOptionError, LockedError, SomeFailedError
from lingen_cli.files.printable import printable
from lingen_cli.inputs.request import OUTPUT, Report
from lingen_cli.terminal import console, signals
from lingen_cli.usage.completion import completed

_output = partial(typer.Option, rich_help_panel=OUTPUT)
_run = partial(typer.Option, rich_help_panel="Which jobs, and what if one fails")
_where = partial(typer.Option, rich_help_panel="Where they run")


@grouped_options
def batch(
    report: Report,
    jobs: Annotated[
        Path,
        typer.Argument(
            metavar="JOBS",
            help="A list of jobs: .txt (a prompt a line), .jsonl, .json, .csv or .toml.",
            autocompletion=completed("jobs"),
        ),
    ],
    folder: Annotated[
        Path | None,
        _output(
            "--output",
            "-o",
            help="The folder for the videos.",
            show_default="one with the name of JOBS, here",
        ),
    ] = None,
    name: Annotated[
        str, _output(help="File names, from index, prompt, seed, id, command and model.")
    ] = "{index}-{prompt}",
    gallery: Annotated[
        bool,
        _output(
            "--gallery", help="Write gallery.html beside the videos, a page that shows them all."
        ),
    ] = False,
    keep_going: Annotated[
        bool, _run("--keep-going", help="Make the good lines, though others are bad.")
    ] = False,
    retry: Annotated[int, _run(min=0, max=100, help="More attempts at a job.")] = 0,
    wait: Annotated[
        float,
        _run(
            metavar="SECONDS",
            min=0,
            max=86400,
            help="How long to wait, at the end, for outputs that other runs are making.",
        ),
    ] = 30.0,
    shard: Annotated[str, _run(help="Only a part: 2/8 is the second of eight.")] = "1/1",
    check: Annotated[bool, _run("--check", help="Look for mistakes and make nothing.")] = False,
    processes: Annotated[
        int | None,
        _where(
            "--jobs",
            min=1,
            max=1024,
            help="Processes, or actors on Ray, each with a model of its own.",
        ),
    ] = None,
    ray: Annotated[
        str | None, _where(metavar="ADDRESS", help="On a Ray cluster: local, auto or host:port.")
    ] = None,
    slurm: Annotated[
        int | None,
        _where(metavar="PARTS", min=1, max=10000, help="Submit a Slurm array of so many parts."),
    ] = None,
    slurm_option: Annotated[
        list[str] | None,
        _where(metavar="KEY=VALUE", help="What Slurm must know: partition=gpu, gpus-per-node=1."),
    ] = None,
    slurm_cluster: Annotated[
        str, _where(help="slurm, or submitit's own local or debug, to try it.")
    ] = "slurm",
    worker: Annotated[str | None, typer.Option(hidden=True)] = None,
) -> None:
    """Make a list of videos. Run it again to make only the missing ones.

    Every line is checked before the first video is made. A line may hold any option of generate,
    extend, continue, branch, retake or rerun, by its name.
    """
    from lingen_cli.batch.job_list import read_jobs
    from lingen_cli.batch.run_batch import Tally, beginning_at, plan, run
    from lingen_cli.batch.run_batch import shard as part_of
    from lingen_cli.terminal.events import Events
    from lingen_cli.terminal.progress import Progress

    to = report.target()
    if slurm is not None and (ray is not None or processes is not None or shard != "1/1"):
        raise InvalidOptionError("--slurm is its own way to spread jobs; leave out the others")
    if slurm_cluster not in ("slurm", "local", "debug"):
        raise InvalidOptionError("--slurm-cluster must be slurm, local or debug")
    lines = part_of(read_jobs(jobs), shard)
    target = folder or Path(jobs.stem)
    with signals.announced(), Events(to) as stream:
        # Warnings come when a job is made; here they would come twice.
        silent = Progress(quiet=True)
        tasks, problems = plan(lines, target, name, silent, outputs=check)
        for line, _, message in problems:
            console.note(f"{printable(jobs)}:{line}: {message}")
        summary = f"{len(problems)} of {len(lines)} lines cannot be made"
        if problems and not keep_going:
            raise BadDataError(f"{printable(jobs)}: {summary}; --keep-going makes the others")
        if check:
            console.note(f"lingen: {len(tasks)} jobs can be made")
            if problems:
                raise SomeFailedError(summary)
            return
        target.mkdir(parents=True, exist_ok=True)
        same = ["--output", str(target), "--name", name, "--retry", str(retry), "--", str(jobs)]
        if slurm is not None:
            from lingen_cli.batch.on_slurm import submit

            command, parts = ["--wait", str(wait), *same], min(slurm, len(lines))
            submitted = submit(target, command, parts, slurm_cluster, slurm_option or [])
            for job in submitted if to != "-" else ():
                console.result(str(job.job_id))
            if slurm_cluster == "debug":  # submitit runs them here
                codes = [job.result() for job in submitted]
                if any(codes):
                    raise SomeFailedError("some jobs failed")
            return
        tally = Tally(stream)
        if worker is not None:
            signals.end_with_parent()
            tasks = beginning_at(tasks, worker)
        if ray is not None:
            from lingen_cli.batch.on_ray import Share, run_on_ray

            share = Share(str(jobs), str(target), name, retry, str(Path.cwd()), wait)
            run_on_ray(tasks, share, ray, processes, tally, report.quiet)
        elif processes is not None and processes > 1:
            from lingen_cli.batch.processes import run_in_processes

            command = ["--shard", shard, *same]
            run_in_processes(
                tasks, command, processes, tally, quiet=report.quiet, retries=retry, wait=wait
            )
        else:
            run(tasks, tally, quiet=report.quiet, retries=retry, wait=wait)
        if gallery and any(task.output.exists() for task in tasks):
            from lingen_cli.gallery.page import write_gallery

            write_gallery([target], target / "gallery.html", jobs.stem, overwrite=True)
        left = tally.those("failed") + tally.those("held")
        made, there, held = (len(tally.those(one)) for one in ("done", "skipped", "held"))
        failed = len(problems) + len(left) - held
        stream.summarise(done=made, skipped=there, held=held, failed=failed)
        if not report.quiet:
            others = f"{held} held by other runs, " if held else ""
            console.note(f"lingen: {made} made, {there} there already, {others}{failed} failed")
        for one in left:
            console.note(f"{printable(jobs)}:{one.line}: exit code {one.code}: {one.message}")
        if to != "-":
            for task in tasks:
                if task.output.exists():
                    console.path(task.output)
        if failed:
            raise SomeFailedError(f"{failed} of {len(lines)} jobs failed")
        if held:
            raise LockedError(
                f"{held} of {len(lines)} outputs are held by other runs; the same again makes what "
                "they leave"
            )
