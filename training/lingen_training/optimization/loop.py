"""The training loop that every stage shares: schedule, logging, saving, resuming."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lingen_models.checkpoints.whole_file import write_whole
from lingen_training.optimization.curves import read_log
from lingen_training.optimization.optimizer import MasterWeights
from lingen_training.optimization.parallel import Group
from lingen_training.optimization.state_files import find_state

Report = Callable[[str], None]
"""Takes one line of progress; the caller decides where it goes."""


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
    log_every: int = 10,
    save_every: int = 200,
) -> None:
    """Train until `schedule.steps`, continuing from the state in `folder` if there is one.

    `loss_of(step, batch)` returns {"loss": ..., parts by name ...} of one of the `batches` of a
    step and draws its data from these numbers, so a resumed run sees what an uninterrupted one
    would have seen. Its part "tokens", if any, is a count. The processes of the group of `weights`
    share the batches out, or compute a part of every one (`Group.parts`). Losses go to
    `folder/NAME.jsonl`, one object per `log_every` steps.

    Every `validate_every` steps, and at the end, the results of `validate` with the averaged
    weights in the network go to `folder/NAME.validation.jsonl`.

    Raises FloatingPointError when 20 steps in a row have no finite gradient.
    """
    group = weights.group
    state, begun = folder / f"{name}{weights.state_suffix}", find_state(folder, name)
    log, checks = folder / f"{name}.jsonl", folder / f"{name}.validation.jsonl"
    elapsed, tokens = 0.0, 0.0
    if begun is not None:
        metadata = weights.load(begun)
        elapsed, tokens = float(metadata.get("seconds", "0")), float(metadata.get("tokens", "0"))
        if group.leads:
            report(f"{name}: going on at step {weights.steps} of {schedule.steps}")
    if group.leads:
        _rewind(log, weights.steps)
        _rewind(checks, weights.steps)
    sums: dict[str, float] = {}
    began, first, bad = time.monotonic(), weights.steps, 0
    while weights.steps < schedule.steps:
        step = weights.steps
        found = []
        for batch in group.batches(batches):
            parts = loss_of(step, batch)
            parts["loss"].backward()  # type: ignore[no-untyped-call]
            found.append({key: float(value.detach()) for key, value in parts.items()})
        norm = weights.step(schedule.at(step), group.parts(batches))
        bad = 0 if math.isfinite(norm) else bad + 1
        if bad:
            weights.steps += 1
            if bad >= 20:
                raise FloatingPointError(f"{name}: no finite gradient since step {step - 19}")
            continue
        for values in found:
            for key, value in values.items():
                sums[key] = sums.get(key, 0.0) + value
        sums["norm"] = sums.get("norm", 0.0) + norm * len(found)
        sums["count"] = sums.get("count", 0.0) + len(found)
        done = weights.steps
        if done % log_every == 0 or done == schedule.steps:
            sums = _over_all(sums, group)
            count = sums.pop("count")
            tokens += sums.pop("tokens", 0.0)
            means = {key: total / count for key, total in sums.items()}
            sums = {}
            seconds = elapsed + time.monotonic() - began
            pace = (time.monotonic() - began) / (done - first)
            record = {"step": done, "seconds": round(seconds, 1), **_rounded(means)}
            if tokens:
                record["tokens"] = int(tokens)
            if group.leads:
                _append(log, record)
                report(_line(name, done, schedule.steps, means, pace))
        if validate is not None and (
            done == schedule.steps or (validate_every and done % validate_every == 0)
        ):
            weights.use(weights.average)
            marks = validate()
            weights.use(weights.master)
            if group.leads:
                _append(checks, {"step": done, "tokens": int(tokens), **_rounded(marks)})
                report(f"{name} {done}: " + " ".join(f"{k} {v:.4f}" for k, v in marks.items()))
        if (group.leads or group.sharded) and (done % save_every == 0 or done == schedule.steps):
            seconds = elapsed + time.monotonic() - began
            weights.save(state, {"seconds": f"{seconds:.1f}", "tokens": f"{tokens:.0f}"})


def _over_all(sums: dict[str, float], group: Group) -> dict[str, float]:
    """Sums over the processes of a group, which have the same keys."""
    keys = list(sums)
    values = torch.tensor([sums[key] for key in keys], dtype=torch.float64)
    group.sum(values)
    return dict(zip(keys, values.tolist(), strict=True))


def _append(path: Path, record: dict[str, Any]) -> None:
    with open(path, "a", encoding="utf-8") as file:
        file.write(json.dumps(record) + "\n")


def _rewind(log: Path, step: int) -> None:
    """Drop records after `step`, which will be written again, and a line that a kill cut off."""
    if not log.exists():
        return
    kept = [record for record in read_log(log) if record["step"] <= step]
    write_whole(log, "".join(json.dumps(record) + "\n" for record in kept).encode())


def _rounded(means: dict[str, float]) -> dict[str, float]:
    return {key: float(f"{value:.5g}") for key, value in means.items()}


def _line(name: str, done: int, steps: int, means: dict[str, float], pace: float) -> str:
    left = int(pace * (steps - done))
    numbers = " ".join(f"{key} {value:.4g}" for key, value in means.items())
    return (
        f"{name} {done}/{steps} {numbers} {pace:.2f} s/step "
        f"ETA {left // 3600}:{left // 60 % 60:02d}:{left % 60:02d}"
    )
