"""Many videos in one run: every line checked first, each video made once, the model read once.

What is done is known from the videos themselves: an output whose recipe is what the line asks for
is done, and a run that was stopped inside one goes on there. So there is no ledger that could
contradict the files: the same command again does what is missing.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from lingen_cli.batch.job_list import Line
from lingen_cli.errors import (
    BadDataError,
    InvalidOptionError,
    LockedError,
    OutputExistsError,
    PermissionDeniedError,
)
from lingen_cli.exit_codes import failure_of
from lingen_cli.files.names import slug
from lingen_cli.files.printable import printable
from lingen_cli.files.work_folder import check_target
from lingen_cli.generation.generate import Load, generate
from lingen_cli.generation.output import is_made
from lingen_cli.inputs.output_path import SUFFIX, SUFFIXES
from lingen_cli.inputs.request import Request
from lingen_cli.inputs.request_options import parse_request
from lingen_cli.requests.context import Context
from lingen_cli.requests.job import Job
from lingen_cli.requests.resolve import resolve
from lingen_cli.terminal.clock import minutes
from lingen_cli.terminal.events import Events
from lingen_cli.terminal.progress import Progress

_OURS = frozenset({"command", "id", "output"})
_WORTH_ANOTHER = frozenset({70, 71, 74})
_SECONDS_BETWEEN_LOOKS = 1.0
_FIELD = re.compile(r"\{([^{}]*)\}")
_FIELDS = ("index", "prompt", "seed", "id", "command", "model")


@dataclass(frozen=True)
class Task:
    """A line that can be made: its output, and what it asks for."""

    line: int
    output: Path
    request: Request
    work: int = 1
    """Pixels that are computed, a guess at how long it takes beside the others."""

    def job(self, progress: Progress) -> Job:
        """The job of the line. Raises as `resolve`."""
        return resolve(self.request, Context.open(progress))


@dataclass(frozen=True)
class Outcome:
    """Outcome of a line: `status` is `done`, `skipped` (there already), `failed`, or `held` where
    another run is making that output."""

    line: int
    output: str
    status: str
    code: int = 0
    message: str = ""


@dataclass
class Tally:
    """Outcomes of all lines that could be made; each goes to `events` as it ends."""

    events: Events
    outcomes: dict[int, Outcome] = field(default_factory=dict)
    """By their lines."""
    begin: float = field(default_factory=time.monotonic)

    def add(self, outcome: Outcome) -> None:
        """One more; what is done stays done."""
        self.outcomes[outcome.line] = outcome
        facts = asdict(outcome)
        if outcome.status not in ("failed", "held"):
            del facts["code"], facts["message"]
        self.events.emit("job", **facts)

    def left(self, tasks: Sequence[Task]) -> str:
        """Tell how long all that is not made yet will take, as `, 1:05 left for all`; empty before
        the first is made."""
        made = {one.line for one in self.those("done")}
        done = sum(task.work for task in tasks if task.line in made)
        open_ = sum(task.work for task in tasks if task.line not in self.outcomes)
        if not done or not open_:
            return ""
        return f", {minutes((time.monotonic() - self.begin) * open_ / done)} left for all"

    def those(self, status: str) -> list[Outcome]:
        """The lines that came to `status`, in their order."""
        return [one for _, one in sorted(self.outcomes.items()) if one.status == status]


def plan(
    lines: Sequence[Line],
    folder: Path,
    template: str,
    progress: Progress,
    *,
    outputs: bool = False,
) -> tuple[list[Task], list[tuple[int, int, str]]]:
    """Return what can be made, and line, exit code and message of what cannot.

    All is checked that can be checked without torch, and with `outputs` what lies at their places.
    Raises InvalidOptionError (2) for a template with unknown fields.
    """
    for name in _FIELD.findall(template):
        if name not in _FIELDS:
            raise InvalidOptionError(f"--name knows {', '.join(_FIELDS)}, not {{{name}}}")
    tasks: list[Task] = []
    problems: list[tuple[int, int, str]] = []
    taken: dict[Path, int] = {}
    for line in lines:
        try:
            if line.problem is not None:
                raise BadDataError(line.problem)
            request = _request(line, _output(line, folder, template))
            job = resolve(request, Context.open(progress))
            output, pattern = job.output.destination.path, job.output.destination.pattern
            assert output is not None
            place = output.resolve()
            if place in taken:
                raise BadDataError(f"the output {output.name} is that of line {taken[place]} too")
            task = Task(line.number, output, request, _work_of(job))
            _check_folder(output.parent)
            if outputs and not is_made(job):
                check_target(output, overwrite=False, pattern=pattern)
        except Exception as error:
            failure = failure_of(error)
            problems.append((line.number, failure.code, failure.message))
        else:
            taken[place] = line.number
            tasks.append(task)
    return tasks, problems


def _work_of(job: Job) -> int:
    frames = sum(one.frames * one.sampling.steps for one in job.timeline.sampled)
    return max(1, frames * job.timeline.width * job.timeline.height)


def run(tasks: Sequence[Task], tally: Tally, *, quiet: bool, retries: int, wait: float) -> None:
    """Make what is missing, in order; a job that fails is reported and passed over.

    At the end, outputs that other runs hold are waited for, up to `wait` seconds: a run that ends
    without its video leaves it to this one.
    """
    load = loader()

    def attempt(some: Sequence[Task]) -> list[Outcome]:
        held = []
        for number, task in enumerate(some, start=1):
            with Progress(tally.events, quiet=quiet) as progress:
                left = tally.left(tasks)
                progress.note(f"job {number} of {len(some)}, line {task.line}: {task.output}{left}")
                outcome = make_one(task, progress, load, retries)
                if outcome.status == "failed":
                    progress.note(f"line {task.line} failed: {outcome.message}")
            if outcome.status == "held":
                held.append(outcome)
            else:
                tally.add(outcome)
        return held

    until_free(tasks, attempt, tally, wait)


def until_free(
    tasks: Sequence[Task],
    attempt: Callable[[Sequence[Task]], Sequence[Outcome]],
    tally: Tally,
    wait: float,
) -> None:
    """Call `attempt` with `tasks`, and for up to `wait` seconds with those of which it returns that
    they are held; what is held then is reported so."""
    held = attempt(tasks)
    until = time.monotonic() + wait
    while held and time.monotonic() < until:
        time.sleep(_SECONDS_BETWEEN_LOOKS)
        lines = {one.line for one in held}
        held = attempt([task for task in tasks if task.line in lines])
    for outcome in held:
        tally.add(outcome)


def make_one(task: Task, progress: Progress, load: Load, retries: int) -> Outcome:
    """Make one video, if it is not there, with up to `retries` more attempts."""
    line, output = task.line, str(task.output)
    with contextlib.suppress(OSError):  # reported by what writes there
        task.output.parent.mkdir(parents=True, exist_ok=True)
    for attempt in range(retries + 1):
        try:
            made = generate(task.job(progress), progress, load)
        except LockedError as error:
            progress.note(f"line {line}: another run is at it")
            return Outcome(line, output, "held", error.exit_code, str(error))
        except Exception as error:
            failure = failure_of(error)
            if attempt == retries or failure.code not in _WORTH_ANOTHER:
                return Outcome(line, output, "failed", failure.code, failure.message)
            progress.warn(f"line {line}, attempt {attempt + 1}: {failure.message}")
        else:
            return Outcome(line, output, "skipped" if made.skipped else "done")
    raise AssertionError("no attempt was made")


def loader() -> Load:
    """Reads each model once."""
    from lingen_cli.generation.generate import load_for

    loaded: dict[tuple[Any, ...], Any] = {}

    def load(job: Job) -> Any:
        key = (
            tuple(job.model.hashes.items()),
            job.runtime.device,
            job.runtime.dtype,
            job.runtime.threads,
            job.runtime.offload,
            job.weights.loras,
            job.weights.denoisers,
            job.weights.quantize,
        )
        if key not in loaded:
            loaded.clear()
            loaded[key] = load_for(job)
        return loaded[key]

    return load


def _output(line: Line, folder: Path, template: str) -> Path:
    """Where a line's video goes: inside `folder`, whatever it says (reliability.md C10)."""
    given = line.values.get("output")
    if given is not None:
        name = str(given)
        if not name.isprintable():
            raise BadDataError("control characters in the output")
    else:
        values = {key: str(line.values.get(key, "")) for key in _FIELDS}
        values["prompt"] = slug(values["prompt"] or str(line.values.get("video", "")))
        values = {key: slug(value) if value else "" for key, value in values.items()}
        values["index"] = f"{line.index:04d}"
        name = _FIELD.sub(lambda found: values[found[1]], template)
    path = folder / (name if Path(name).suffix.lower() in SUFFIXES else f"{name}{SUFFIX}")
    if not path.resolve().is_relative_to(folder.resolve()):
        raise BadDataError(f"the output {name!r} is outside {folder}")
    return path


