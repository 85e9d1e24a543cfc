"""The shared loop: rates, logs, and a resumed run that equals an uninterrupted one."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from lingen_training.optimization.curves import draw_curves, read_log
from lingen_training.optimization.loop import Schedule, run_loop
from lingen_training.optimization.optimizer import MasterWeights

SCHEDULE = Schedule(1e-2, steps=23, warmup=4, decay=0.5)


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
        return {"loss": error, "half": error / 2}

    def go(self) -> Run:
        run_loop(
            name="fit",
            weights=self.weights,
            loss_of=self.loss_of,
            schedule=SCHEDULE,
            folder=self.folder,
            report=self.lines.append,
            log_every=2,
            save_every=6,
        )
        return self

    def log(self) -> list[dict[str, float]]:
        records = read_log(self.folder / "fit.jsonl")
        return [{k: v for k, v in record.items() if k != "seconds"} for record in records]


@pytest.fixture
def whole(tmp_path: Path) -> Run:
    folder = tmp_path / "whole"
    folder.mkdir()
    return Run(folder).go()


def test_it_learns_and_logs(whole: Run) -> None:
    assert whole.seen == list(range(23))
    log = whole.log()
    assert [record["step"] for record in log] == [*range(2, 23, 2), 23]
    assert set(log[0]) == {"step", "loss", "half", "norm"}
    assert log[-1]["loss"] < log[0]["loss"]
    assert log[3]["half"] == pytest.approx(log[3]["loss"] / 2, rel=1e-4)
    assert len(whole.lines) == len(log)
    assert whole.lines[0].startswith("fit 2/23 loss ")
    assert "ETA 0:00:0" in whole.lines[0]


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


def test_broken_steps_are_left_out_and_too_many_end_the_run(tmp_path: Path) -> None:
    some = Run(tmp_path, broken=range(5, 9)).go()
    assert some.seen == list(range(23))
    assert all(torch.isfinite(torch.tensor(list(record.values()))).all() for record in some.log())
    (tmp_path / "fit.state.safetensors").unlink()
    with pytest.raises(FloatingPointError, match="fit: no finite gradient since step 2"):
        Run(tmp_path, broken=range(2, 23)).go()


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


def test_curves_are_drawn_from_the_logs(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    assert draw_curves(tmp_path) is None
    (tmp_path / "empty.jsonl").write_text("")
    (tmp_path / "begun.jsonl").write_text('{"step": 10, "loss": 1.0}\n')
    assert draw_curves(tmp_path) is None
    records = [{"step": step, "loss": 1 / step} for step in range(1, 9)]
    (tmp_path / "fit.jsonl").write_text("\n".join(map(json.dumps, records)) + '\n{"step"')
    assert read_log(tmp_path / "fit.jsonl") == records
    path = draw_curves(tmp_path)
    assert path is not None
    assert path.read_bytes().startswith(b"\x89PNG")
