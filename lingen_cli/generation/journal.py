"""Keeps what a run has sampled, so that it can go on after a stop (reliability.md C2).

A job calls its sampler in a fixed order, each time with numbers that depend on the job and on the
calls before. So the journal is what the calls gave: a file for each that is finished, and one for
where the present one stands. A later run takes them in place of sampling, and ends with the
numbers that an uninterrupted run has.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lingen_cli.errors import BadDataError
from lingen_cli.files.printable import printable
from lingen_cli.generation.latent_cache import digest_of
from lingen_cli.media.frame_hashes import FrameHash, Sha256
from lingen_cli.requests.job import Edit, Job, Origin, Stretch
from lingen_cli.requests.recipe import Dropped, Recipe
from lingen_cli.requests.write_recipe import asked_in, asked_of, versions
from lingen_cli.terminal import signals
from lingen_cli.terminal.progress import Progress

if TYPE_CHECKING:
    from torch import Tensor

    from lingen_models.sampling.denoise import OnStep, Velocity
    from lingen_models.sampling.denoise import Sampler as SamplingLoop
    from lingen_plugins.contracts import Sampler

SECONDS_VARIABLE = "LINGEN_JOURNAL_SECONDS"
"""Seconds between two writings; what ends a run without a signal loses what came after the last."""
_SECONDS = 10.0
_JOB = "job.json"
_STATE = "state"
_TENSOR = "latents"


class SavedOrigin(BaseModel):
    """`lingen_cli.requests.job.Origin`, as a file has it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str
    latents: Sha256 | None
    done: int = Field(ge=0)
    copy_packets: bool
    hashes: tuple[FrameHash, ...]

    @classmethod
    def of(cls, origin: Origin) -> Self:
        """The record of `origin`."""
        return cls(
            path=str(origin.path.absolute()),
            latents=origin.latents,
            done=origin.done,
            copy_packets=origin.copy,
            hashes=origin.hashes,
        )

    def origin(self) -> Origin:
        """Return the origin that the record is of."""
        return Origin(
            path=Path(self.path),
            latents=self.latents,
            done=self.done,
            copy=self.copy_packets,
            hashes=self.hashes,
        )


