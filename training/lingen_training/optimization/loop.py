"""The training loop that every stage shares: schedule, logging, saving, resuming."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from lingen_training.optimization.optimizer import MasterWeights
from lingen_training.optimization.parallel import Group, pieces_like
from lingen_training.optimization.stage_logs import Sample, Watcher, append, rewind
from lingen_training.optimization.state_files import find_state

Report = Callable[[str], None]
"""Takes one line of progress; the caller decides where it goes."""
_PATIENCE = 20
"""Steps in a row without a finite gradient after which a training ends."""


class DivergedError(FloatingPointError):
    """Stage that no longer has finite gradients."""

    def __init__(self, stage: str, step: int, saved: int) -> None:
        super().__init__(f"{stage}: no finite gradient in steps {step - _PATIENCE + 1} to {step}")
        self.stage = stage
        self.saved = saved
        """Steps of the last state that was saved; 0 where none was."""


@dataclass(frozen=True)
class Schedule:
    """Learning rate: linear warm-up, constant, linear decay over the last `decay` of the steps."""

    learning_rate: float
    steps: int
    warmup: int = 100
    decay: float = 0.25

    def at(self, step: int) -> float:
        """Rate of step number `step`, counted from 0."""
        rise = min(1.0, (step + 1) / max(1, self.warmup))
        fall = min(1.0, (self.steps - step) / max(1.0, self.decay * self.steps))
        return self.learning_rate * min(rise, max(0.02, fall))


def run_loop(
    *,
    name: str,
    weights: MasterWeights,
    loss_of: Callable[[int, int], dict[str, Tensor]],
    schedule: Schedule,
    folder: Path,
    report: Report,
    batches: int = 1,
    validate: Callable[[], dict[str, float]] | None = None,
    validate_every: int = 0,
    sample: Callable[[], Sequence[Sample]] | None = None,
    sample_every: int = 0,
    watchers: Sequence[Watcher] = (),
    log_every: int = 10,
    save_every: int = 200,
) -> None:
    """Train until `schedule.steps`, continuing from the state in `folder` if there is one.

    `loss_of(step, batch)` returns {"loss": ..., parts by name ...} of one of the `batches` of a
    step and draws its data from these numbers, so a resumed run sees what an uninterrupted one
    would have seen. The names are the same for all batches. A part of two numbers is a sum and a
    count, and what is logged is their quotient, if the count is not 0; any other is logged as the
    mean over batches, and "tokens", if any, is a count. The processes of the group of `weights`
    share the batches out, or compute a part of every one (`Group.parts`). Losses go to
    `folder/NAME.jsonl`, one object per `log_every` steps.

    Every `validate_every` steps, and at the end, the results of `validate` with the averaged
    weights in the network go to `folder/NAME.validation.jsonl`. Likewise every `sample_every`
    steps `watchers` get the clips of `sample`, which is called in the leading process, or in all
    that share the network. `watchers` are told of all of this.

    Steps whose gradient is not finite change nothing but the number of steps. Raises DivergedError
    when there are 20 in a row.
    """
    group = weights.group
    state, begun = folder / f"{name}{weights.state_suffix}", find_state(folder, name)
    log, checks = folder / f"{name}.jsonl", folder / f"{name}.validation.jsonl"
    watchers = watchers if group.leads else ()
    elapsed, tokens = 0.0, 0.0
    if begun is not None:
        metadata = weights.load(begun)
        elapsed, tokens = float(metadata.get("seconds", "0")), float(metadata.get("tokens", "0"))
        if group.leads:
            report(f"{name}: going on at step {weights.steps} of {schedule.steps}")
    if group.leads:
        rewind(log, weights.steps)
        rewind(checks, weights.steps)
    for watcher in watchers:
        watcher.begun(name, weights.steps)
    sums: dict[str, Tensor] = {}
    began, first, bad, saved = time.monotonic(), weights.steps, 0, weights.steps
    spent = 0.0  # seconds in the steps since the last record
    while weights.steps < schedule.steps:
        step, now = weights.steps, time.monotonic()
        found = []
        for batch in group.batches(batches):
            parts = loss_of(step, batch)
            parts["loss"].backward()  # type: ignore[no-untyped-call]
            found.append({key: value.detach().cpu().double() for key, value in parts.items()})
        norm = weights.step(schedule.at(step), group.parts(batches))
        spent += time.monotonic() - now
        if math.isfinite(norm):
            bad = 0
            for values in found:
                values |= {"norm": torch.tensor(norm).double(), "count": torch.ones(()).double()}
                for key, value in values.items():
                    sums[key] = sums[key] + value if key in sums else value
        else:
            bad += 1
            weights.steps += 1
            if bad == _PATIENCE:
                raise DivergedError(name, step, saved)
        done = weights.steps
        if sums and _due(done, log_every, schedule):
            sums = _over_all(sums, group)
            seen = float(sums.pop("tokens", 0.0))
            means = _means(sums) | {"learning_rate": schedule.at(step)}
            tokens += seen
            seconds = elapsed + time.monotonic() - began
            pace = (time.monotonic() - began) / (done - first)
            record = {"step": done, "seconds": round(seconds, 1), **_rounded(means)}
            if tokens:
                record["tokens"] = int(tokens)
                record |= _rounded({"tokens_per_second": seen / spent})
            sums, spent = {}, 0.0
            if group.leads:
                append(log, record)
                report(_line(name, done, schedule.steps, means, pace))
            for watcher in watchers:
                watcher.logged(name, record)
        if validate is not None and _due(done, validate_every, schedule):
            weights.use(weights.average)
            marks = validate()
            weights.use(weights.master)
            record = {"step": done, "tokens": int(tokens), **_rounded(marks)}
            if group.leads:
                append(checks, record)
                report(f"{name} {done}: " + " ".join(f"{k} {v:.4f}" for k, v in marks.items()))
            for watcher in watchers:
                watcher.validated(name, record)
        sampling = watchers or group.sharded
        if sample is not None and sampling and _due(done, sample_every, schedule):
            weights.use(weights.average)
            samples = sample()
            weights.use(weights.master)
            for watcher in watchers:
                watcher.sampled(name, done, samples)
        if _due(done, save_every, schedule):
            saved = done
            if group.leads or group.sharded:
                seconds = elapsed + time.monotonic() - began
                weights.save(state, {"seconds": f"{seconds:.1f}", "tokens": f"{tokens:.0f}"})
            for watcher in watchers:
                watcher.saved()


def _due(done: int, every: int, schedule: Schedule) -> bool:
    """Tell whether something is done after every `every` steps, and at the end, is due."""
    return done == schedule.steps or (every > 0 and done % every == 0)


def _means(sums: dict[str, Tensor]) -> dict[str, float]:
    """Means of parts that were summed over "count" batches, and the quotients of those that are a
    sum and a count."""
    count = float(sums["count"])
    found = {}
    for key, value in sums.items():
        if value.dim():
            if value[1]:
                found[key] = float(value[0] / value[1])
        elif key != "count":
            found[key] = float(value) / count
    return found


def _over_all(sums: dict[str, Tensor], group: Group) -> dict[str, Tensor]:
    """Sums over the processes of a group, which have the same keys."""
    flat = torch.cat([value.flatten() for value in sums.values()])
    group.sum(flat)
    return dict(zip(sums, pieces_like(flat, list(sums.values())), strict=True))


def _rounded(means: Mapping[str, float]) -> dict[str, float]:
    return {key: float(f"{value:.5g}") for key, value in means.items()}


def _line(name: str, done: int, steps: int, means: Mapping[str, float], pace: float) -> str:
    left = int(pace * (steps - done))
    numbers = " ".join(f"{key} {value:.4g}" for key, value in means.items() if "/" not in key)
    return (
        f"{name} {done}/{steps} {numbers} {pace:.2f} s/step "
        f"ETA {left // 3600}:{left // 60 % 60:02d}:{left % 60:02d}"
    )
