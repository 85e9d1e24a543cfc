"""Readers that go away, and a user who has had enough: reliability.md 5, D2 and D7."""

from __future__ import annotations

import json
import shlex
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def command(clean_environment: Path, tiny_weights: Path) -> list[str]:
    """A command line that makes `a.mp4`."""
    options = ("--frames", "9", "--size", "64", "--seed", "1", "-o", "a.mp4")
    weights = ("--weights", str(tiny_weights))
    return [sys.executable, "-m", "lingen_cli", "generate", "a red ball", *options, *weights]


@pytest.mark.parametrize(
    ("redirection", "code", "error"),
    [
        pytest.param(">/dev/full", 74, "cannot write to standard output", id="D7 full"),
        pytest.param(">&- 2>/dev/full <&-", 0, "", id="D7 closed"),
        pytest.param("--json >/dev/full", 0, "", id="D7 events full"),
        pytest.param("--json | head -1", 0, "", id="D7 reader gone"),
    ],
)
def test_a_job_outlives_its_readers(
    command: list[str], redirection: str, code: int, error: str
) -> None:
    line = f"set -o pipefail; {shlex.join(command)} --steps 1 {redirection}"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    errors = [line for line in done.stderr.splitlines() if "lingen: error:" in line]
    assert len(errors) == bool(error)
    assert all(error in line for line in errors)
    assert [path.name for path in Path().iterdir()] == ["a.mp4"]


def test_ctrl_c_is_answered_at_once(command: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """D2: also where a step takes long; here the first of a thousand."""
    monkeypatch.setenv("LINGEN_JOURNAL_SECONDS", "0")
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen([*command, "--steps", "1000", "--json"], **pipes) as process:
        assert process.stdout is not None and process.stderr is not None
        for line in process.stdout:
            event = json.loads(line)
            if event.get("phase") == "sample" and event["done"] >= 2:
                break
        # Events that nobody reads fill the pipe, and then the step never ends.
        threading.Thread(target=process.stdout.read, daemon=True).start()
        process.send_signal(signal.SIGINT)
        sent, lines = time.monotonic(), [process.stderr.readline()]
        while not any("stopping after this step" in line for line in lines):
            assert time.monotonic() - sent < 10
            lines.append(process.stderr.readline())
        # `communicate` would not give what lies in our buffer already. Two threads of it write:
        # where a step is short, what is kept may be told before that the signal was heard.
        err = "".join([*lines, process.stderr.read()])
    assert process.returncode == 130
    assert "lingen resume a.mp4" in err
    assert [path.name for path in Path().iterdir()] == [".a.mp4.lingen"]