class Begun(BaseModel):
    """All that is needed to go on with a stopped run."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = 1
    name: str
    """Of the output, which lies beside the work folder."""
    overwrite: bool
    subtitles: bool
    metadata: bool
    recipe: Recipe
    origin: SavedOrigin | None
    beside: str | None = None
    """The video whose sound, subtitles, chapters and tags are taken over."""
    history: Sha256 | None = None
    """The latents that are gone on with."""

    @classmethod
    def of(cls, job: Job, target: Path, recipe: Recipe) -> Self:
        """The record of a job that begins now."""
        return cls(
            name=target.name,
            overwrite=job.destination.overwrite,
            subtitles=job.subtitles,
            metadata=job.metadata,
            recipe=recipe,
            origin=None if job.origin is None else SavedOrigin.of(job.origin),
            beside=None if job.beside is None else str(job.beside.absolute()),
        )


def read_begun(folder: Path) -> Begun | None:
    """Read what a stopped run has left in its journal; None where there is nothing, or nothing
    whole."""
    try:
        return Begun.model_validate_json((folder / _JOB).read_bytes())
    except (OSError, ValidationError):
        return None


def taken_over(folder: Path, job: Job) -> Job | None:
    """`job` as it goes on with what lies in a journal: with the seeds that were drawn for it then.

    The job itself where nothing lies there, None where that belongs to another job.
    """
    begun = read_begun(folder)
    if begun is None:
        return job
    origin = None if job.origin is None else SavedOrigin.of(job.origin)
    if begun.origin != origin or not same_work(begun.recipe, job):
        return None
    if not job.draws_seeds:
        return job
    edits: list[Edit] = []
    for edit, part in zip(job.edits, (begun.recipe, *begun.recipe.edits), strict=True):
        if isinstance(edit, Stretch) and not isinstance(part, Dropped):
            seed = part.sampling.seed
            edit = replace(edit, sampling=replace(edit.sampling, seed=seed))
        edits.append(edit)
    return replace(job, edits=tuple(edits))


def same_work(recipe: Recipe, job: Job) -> bool:
    """Tell whether a recipe asks for what `job` asks for; seeds that were drawn need not be
    equal."""
    then, now = asked_in(recipe), asked_of(job)
    if job.draws_seeds:
        made = 0 if job.origin is None else job.origin.done
        then, now = _without_seeds(then, made), _without_seeds(now, made)
    return then == now


def _without_seeds(asked: dict[str, Any], made: int) -> dict[str, Any]:
    """What was asked for, without the seeds of the edits after the first `made`."""

    def without(edit: dict[str, Any]) -> dict[str, Any]:
        return edit | {"sampling": edit["sampling"] | {"seed": 0}} if "sampling" in edit else edit

    later = [
        without(edit) if number >= made else edit
        for number, edit in enumerate(asked["edits"], start=1)
    ]
    return (asked if made else without(asked)) | {"edits": later}


class Journal:
    """Gives samplers that write down how far they are, and go on where the last run stood.

    A disk that is full stops the writing, not the run. With `decode_only` nothing is sampled: what
    is missing is BadDataError (65).
    """

    def __init__(
        self, folder: Path, begun: Begun, progress: Progress, *, decode_only: bool = False
    ) -> None:
        self._decode_only = decode_only
        self.folder, self._begun, self._progress = folder, begun, progress
        self._calls = 0
        self._waiting: dict[str, Tensor] = {}
        self._standing: tuple[dict[str, Tensor], dict[str, str]] | None = None
        """Where the present call stands, and facts about it."""
        self._writes = True
        self._found = False
        self._last = time.monotonic()
        self._every = _SECONDS
        with contextlib.suppress(ValueError):
            self._every = float(os.environ.get(SECONDS_VARIABLE, ""))

    def begin(self, history: Tensor | None) -> None:
        """Call it before the first sampling, with the latents that are gone on with."""
        digest = None if history is None else digest_of(history)
        self._begun = self._begun.model_copy(update={"history": digest})
        found = read_begun(self.folder)
        if found is not None and found.history == digest:
            self._found = True
            self._say(found.recipe)
        else:
            if found is not None:
                self._progress.warn(
                    "what it goes on with has changed since it was stopped: it begins anew"
                )
            shutil.rmtree(self.folder, ignore_errors=True)
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
            if sampler.restartable and (kept := self._load(_STATE, like, call=name)) is not None:
                done, x = self._step, kept
                if sampler.remembers:
                    x, last = kept.unbind()
                    memory = {"before": (last, times[done - 1].item())}
            begins = True  # the next question is the first of a step

            def asked(x: Tensor, now: float) -> Tensor:
                nonlocal begins
                if begins and done and sampler.restartable:
                    state = torch.stack((x, last)) if sampler.remembers else x.clone()
                    self._standing = {_STATE: state}, {"call": name, "step": str(done)}
                    if self._due():
                        self.keep()
                begins = False
                return velocity(x, now)

            def stepped(_: int, __: int, estimate: Tensor) -> None:
                nonlocal begins, done, last
                begins, done, last = True, done + 1, estimate
                on_step(done, steps, estimate)

            result = inner(asked, x, times[done:], stepped, **memory)
            self._waiting[name], self._standing = result, None
            if self._due():
                self.flush()
            return result

        return run

    def flush(self) -> bool:
        """Write down what is finished, if that took long enough to be worth it; whether it was."""
        if not (self.folder.is_dir() or self._due()):
            return False
        self.keep()
        return self.folder.is_dir()

    def keep(self) -> None:
        """Write down everything that is sampled: what is finished, and where the present call
        stands."""
        state, facts = self._standing or ({}, {})
        if self._waiting or state:
            self._write(state, **facts)

    def _due(self) -> bool:
        return signals.journal_asked() or time.monotonic() - self._last >= self._every

    def _write(self, state: dict[str, Tensor], **facts: str) -> None:
        """All calls that are finished, then where the present one stands, with `facts`: each in a
        file that is whole or absent."""
        from lingen_models.checkpoints.safetensors import save_tensors

        if not self._writes:
            return
        finished, self._waiting = self._waiting, {}
        try:
            self.folder.mkdir(exist_ok=True)
            if not (self.folder / _JOB).exists():
                part = self.folder / f"{_JOB}.tmp"
                part.write_text(self._begun.model_dump_json(), encoding="utf-8")
                os.replace(part, self.folder / _JOB)
            for name, latents in (finished | state).items():
                kept = latents.detach().float()
                more = facts if name in state else {}
                save_tensors(self._path(name), {_TENSOR: kept}, {"sha256": digest_of(kept)} | more)
        except OSError as error:
            self._writes = False
            self._progress.warn(
                f"what is sampled cannot be kept for a resume: {error.strerror or error}"
            )
        self._last = time.monotonic()
        signals.journal_written()

    def _load(self, name: str, like: Tensor, *, call: str | None = None) -> Tensor | None:
        """What a run before has written, if it is whole and was meant for this call."""
        from lingen_models.checkpoints.safetensors import CheckpointError, load_tensors

        if not self._found:
            return None
        try:
            tensors, facts = load_tensors(self._path(name))
        except (OSError, CheckpointError):
            return None
        latents = tensors.get(_TENSOR)
        if latents is None or latents.shape != like.shape or facts.get("call") != call:
            return None
        if digest_of(latents) != facts.get("sha256"):
            return None
        step = facts.get("step", "0")
        if not re.fullmatch("[0-9]{1,9}", step):
            return None
        self._step = int(step)
        return latents.to(like)

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
