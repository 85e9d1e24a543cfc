"""A batch says how long all of it will take, from what was made so far."""

import json
import re
from pathlib import Path

import pytest

from lingen_cli.batch.run_batch import Outcome, Tally, Task
from lingen_cli.inputs.request import GenerateRequest
from lingen_cli.terminal.events import Events
from tests.cli.protocols import RunHere


def test_it_is_over_all_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    tasks = [
        Task(line, Path(f"{line}.mp4"), GenerateRequest(prompt="a ball"), work)
        for line, work in ((1, 10), (2, 20), (3, 30), (4, 40))
    ]
    tally = Tally(Events(None), begin=now)
    assert tally.left(tasks) == ""
    tally.add(Outcome(2, "2.mp4", "skipped"))  # took no time
    now = 103.0
    assert tally.left(tasks) == ""
    tally.add(Outcome(1, "1.mp4", "done"))
    now = 105.0
    assert tally.left(tasks) == ", 0:35 left for all"
    tally.add(Outcome(3, "3.mp4", "failed", 70, "why"))
    now = 125.0
    assert tally.left(tasks) == ", 1:40 left for all"
    tally.add(Outcome(4, "4.mp4", "done"))
    assert tally.left(tasks) == ""


def test_it_is_told_with_every_job(
    lingen_here: RunHere, tiny_weights: Path, clean_environment: Path
) -> None:
    job = {"prompt": "a ball", "frames": 9, "steps": 1, "size": 32, "weights": str(tiny_weights)}
    Path("jobs.jsonl").write_text("\n".join(json.dumps(job | {"seed": one}) for one in (1, 2, 3)))
    result = lingen_here("batch", "jobs.jsonl")
    assert result.returncode == 0, result.stderr
    told = re.findall(r"job (\d) of 3, line \d: \S+?mp4(.*)", result.stderr)
    assert [number for number, _ in told] == ["1", "2", "3"]
    assert told[0][1] == ""
    assert all(re.fullmatch(r", \d+:\d\d left for all", left) for _, left in told[1:])
