"""Runs that die at a call by which they change the disk: reliability.md 5, D1.

`benchmarks/failures.py` tries every call; here it is every so-many-th, of each kind of job.
"""

from __future__ import annotations

import importlib.util
import json
import multiprocessing
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "failures.py"
EVERY = {
    "generate": 23,
    "story": 61,
    "overwrite": 61,
    "extend": 61,
    "retake": 61,
    "batch": 75,
}


def tried(kind: str, fault: str, every: int, weights: Path) -> tuple[Any, Any]:
    """Result of the script, and what it said of problems."""
    options = ["--kinds", kind, "--faults", fault, "--every", every, "--weights", weights]
    context = multiprocessing.get_context("forkserver")  # it has imported torch already
    given = [*map(str, options), "--output", "results"]
    process = context.Process(target=_main, args=(os.getcwd(), dict(os.environ), given))
    process.start()
    process.join()
    assert process.exitcode in (0, 1), Path("said").read_text()
    found = json.loads(Path("results/failures.json").read_text())
    (result,) = found["results"]
    return result, found["problems"]


def _main(folder: str, environment: dict[str, str], options: Sequence[str]) -> None:
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    spec = importlib.util.spec_from_file_location("failures", SCRIPT)
    assert spec is not None and spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    with open("said", "w") as said:
        os.dup2(said.fileno(), 1)
        os.dup2(said.fileno(), 2)
    sys.exit(script.main(options))


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
    result, problems = tried("story", fault, 17, tiny_weights)
    assert not problems
    assert result["tried"] >= 4
