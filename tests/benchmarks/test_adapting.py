"""`benchmarks/adapting.py`, on logs of a few steps."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


def write_log(folder: Path, losses: dict[int, float]) -> Path:
    folder.mkdir()
    lines = [json.dumps({"step": step, "loss": loss}) for step, loss in losses.items()]
    (folder / "long.jsonl").write_text("\n".join(lines) + "\n")
    return folder


def test_steps_that_all_have(
    benchmark_script: Callable[[str], Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = write_log(tmp_path / "one", {10: 0.5, 20: 0.4, 30: 0.25})
    other = write_log(tmp_path / "other", {10: 0.6, 20: 0.6})
    output = tmp_path / "made"
    script = benchmark_script("adapting")
    assert script.main([f"lingen-mini={one}", f"dit-mini={other}", "-o", str(output)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "| steps | loss of lingen-mini | loss of dit-mini | dit-mini / lingen-mini |",
        "|---|---|---|---|",
        "| 10 | 0.500 | 0.600 | 1.20 |",
        "| 20 | 0.400 | 0.600 | 1.50 |",
    ]
    kept = json.loads(output.with_suffix(".json").read_text())
    assert kept["dit-mini"] == {"10": 0.6, "20": 0.6}
    assert output.with_suffix(".png").read_bytes().startswith(b"\x89PNG")


def test_nothing_in_common(benchmark_script: Callable[[str], Any], tmp_path: Path) -> None:
    one = write_log(tmp_path / "one", {10: 0.5})
    other = write_log(tmp_path / "other", {20: 0.6})
    with pytest.raises(ValueError, match="no step of long that all of a, b have"):
        benchmark_script("adapting").main([f"a={one}", f"b={other}"])
