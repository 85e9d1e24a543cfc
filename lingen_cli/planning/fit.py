"""Choices of what to give up so that a video fits into memory, or into a time."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from lingen_cli.errors import InvalidOptionError, NotAvailableError
from lingen_cli.inputs.frame_rates import parse_moment
from lingen_cli.requests.edits import Sampled
from lingen_cli.requests.job import Job

if TYPE_CHECKING:
    from lingen_cli.planning.plan import Planner

FEWEST_STEPS = 2
SMALLEST = 64
_UNITS = {"k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_SIZE = re.compile(r"(\d{1,6}(?:\.\d{1,3})?) ?([kmgt])(i?)b?", re.IGNORECASE | re.ASCII)


@dataclass(frozen=True)
class Choice:
    """A job that does with less, and the options that make it so."""

    job: Job
    options: tuple[str, ...] = ()

    def with_steps(self, steps: int) -> Choice:
        """Fewer steps."""
        edits = tuple(
            edit.sampled_with(steps=steps) if isinstance(edit, Sampled) else edit
            for edit in self.job.timeline.edits
        )
        return self._but(self.job.with_edits(edits), "--steps", str(steps))

    def with_size(self, width: int, height: int) -> Choice:
        """Smaller images."""
        timeline = replace(self.job.timeline, width=width, height=height)
        job = replace(self.job, timeline=timeline)
        return self._but(job, "--size", str(width) if width == height else f"{width}x{height}")

    def saving_memory(self) -> Choice:
        """Smaller parts at a time."""
        runtime = replace(self.job.runtime, frugal=True)
        return self._but(replace(self.job, runtime=runtime), "--save-memory")

    def _but(self, job: Job, *options: str) -> Choice:
        return Choice(job, (*self.options, *options))


def parse_size(text: str) -> int:
    """`12GB`, `800 MB` or `4GiB` in bytes. Raises InvalidOptionError (2)."""
    found = _SIZE.fullmatch(text.strip())
    if found is None or not float(found[1]):
        raise InvalidOptionError(f"--fit must be a size such as 12GB or 800MB, not {text[:40]!r}")
    unit = _UNITS[found[2].lower()]
    if found[3]:
        unit = 1 << (10 * (1 + list(_UNITS).index(found[2].lower())))
    return int(float(found[1]) * unit)


def parse_budget(text: str) -> float:
    """`20m`, `90s` or `1:30:00` in seconds. Raises InvalidOptionError (2)."""
    seconds = float(parse_moment(text, "--budget"))
    if not seconds:
        raise InvalidOptionError("--budget must be above 0")
    return seconds


def fitted(planner: Planner, choice: Choice, limit: int) -> Choice:
    """The first that fits into `limit` bytes of memory: as asked, then in smaller parts, then with
    smaller images. Raises NotAvailableError (69) where none does."""
    saving = choice if choice.job.runtime.frugal else choice.saving_memory()
    if planner.plan(choice.job).memory is None:
        raise NotAvailableError("--fit: this system does not tell how much memory is held")
    for one in (choice, saving, *_smaller(planner, saving)):
        needed = planner.plan(one.job).memory or 0
        if needed <= limit:
            return one
    takes = f"{_bytes(needed)}{_even_with(one)}, and {_bytes(limit)} are there"
    raise NotAvailableError(f"--fit: it takes {takes}; make a shorter video")


def paced(planner: Planner, choice: Choice, limit: float) -> Choice:
    """The first that takes at most `limit` seconds: with fewer steps, then with smaller images.

    Raises NotAvailableError (69) where none does.
    """
    steps = max(edit.sampling.steps for edit in choice.job.timeline.sampled)
    fewer = [choice.with_steps(n) for n in range(steps - 1, min(steps, FEWEST_STEPS) - 1, -1)]
    fewest = fewer[-1] if fewer else choice
    for one in (choice, *fewer, *_smaller(planner, fewest)):
        needed = planner.plan(one.job).total
        if needed <= limit:
            return one
    takes = f"{math.ceil(needed)} s{_even_with(one)}"
    raise NotAvailableError(f"--budget: it takes {takes}; make a shorter video")


def _smaller(planner: Planner, choice: Choice) -> Iterator[Choice]:
    """Ever smaller images of about the same shape."""
    unit = planner.stride * planner.config.patch[1]
    last = wide, high = choice.job.timeline.width, choice.job.timeline.height
    for eighths in (7, 6, 5, 4, 3, 2):
        size = (wide * eighths // 8 // unit * unit, high * eighths // 8 // unit * unit)
        if min(size) >= SMALLEST and size != last:
            last = size
            yield choice.with_size(*size)


def _even_with(choice: Choice) -> str:
    return f" even with {' '.join(choice.options)}" if choice.options else ""


def _bytes(count: int) -> str:
    return f"{count / 1e9:.2f} GB"