def _check_folder(folder: Path) -> None:
    """Raise OutputExistsError (73) or PermissionDeniedError (77) if `folder` can never be made."""
    while not os.path.lexists(folder) and folder != folder.parent:
        folder = folder.parent
    if not folder.is_dir():
        raise OutputExistsError(f"not a folder: {printable(folder)}")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionDeniedError(f"permission denied: {printable(folder)}")


def _request(line: Line, output: Path) -> Request:
    """What a line asks for. Raises BadDataError (65), InvalidOptionError (2)."""
    values = {key: value for key, value in line.values.items() if key not in _OURS}
    command = str(line.values.get("command", "generate"))
    return replace(parse_request(command, values, line.folder), output=str(output))


def part_of(text: str, option: str) -> tuple[int, int]:
    """`i/n` as two numbers. Raises InvalidOptionError (2)."""
    found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
    if found is None or not 1 <= int(found[1]) <= int(found[2]):
        raise InvalidOptionError(f"{option} must be like 1/4, not {text!r}")
    return int(found[1]), int(found[2])


def shard(lines: Sequence[Line], text: str) -> list[Line]:
    """The lines of `i/n`: every n-th, from the i-th on. Raises InvalidOptionError (2)."""
    part, parts = part_of(text, "--shard")
    return list(lines[part - 1 :: parts])


def beginning_at(tasks: Sequence[Task], text: str) -> list[Task]:
    """All tasks, those of part `i/n` first, then those of the parts after it."""
    part, parts = part_of(text, "--worker")
    order = [(part - 1 + number) % parts for number in range(parts)]
    return [task for number in order for task in tasks[number::parts]]
