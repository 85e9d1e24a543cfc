"""Runs that die at a call by which they change the disk: reliability.md 5, D1.

`benchmarks/failures.py` tries every call; here it is every so-many-th, of each kind of job.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "failures.py"
EVERY = {
    "generate": 9,
    "story": 25,
    "overwrite": 25,
    "extend": 25,
    "retake": 25,
    "batch": 41,
}


def tried(kind: str, fault: str, every: int, weights: Path) -> tuple[Any, Any]:
    """Result of the script, and what it said of problems."""
    options = ["--kinds", kind, "--faults", fault, "--every", every, "--weights", weights]
    done = subprocess.run(
        [sys.executable, SCRIPT, *map(str, options), "--output", "results"],
        capture_output=True,
        text=True,
        check=False,
        timeout=290,
    )
    assert done.returncode in (0, 1), done.stderr
    found = json.loads(Path("results/failures.json").read_text())
    (result,) = found["results"]
    return result, found["problems"]


@pytest.mark.parametrize("kind", EVERY)
def test_d1_killed_at_any_call(clean_environment: Path, tiny_weights: Path, kind: str) -> None:
    result, problems = tried(kind, "crash", EVERY[kind], tiny_weights)
    assert not problems
    assert result["calls"] > 100
    assert result["tried"] == -(-result["calls"] // EVERY[kind])
    assert result["went on"] + result["began anew"] == result["tried"]
    assert result["went on"] > 0


@pytest.mark.parametrize("fault", ["ENOSPC", "EIO"])
def test_calls_that_fail(clean_environment: Path, tiny_weights: Path, fault: str) -> None:
    result, problems = tried("story", fault, 11, tiny_weights)
    assert not problems
    assert result["tried"] > 4
