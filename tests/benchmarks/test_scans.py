"""`benchmarks/scans.py`, on a short sequence, with the others that are installed."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


def test_a_small_run(
    benchmark_script: Callable[[str], Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scans = benchmark_script("scans")
    options = ["--lengths", "256", "--heads", "2", "--features", "8", "--state", "4"]
    options += ["--rounds", "2", "--device", "cpu", "--output", str(tmp_path)]
    assert scans.main(options) == 0
    result = json.loads((tmp_path / "scans.json").read_text(encoding="utf-8"))
    allowed = {"float32": 1e-5, "bfloat16": 2e-2}
    assert [row["dtype"] for row in result["rows"]] == list(allowed)
    for row in result["rows"]:
        assert next(iter(row["found"])) == "lingen"
        for found in row["found"].values():
            assert len(found["both"]) == 2 and min(found["both"]) > 0
            assert found["error"] < allowed[row["dtype"]]
    assert "| 256 | float32 | lingen |" in capsys.readouterr().out


def test_one_called_twice_reads_both_directions(benchmark_script: Callable[[str], Any]) -> None:
    scans = benchmark_script("scans")
    given = scans.draw(40, 2, 8, 4, "cpu")

    def forward(way: Any) -> Any:
        zero = scans.Inputs(
            way.x, way.dt[None].repeat(2, 1, 1, 1), way.A.repeat(2, 1), way.B, way.C
        )
        alone = scans.Inputs(zero.x, zero.dt * 0, zero.A, zero.B, zero.C)
        alone.dt[0] = zero.dt[0]  # the backward direction does not step
        return scans.recurrence(alone).float()

    found = scans.twice(forward)(given)
    assert (found - scans.recurrence(given)).norm() / found.norm() < 1e-5
