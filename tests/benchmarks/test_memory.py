"""`benchmarks/memory.py`, on a quarter of a second of very small frames."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any


def test_a_small_run(benchmark_script: Callable[[str], Any], tmp_path: Path) -> None:
    memory = benchmark_script("memory")
    options = ["--minutes", "0.005,0.01", "--size", "32", "--output", str(tmp_path)]
    assert memory.main(options) == 0
    result = json.loads((tmp_path / "memory.json").read_text(encoding="utf-8"))
    assert [run["frames"] for run in result["runs"]] == [5, 10]
    assert all(run["peak_bytes"] > 50e6 for run in result["runs"])  # torch alone is more
    assert "| 0.01 min | 10 |" in (tmp_path / "memory.md").read_text(encoding="utf-8")
