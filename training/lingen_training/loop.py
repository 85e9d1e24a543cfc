"""The training loop that every stage shares: schedule, logging, saving, resuming."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from lingen_training.curves import read_log
from lingen_training.optimiser import MasterWeights

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
    loss_of: Callable[[int], dict[str, Tensor]],
    schedule: Schedule,
    folder: Path,
    report: Report,
    log_every: int = 10,
    save_every: int = 200,
) -> None:
    """Train until `schedule.steps`, continuing from the state in `folder` if there is one.

    `loss_of(step)` returns {"loss": ..., parts by name ...} and draws its data from the step
    number, so a resumed run sees what an uninterrupted one would have seen. Losses go to
    `folder/NAME.jsonl`, one object per `log_every` steps.

    Raises FloatingPointError when 20 steps in a row have no finite gradient.
    """
    state = folder / f"{name}.state.safetensors"
    log = folder / f"{name}.jsonl"
    elapsed = 0.0
    if state.exists():
        elapsed = float(weights.load(state).get("seconds", "0"))
        report(f"{name}: going on at step {weights.steps} of {schedule.steps}")
    _rewind(log, weights.steps)
    sums: dict[str, float] = {}
    began, first, bad = time.monotonic(), weights.steps, 0
    while weights.steps < schedule.steps:
        step = weights.steps
        parts = loss_of(step)
        parts["loss"].backward()  # type: ignore[no-untyped-call]
        norm = weights.step(schedule.at(step))
        bad = 0 if math.isfinite(norm) else bad + 1
        if bad:
            weights.steps += 1
            if bad >= 20:
                raise FloatingPointError(f"{name}: no finite gradient since step {step - 19}")
            continue
        for key, value in parts.items():
            sums[key] = sums.get(key, 0.0) + float(value.detach())
        sums["norm"] = sums.get("norm", 0.0) + norm
        sums["count"] = sums.get("count", 0.0) + 1
        done = weights.steps
        if done % log_every == 0 or done == schedule.steps:
            count = sums.pop("count")
            means = {key: total / count for key, total in sums.items()}
            sums = {}
            seconds = elapsed + time.monotonic() - began
            pace = (time.monotonic() - began) / (done - first)
            record = {"step": done, "seconds": round(seconds, 1), **_rounded(means)}
            with open(log, "a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")
            report(_line(name, done, schedule.steps, means, pace))
        if done % save_every == 0 or done == schedule.steps:
            seconds = elapsed + time.monotonic() - began
            weights.save(state, {"seconds": f"{seconds:.1f}"})


def _rewind(log: Path, step: int) -> None:
    """Drop records after `step`, which will be written again, and a line that a kill cut off."""
    if not log.exists():
        return
    kept = [record for record in read_log(log) if record["step"] <= step]
    temporary = log.with_suffix(".tmp")
    temporary.write_text("".join(json.dumps(record) + "\n" for record in kept), encoding="utf-8")
    os.replace(temporary, log)


def _rounded(means: dict[str, float]) -> dict[str, float]:
    return {key: float(f"{value:.5g}") for key, value in means.items()}


def _line(name: str, done: int, steps: int, means: dict[str, float], pace: float) -> str:
    left = int(pace * (steps - done))
    numbers = " ".join(f"{key} {value:.4g}" for key, value in means.items())
    return (
        f"{name} {done}/{steps} {numbers} {pace:.2f} s/step "
        f"ETA {left // 3600}:{left // 60 % 60:02d}:{left % 60:02d}"
    )
