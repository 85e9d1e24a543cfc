"""`benchmarks/scan_orders.py`, on a small grid."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


def test_a_small_run(
    benchmark_script: Callable[[str], Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scan_orders = benchmark_script("scan_orders")
    options = ["--frames", "3", "--side", "2", "--depth", "2", "--rounds", "2"]
    assert scan_orders.main([*options, "--device", "cpu", "--output", str(tmp_path)]) == 0
    result = json.loads((tmp_path / "scan_orders.json").read_text(encoding="utf-8"))
    for kind in ("alone", "network"):
        seconds = result["seconds"][kind]
        assert set(seconds) == set(scan_orders.ORDERS)
        assert all(len(rounds) == 2 and min(rounds) > 0 for rounds in seconds.values())
    rows = capsys.readouterr().out.splitlines()
    assert rows[2].startswith("| rms |") and rows[2].endswith("| 1.00 |")
