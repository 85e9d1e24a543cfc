"""`benchmarks/minute.py`, with a very small model."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


def test_a_minute(
    benchmark_script: Callable[[str], Any],
    tiny_weights: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    minute = benchmark_script("minute")
    options = ["--weights", str(tiny_weights), "--output", str(tmp_path)]
    assert minute.main([*options, "--", "--size", "16", "--steps", "1"]) == 0
    assert "1 steps, from start to exit: **" in capsys.readouterr().out
    result = json.loads((tmp_path / "minute.json").read_text(encoding="utf-8"))
    assert result["machine"]["cores"] and result["minute"]["sampling_steps"] == 1
    assert {"sample", "verify"} <= set(result["minute"]["phases"])
    assert sum(result["minute"]["phases"].values()) < result["minute"]["wall_seconds"]
