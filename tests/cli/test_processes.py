"""Processes that a batch begins: how their end is told, and who outlives whom."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lingen_cli.files.work_folder import WorkFolder
from tests.cli.protocols import Fails, RunHere

SAFE = [sys.executable, "-P", "-m", "lingen_cli"]


@pytest.fixture
def listed(
    clean_environment: Path, tiny_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., str]:
    """Return a function that writes a list of so many short jobs."""
    monkeypatch.setenv("LINGEN_JOURNAL_SECONDS", "0")

    def write(count: int, **more: Any) -> str:
        common = {"frames": 9, "steps": 2, "size": 64, "weights": str(tiny_weights)}
        lines = [json.dumps({"prompt": f"ball {n}"} | common | more) for n in range(count)]
        Path("jobs.jsonl").write_text("\n".join(lines), encoding="utf-8")
        return "jobs.jsonl"

    return write


def videos() -> list[str]:
    return sorted(path.name for path in Path("jobs").glob("*.mp4"))


def test_the_search_path_has_no_current_folder(
    clean_environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lingen_cli.installation.interpreter import packages_folder, search_path

    kept = [one for one in sys.path if one]
    for here in ("", ".", str(clean_environment)):
        monkeypatch.setattr(sys, "path", [here, *kept])
        assert search_path() == kept
    monkeypatch.chdir(packages_folder())
    assert packages_folder() in search_path()


def test_a_worker_that_dies_at_its_import_is_told(
    listed: Callable[..., str], lingen_here: RunHere, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends with 1, as a batch does of which some jobs failed; the others make its share."""
    from lingen_cli.batch import processes

    code = "import a_module_that_is_not_there"
    monkeypatch.setattr(processes, "lingen_command", lambda *_: [sys.executable, "-c", code])
    result = lingen_here("batch", listed(2), "--jobs", 2)
    assert result.returncode == 0, result.stderr
    why = "ModuleNotFoundError: No module named 'a_module_that_is_not_there'"
    assert f"process 1 of 2 ended with 1: {why}" in result.stderr
    assert f"process 2 of 2 ended with 1: {why}" in result.stderr
    assert len(videos()) == 2


def workers_of(process: subprocess.Popen[Any]) -> list[int]:
    found: list[int] = []
    for task in Path(f"/proc/{process.pid}/task").glob("*/children"):
        found += map(int, task.read_text(encoding="ascii").split())
    return found


def is_alive(pid: Any) -> Any:
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def test_workers_end_with_their_parent(listed: Callable[..., str]) -> None:
    command = [*SAFE, "batch", listed(8, steps=400), "--jobs", "2", "--quiet"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        while not list(Path().glob("jobs/.*/journal/state*")):
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.1)
        workers = workers_of(process)
        assert len(workers) == 2
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        until = time.monotonic() + 120
        while any(map(is_alive, workers)) and time.monotonic() < until:
            time.sleep(0.2)
        assert not any(map(is_alive, workers))
    assert len(videos()) < 8
    assert list(Path().glob("jobs/.*/journal/state*"))


@pytest.mark.parametrize("options", [(), ("--jobs", 2)])
def test_an_output_that_is_held_is_not_called_made(
    listed: Callable[..., str], lingen_here: RunHere, options: tuple[Any, ...]
) -> None:
    path = listed(2)
    Path("jobs").mkdir()
    with WorkFolder(Path("jobs/0002-ball-1.mp4")):
        result = lingen_here("batch", path, "--wait", 0, "--json", *options)
    assert result.returncode == 75
    assert "1 made, 0 there already, 1 held by other runs, 0 failed" in result.stderr
    assert "jobs.jsonl:2: exit code 75: another lingen run is writing this output" in result.stderr
    assert "1 of 2 outputs are held by other runs" in result.stderr
    events = [json.loads(line) for line in result.stdout.splitlines()]
    held = [event for event in events if event.get("status") == "held"]
    assert [(one["line"], one["code"]) for one in held] == [(2, 75)]
    end = events[-1]
    assert (end["code"], end["done"], end["held"], end["failed"]) == (75, 1, 1, 0)
    assert videos() == ["0001-ball-0.mp4"]
    assert lingen_here("batch", path).returncode == 0
    assert len(videos()) == 2


def test_an_output_that_was_let_go_is_made(
    listed: Callable[..., str], lingen_here: RunHere, monkeypatch: pytest.MonkeyPatch
) -> None:

    path = listed(1)
    Path("jobs").mkdir()
    held = WorkFolder(Path("jobs/0001-ball-0.mp4")).__enter__()
    monkeypatch.setattr(
        "lingen_cli.batch.run_batch.time.sleep", lambda _: held.__exit__(None, None, None)
    )
    result = lingen_here("batch", path, "--json")
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout.splitlines()[-1])["done"] == 1
    assert videos() == ["0001-ball-0.mp4"]


def test_two_names_of_one_output_are_one(
    listed: Callable[..., str], lingen_here: RunHere, fails: Fails
) -> None:
    path = Path(listed(2))
    first, second = map(json.loads, path.read_text().splitlines())
    lines = [first | {"output": "q.mp4"}, second | {"output": "b/../q.mp4"}]
    path.write_text("\n".join(map(json.dumps, lines)))
    result = lingen_here("batch", path)
    assert "jobs.jsonl:2: the output q.mp4 is that of line 1 too" in result.stderr
    fails(result, 65)
