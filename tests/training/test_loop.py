"""The shared loop: rates, logs, and a resumed run that equals an uninterrupted one."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from lingen_models.checkpoints.safetensors import load_tensors
from lingen_training.optimization.loop import DivergedError, Schedule, run_loop
from lingen_training.optimization.optimizer import MasterWeights
from lingen_training.optimization.stage_logs import Sample, Watcher, read_log

SCHEDULE = Schedule(1e-2, steps=23, warmup=4, decay=0.5)


class Notes(Watcher):
    """Notes in words what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def begun(self, stage: str, step: int) -> None:
        self.told.append(f"{stage} after {step}")

    def logged(self, stage: str, record: Mapping[str, float]) -> None:
        self.told.append(f"logged {record['step']}")

    def validated(self, stage: str, record: Mapping[str, float]) -> None:
        self.told.append(f"validated {record['step']}")

    def sampled(self, stage: str, step: int, samples: Sequence[Sample]) -> None:
        self.told.append(f"{samples[0].prompt} {step}")

    def saved(self) -> None:
        self.told.append("saved")


class Run:
    """A small regression with data by step number, which can be stopped at a step."""

    def __init__(self, folder: Path, stop_at: int = -1, broken: range = range(0)) -> None:
        torch.manual_seed(0)
        self.weights = MasterWeights(
            nn.Linear(3, 1),
            learning_rate=1e-2,
            weight_decay=0.01,
            ema=0.9,
            compute_dtype=torch.float32,
        )
        self.folder = folder
        self.stop_at = stop_at
        self.broken = broken
        self.seen: list[int] = []
        self.lines: list[str] = []

    def loss_of(self, step: int, batch: int) -> dict[str, Tensor]:
        if step == self.stop_at:
            raise KeyboardInterrupt
        self.seen.append(step)
        x = torch.randn(8, 3, generator=torch.Generator().manual_seed(step))
        error = (self.weights.network(x)[:, 0] - x.sum(1)).square().mean()
        if step in self.broken:
            error = error * torch.nan
        # Two thirds of the steps have something to say about "some".
        some = [2.0 * (step % 3), 2.0] if step % 3 else [0.0, 0.0]
        parts = {"some/part": torch.tensor(some), "some/none": torch.zeros(2)}
        return {"loss": error, "half": error / 2, **parts}

    def go(self, *watchers: Watcher) -> Run:
        run_loop(
            name="fit",
            weights=self.weights,
            loss_of=self.loss_of,
            schedule=SCHEDULE,
            folder=self.folder,
            report=self.lines.append,
            log_every=2,
            save_every=6,
            sample=lambda: [Sample("drawn", 0, torch.zeros(1))],
            sample_every=8,
            watchers=watchers,
        )
        return self

    def log(self) -> list[dict[str, float]]:
        records = read_log(self.folder / "fit.jsonl")
        return [{k: v for k, v in record.items() if k != "seconds"} for record in records]

    def state(self) -> dict[str, Tensor]:
        return {name: value.clone() for name, value in self.weights.state().items()}


@pytest.fixture
def whole(tmp_path: Path) -> Run:
    folder = tmp_path / "whole"
    folder.mkdir()
    return Run(folder).go()


def test_it_learns_and_logs(whole: Run) -> None:
    assert whole.seen == list(range(23))
    log = whole.log()
    assert [record["step"] for record in log] == [*range(2, 23, 2), 23]
    assert set(log[0]) == {"step", "loss", "half", "norm", "learning_rate", "some/part"}
    assert [record["some/part"] for record in log[:3]] == [1.0, 2.0, 1.5]  # steps 1; 2; 4 and 5
    assert log[0]["learning_rate"] == SCHEDULE.at(1)
    assert log[-1]["loss"] < log[0]["loss"]
    assert log[3]["half"] == pytest.approx(log[3]["loss"] / 2, rel=1e-4)
    assert len(whole.lines) == len(log)
    assert whole.lines[0].startswith("fit 2/23 loss ")
    assert "ETA 0:00:0" in whole.lines[0]
    assert "some" not in whole.lines[0]


