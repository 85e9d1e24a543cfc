"""Events into a pipe whose reader lives and does not read."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lingen_cli.terminal import events as events_module
from lingen_cli.terminal.events import Events


@pytest.fixture(params=["pipe", "socket"])
def ends(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Reader and writer; the writer waits a tenth of a second."""
    monkeypatch.setattr(events_module, "PATIENCE", 0.1)
    if request.param == "pipe":
        reader, writer = os.pipe()
        yield reader, writer
        os.close(reader)
        os.close(writer)
        return
    one, other = socket.socketpair()
    with one, other:
        yield one.fileno(), other.fileno()


@pytest.fixture
def written(ends: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> Iterator[Events]:
    """Events into standard output, which is the writer."""
    with os.fdopen(os.dup(ends[1]), "w") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        events = Events("-")
        yield events
        events._files.close()


def lines(reader: int) -> list[Any]:
    """All that is there to read, which must be whole lines."""
    os.set_blocking(reader, False)
    data = b""
    try:
        while part := os.read(reader, 1 << 16):
            data += part
    except BlockingIOError:
        pass
    assert data.endswith(b"\n")
    return [json.loads(line) for line in data.splitlines()]


def fill(events: Events, size: int = 1000) -> int:
    """Write until events are dropped, and return how many were given."""
    pipe = events._pipe
    assert pipe is not None
    number = 0
    while not pipe._stalled:
        events.emit("progress", text="x" * size)
        number += 1
    return number


def test_events_are_dropped_and_told_once(
    ends: tuple[int, int], written: Events, capsys: pytest.CaptureFixture[str]
) -> None:
    given = fill(written)
    for _ in range(50):
        written.emit("progress", done=1)
    said = capsys.readouterr().err
    assert said.count("nobody has read the events for 0.1 s") == 1
    found = lines(ends[0])
    assert [one["seq"] for one in found[: given - 2]] == list(range(given - 2))
    written.emit("progress", done=2)
    with written:
        pass
    found += lines(ends[0])
    numbers = [one["seq"] for one in found]
    assert numbers == sorted(set(numbers))
    assert [one["event"] for one in found[-2:]] == ["progress", "end"]
    assert found[-2]["done"] == 2
    assert numbers[-1] == given + 51  # the gap says how many are missing
    assert len(found) < given + 52


@pytest.mark.parametrize("size", [10, 5000, 100_000])
def test_a_line_is_never_cut(ends: tuple[int, int], written: Events, size: int) -> None:
    """Whatever its size is, and wherever the pipe was full."""
    fill(written, size)
    os.set_blocking(ends[0], False)
    data = b""
    for _ in range(4000):
        try:
            data += os.read(ends[0], 1 << 16)
        except BlockingIOError:
            if data.endswith(b"\n") and b'"done": 7' in data:
                break
        written.emit("progress", done=7)
    found = [json.loads(line) for line in data.splitlines()]
    assert found[-1]["done"] == 7
    assert all(one["text"] == "x" * size for one in found if "text" in one)


def test_a_run_ends_beside_a_reader_that_sleeps(
    tiny_weights: Path, clean_environment: Path
) -> None:
    reader, writer = os.pipe()
    if hasattr(fcntl, "F_SETPIPE_SZ"):
        fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    os.set_blocking(writer, False)
    try:
        while os.write(writer, b"\n" * 512):
            pass
    except BlockingIOError:
        os.set_blocking(writer, True)
    patient = "from lingen_cli.terminal import events; events.PATIENCE = 0.5"
    code = f"import sys; {patient}; from lingen_cli.app import run; sys.exit(run(sys.argv[1:]))"
    options = ["--weights", str(tiny_weights), "--size", "32", "--frames", "9", "--steps", "2"]
    command = [sys.executable, "-c", code, "generate", "a red ball", *options, "--json"]
    done = subprocess.run(
        command, stdout=writer, stderr=subprocess.PIPE, text=True, timeout=120, check=False
    )
    os.close(writer)
    os.close(reader)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("nobody has read the events") == 1
    assert Path("a-red-ball.mp4").is_file()
