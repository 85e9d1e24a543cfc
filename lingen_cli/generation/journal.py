"""Keeps what a run has sampled, so that it can go on after a stop (reliability.md C2).

A job calls its sampler in a fixed order, each time with numbers that depend on the job and on the
calls before. So the journal is what the calls gave: a file for each that is finished, and one for
where the present one stands. A later run takes them in place of sampling, and ends with the
numbers that an uninterrupted run has.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import math
import os
import re
import shlex
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from lingen_cli.errors import BadDataError, InvalidOptionError
from lingen_cli.exit_codes import Terminated
from lingen_cli.files.own_folder import check_own
from lingen_cli.files.printable import printable
from lingen_cli.files.work_folder import WorkFolder
from lingen_cli.files.write_errors import write_error
from lingen_cli.generation.begun import JOB, Begun, read_begun
from lingen_cli.generation.latent_cache import digest_of
from lingen_cli.requests.recipe import Recipe
from lingen_cli.requests.write_recipe import versions
from lingen_cli.terminal import signals
from lingen_cli.terminal.progress import Progress
from lingen_models.checkpoints.whole_file import TEMPORARY, sync_folder, write_whole

if TYPE_CHECKING:
    from torch import Tensor

    from lingen_models.sampling.denoise import OnStep, Velocity
    from lingen_models.sampling.denoise import Sampler as SamplingLoop
    from lingen_plugins.contracts import Sampler

SECONDS_VARIABLE = "LINGEN_JOURNAL_SECONDS"
"""Seconds between two writings; a run that is shorter leaves nothing."""
_SECONDS = 10.0
_STATE = "state"
_TENSOR = "latents"


def seconds_between() -> float:
    """Seconds between two writings of a journal. Raises InvalidOptionError (2)."""
    text = os.environ.get(SECONDS_VARIABLE, "").strip()
    try:
        seconds = float(text) if text else _SECONDS
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise InvalidOptionError(f"{SECONDS_VARIABLE} must be a number from 0 on, not {text!r}")
    return seconds


class _Present(NamedTuple):
    """State of a call at the beginning of a step."""

    call: str
    step: int
    parts: tuple[Tensor, ...]

    def state(self) -> Tensor:
        """One tensor."""
        import torch

        return torch.stack(self.parts) if len(self.parts) > 1 else self.parts[0]


class Journal:
    """Gives samplers that write down how far they are, and go on where the last run stood.

    A disk that is full does not stop the run: the next writing tries again. As a context manager,
    it writes once more where the run ends in an error. With `decode_only` nothing is sampled: what
    is missing is BadDataError (65).
    """

    def __init__(
        self, work: WorkFolder, begun: Begun, progress: Progress, *, decode_only: bool = False
    ) -> None:
        self._decode_only = decode_only
        self.folder, self._begun, self._progress = work.journal, begun, progress
        self._set_aside = work.set_journal_aside
        self._calls = 0
        self._waiting: dict[str, Tensor] = {}
        self._present: _Present | None = None
        self._warned = False
        self._found = False
        self._last = time.monotonic()
        self._every = seconds_between()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        sampled = self._present is not None or bool(self._waiting)
        stopped = sampled and isinstance(error, KeyboardInterrupt | Terminated)
        if error is not None and (stopped or self.folder.is_dir() or self._due()):
            with contextlib.suppress(Exception):  # the error that is on its way says more
                self._write()

    @property
    def job(self) -> str:
        """Checksum of the record of the run."""
        assert self._begun.sha256 is not None
        return self._begun.sha256

    def begin(self, history: Tensor | None) -> None:
        """Call it before the first sampling, with the latents that are gone on with."""
        digest = None if history is None else digest_of(history)
        self._begun = self._begun.model_copy(update={"history": digest}).sealed()
        found = read_begun(self.folder)
        if found is not None and found.history == digest:
            self._found = True
            self._say(found.recipe)
            self._begun = found
            for left in self.folder.rglob(TEMPORARY):
                left.unlink(missing_ok=True)
        elif found is not None:
            place = printable(self._set_aside())
            self._progress.warn(
                "what it goes on with has changed since it was stopped: it begins anew, and keeps "
                f"what was sampled before as {place} until there is a video"
            )
        self._last = time.monotonic()

    def loop(self, sampler: Sampler) -> SamplingLoop:
        """The loop of `sampler`, written down; each call counts."""
        import torch

        inner: Callable[..., Tensor] = sampler.build()

        def run(velocity: Velocity, noise: Tensor, times: Tensor, on_step: OnStep) -> Tensor:
            name, steps = str(self._calls), len(times) - 1
            self._calls += 1
            if (result := self._load(name, noise)) is not None:
                on_step(steps, steps, result)
                return result
            if self._decode_only:
                name = shlex.quote(printable(self._begun.name))
                raise BadDataError(f"not all is sampled yet; to go on: lingen resume {name}")
            done, x, last = 0, noise, noise
            memory: dict[str, Any] = {}
            like = torch.stack((x, last)) if sampler.remembers else x
            kept = self._load(_STATE, like, call=name, steps=steps) if sampler.restartable else None
            if kept is not None:
                done, x = self._step, kept
                if sampler.remembers:
                    x, last = kept.unbind()
                    memory = {"before": (last, times[done - 1].item())}
            begins = True  # the next question is the first of a step

            def evaluated(x: Tensor, now: float) -> Tensor:
                nonlocal begins
                if begins and done and sampler.restartable:
                    parts = (x, last) if sampler.remembers else (x,)
                    self._present = _Present(name, done, parts)
                    if self._due():
                        self._write()
                begins = False
                return velocity(x, now)

            def stepped(_: int, __: int, estimate: Tensor) -> None:
                nonlocal begins, done, last
                begins, done, last = True, done + 1, estimate
                on_step(done, steps, estimate)

            result = inner(evaluated, x, times[done:], stepped, **memory)
            self._present = None
            self._waiting[name] = result
            if self._due():
                self.flush()
            return result

        return run

    def flush(self) -> bool:
        """Write down what is finished, if that took long enough to be worth it; whether it was."""
        if not (self.folder.is_dir() or self._due()):
            return False
        if self._waiting:
            self._write()
        return self.folder.is_dir() and not self.folder.is_symlink()

    def record(self) -> None:
        """Write down that the run has begun, whatever else there is to keep."""
        self._write(calls=False)

    def _due(self) -> bool:
        return signals.journal_requested() or time.monotonic() - self._last >= self._every

    def _write(self, *, calls: bool = True) -> None:
        """All calls that are finished, then where the present one stands: each in a file that is
        whole or absent. What cannot be written waits for the next time."""
        try:
            if not self.folder.is_dir():
                self.folder.mkdir(mode=0o700)
                sync_folder(self.folder.parent)
            check_own(self.folder.parent)
            if self.folder.is_symlink():
                raise OSError(errno.ELOOP, "it is a link to elsewhere")
            if not (self.folder / JOB).exists():
                write_whole(self.folder / JOB, self._begun.to_bytes())
            if not calls:
                return
            for name, latents in list(self._waiting.items()):
                self._save(name, latents)
                del self._waiting[name]
            if self._present is not None:
                call, step = self._present.call, str(self._present.step)
                self._save(_STATE, self._present.state(), call=call, step=step)
        except OSError as error:
            if not self._warned:
                self._warned = True
                self._progress.warn(
                    "what is sampled cannot be kept for a resume now, it is tried again: "
                    f"{error.strerror or error}"
                )
        self._last = time.monotonic()
        signals.journal_written()

    def _save(self, name: str, latents: Tensor, **facts: str) -> None:
        from lingen_models.checkpoints.safetensors import save_tensors

        kept = latents.detach().float()
        digest = self._sum(name, kept, facts)
        save_tensors(self._path(name), {_TENSOR: kept}, {"sha256": digest} | facts)

    def _sum(self, name: str, latents: Tensor, facts: dict[str, str]) -> str:
        """SHA-256 of latents, of the file that they are in, of where they stand, and of the job."""
        said = [self.job, name, facts.get("call", ""), facts.get("step", ""), digest_of(latents)]
        return hashlib.sha256("\n".join(said).encode()).hexdigest()

    def _load(
        self, name: str, like: Tensor, *, call: str | None = None, steps: int = 0
    ) -> Tensor | None:
        """What a run before has written, if it is whole and was meant for this call.

        Raises PermissionDeniedError (77), WriteFailedError (74) where it cannot be read now.
        """
        from lingen_models.checkpoints.safetensors import CheckpointError, load_tensors

        if not self._found or not self._path(name).exists():
            return None
        try:
            tensors, facts = load_tensors(self._path(name))
        except OSError as error:
            if error.errno not in (errno.EIO, errno.EISDIR):
                raise write_error(error, self._path(name)) from error
            self._damaged(name)
            return None
        except CheckpointError:
            self._damaged(name)
            return None
        latents = tensors.get(_TENSOR)
        if latents is None or self._sum(name, latents, facts) != facts.get("sha256"):
            self._damaged(name)
            return None
        if facts.get("call") != call or latents.shape != like.shape:
            return None
        if name == _STATE:
            step = facts.get("step", "")
            if not re.fullmatch("[0-9]{1,9}", step) or not 0 < int(step) < steps:
                self._damaged(name)
                return None
            self._step = int(step)
        return latents.to(like)

    def _damaged(self, name: str) -> None:
        self._progress.warn(f"damaged in the journal, it is sampled again: {self._path(name).name}")

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.safetensors"

    def _say(self, then: Recipe) -> None:
        self._progress.events.emit("resume")
        self._progress.note("going on with what was sampled before")
        now = self._begun.recipe
        for name in ("device", "dtype", "threads"):
            if getattr(now, name) != getattr(then, name):
                self._progress.warn(
                    f"{name} is {getattr(now, name)}, before the stop it was {getattr(then, name)}"
                )
        for name, value in versions().items():
            if then.versions.get(name) != value:
                self._progress.warn(
                    f"{name} is {value}, before the stop it was {then.versions.get(name)}"
                )


class NoJournal:
    """Stands in for a journal, and keeps nothing."""

    def begin(self, history: Tensor | None) -> None:
        """Nothing was kept before."""

    def loop(self, sampler: Sampler) -> SamplingLoop:
        """The loop of `sampler` as it is."""
        return sampler.build()

    def flush(self) -> bool:
        """Nothing is kept."""
        return False