@pytest.mark.parametrize("stop_at", [0, 3, 6, 13, 22])
def test_a_resumed_run_equals_an_uninterrupted_one(
    stop_at: int, whole: Run, tmp_path: Path
) -> None:
    folder = tmp_path / "resumed"
    folder.mkdir()
    with pytest.raises(KeyboardInterrupt):
        Run(folder, stop_at).go()
    if stop_at > 2:  # as a kill in the middle of a line leaves it
        with open(folder / "fit.jsonl", "a", encoding="utf-8") as file:
            file.write('{"step": 99, "lo')
    again = Run(folder).go()
    assert again.seen == list(range(stop_at // 6 * 6, 23))
    assert again.log() == whole.log()
    for one, other in zip(again.weights.master, whole.weights.master, strict=True):
        assert torch.equal(one, other)
    for one, other in zip(again.weights.average, whole.weights.average, strict=True):
        assert torch.equal(one, other)


def test_a_finished_run_does_nothing_again(whole: Run) -> None:
    again = Run(whole.folder).go()
    assert again.seen == []
    assert again.lines == ["fit: going on at step 23 of 23"]
    assert len(again.log()) == 12


def test_watchers_are_told_in_order(tmp_path: Path) -> None:
    notes = Notes()
    with pytest.raises(KeyboardInterrupt):
        Run(tmp_path, stop_at=9).go(notes)
    logged = [f"logged {step}" for step in range(2, 24, 2)]
    assert notes.told == ["fit after 0", *logged[:3], "saved", logged[3], "drawn 8"]
    again = Notes()
    Run(tmp_path).go(again)
    told = ["fit after 6", logged[3], "drawn 8", *logged[4:6], "saved", *logged[6:8], "drawn 16"]
    assert again.told == [*told, logged[8], "saved", *logged[9:], "logged 23", "drawn 23", "saved"]


def test_samples_change_nothing(whole: Run, tmp_path: Path) -> None:
    sampled = tmp_path / "sampled"
    sampled.mkdir()
    run = Run(sampled).go(Notes())
    one, other = run.state(), whole.state()
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_broken_step_leaves_no_trace(tmp_path: Path) -> None:
    run = Run(tmp_path, broken=range(3, 4))
    for step in range(3):
        run.loss_of(step, 0)["loss"].backward()  # type: ignore[no-untyped-call]
        run.weights.step(1e-2)
    before, live = run.state(), [part.clone() for part in run.weights.live]
    run.loss_of(3, 0)["loss"].backward()  # type: ignore[no-untyped-call]
    assert not torch.isfinite(torch.tensor(run.weights.step(1e-2)))
    assert all(torch.equal(before[name], value) for name, value in run.state().items())
    assert all(torch.equal(*both) for both in zip(live, run.weights.live, strict=True))
    assert all(part.grad is None for part in run.weights.live)


@pytest.mark.parametrize("broken", [range(5, 9), range(20, 23), range(22, 23)])
def test_broken_steps_are_left_out(broken: range, tmp_path: Path) -> None:
    some = Run(tmp_path, broken=broken).go()
    assert some.seen == list(range(23))
    assert all(torch.isfinite(torch.tensor(list(record.values()))).all() for record in some.log())
    again = Run(tmp_path).go()  # the end was saved, whatever its last steps were
    assert again.seen == []


def test_too_many_broken_steps_end_the_run(tmp_path: Path) -> None:
    told = "fit: no finite gradient in steps 2 to 21"
    with pytest.raises(DivergedError, match=told) as caught:
        Run(tmp_path, broken=range(2, 23)).go()
    assert (caught.value.stage, caught.value.saved) == ("fit", 18)
    saved = tmp_path / "fit.state.safetensors"
    before = load_tensors(saved)[0]
    assert all(torch.isfinite(value).all() for value in before.values())
    good = Run(tmp_path).go()
    assert good.seen == list(range(18, 23))
    (log,) = [record for record in good.log() if record["step"] == 20]
    assert log["loss"] > 0


def test_the_rate_rises_stays_and_falls() -> None:
    schedule = Schedule(2.0, steps=100, warmup=10, decay=0.2)
    rates = [schedule.at(step) for step in range(100)]
    assert rates[0] == pytest.approx(0.2)
    assert rates[9:81] == [2.0] * 72
    assert rates[90] == pytest.approx(1.0)
    assert min(rates[81:]) == pytest.approx(0.1)
    assert all(a <= b for a, b in pairwise(rates[:11]))
    assert all(a > b for a, b in pairwise(rates[81:]))
    assert Schedule(1.0, 1000, 0, 1.0).at(999) == pytest.approx(0.02)


def test_a_log_is_read_without_a_line_that_was_cut_off(tmp_path: Path) -> None:
    records = [{"step": step, "loss": 1 / step} for step in range(1, 9)]
    (tmp_path / "fit.jsonl").write_text("\n".join(map(json.dumps, records)) + '\n{"step"')
    assert read_log(tmp_path / "fit.jsonl") == records
