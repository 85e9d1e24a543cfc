"""`benchmarks/kills.py` and `batch_kills.py`, with few kills of a model of test size."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any


def test_a_small_run(
    benchmark_script: Callable[[str], Any], tiny_weights: Path, tmp_path: Path
) -> None:
    kills = benchmark_script("kills")
    small = ("--kills", "1", "--seconds", "0.5", "--size", "64", "--steps", "2")
    options = (*small, "--weights", str(tiny_weights), "--output", str(tmp_path))
    assert kills.main(options) == 0
    count = json.loads((tmp_path / "kills.json").read_text(encoding="utf-8"))
    assert count["kills"] == 1
    assert count.get("equal", 0) + count.get("finished before the kill", 0) == 1


def test_a_small_batch(
    benchmark_script: Callable[[str], Any], tiny_weights: Path, tmp_path: Path
) -> None:
    kills = benchmark_script("batch_kills")
    small = ("--jobs", "8", "--bad", "2", "--kills", "1")
    options = (*small, "--weights", str(tiny_weights), "--output", str(tmp_path))
    assert kills.main(options) == 0
    result = json.loads((tmp_path / "batch_kills.json").read_text(encoding="utf-8"))
    assert (result["videos"], result["exit_codes"]) == (6, [-9, 1])
