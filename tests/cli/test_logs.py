"""`lingen --log-file` and `lingen --trace`."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cli.protocols import Fails, RunHere


@pytest.fixture
def generate(
    lingen_here: RunHere, tiny_weights: Path
) -> Callable[..., subprocess.CompletedProcess[str]]:
    def run(*options: object, before: Any = (), steps: int = 6) -> subprocess.CompletedProcess[str]:
        arguments = ("generate", "a red ball", "--frames", 9, "--size", 64, "--seed", 1)
        return lingen_here(
            *before, *arguments, "--steps", steps, "--weights", tiny_weights, *options
        )

    return run


def lines() -> list[str]:
    return Path("run.log").read_text(encoding="utf-8").splitlines()


def test_a_log_has_everything_and_is_appended_to(
    generate: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    before = ("--log-file", "run.log")
    assert generate("-q", "-o", "a.mp4", before=before).stderr == ""
    first = lines()
    stamp = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4} INFO \[\d+\] "
    assert all(re.match(stamp, line) for line in first)
    assert "lingen --log-file run.log generate 'a red ball'" in first[0]
    assert [line.split("] ")[1] for line in first[1:]] == [
        "lingen: 0.5625 s at 64x64, seed 1",
        "made a.mp4",
        "exit code 0",
    ]
    assert generate("-o", "b.mp4", "--seed", -2, before=before).returncode == 2
    assert lines()[: len(first)] == first
    assert "--seed must be" in "\n".join(lines()[len(first) :])
    assert lines()[-1].endswith("exit code 2")
    assert generate("-o", "c.mp4").returncode == 0
    assert "c.mp4" not in "\n".join(lines())


def test_a_log_says_where_an_error_came_from(
    generate: Callable[..., subprocess.CompletedProcess[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    from lingen_models.pipelines.text_to_video import TextToVideo

    def sample(self: Any, *arguments: object, **options: Any) -> None:
        raise RuntimeError("boom \x1b[31m")

    monkeypatch.setattr(TextToVideo, "sample", sample)
    assert generate("-o", "a.mp4", before=("--log-file", "run.log")).returncode == 70
    text = "\n".join(lines())
    assert "in sample" in text
    assert "internal error: RuntimeError: boom" in text


def test_a_log_that_cannot_be_written(
    generate: Callable[..., subprocess.CompletedProcess[str]], fails: Fails
) -> None:
    fails(generate(before=("--log-file", "no/run.log")), 66, "no such folder: no")
    fails(generate(before=("--log-file", ".")), 73, "is a folder")
    result = generate("-o", "a.mp4", before=("--log-file", "/dev/full"))
    assert (result.returncode, result.stdout) == (0, "a.mp4\n")


def test_a_trace(generate: Callable[..., subprocess.CompletedProcess[str]], fails: Fails) -> None:
    before = ("--trace", "trace.json")
    assert generate("-o", "a.mp4", before=before).returncode == 0
    events = json.loads(Path("trace.json").read_bytes())["traceEvents"]
    assert sum(event["name"].startswith("ProfilerStep") for event in events) >= 3
    assert any(event["name"] == "aten::linear" for event in events)
    fails(generate("-o", "b.mp4", before=before), 73, "already exists")
    assert generate("-o", "c.mp4", before=("--trace", "short.json"), steps=1).returncode == 0
    assert json.loads(Path("short.json").read_bytes())["traceEvents"]
