import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import rich.progress
import torch

from lingen_cli.terminal import console
from lingen_cli.terminal.clock import Clock, minutes
from lingen_cli.terminal.events import Events
from lingen_cli.terminal.latent_preview import sketch
from lingen_cli.terminal.progress import Progress


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that tests set by hand."""
    now = [1000.0]
    monkeypatch.setattr("lingen_cli.terminal.progress.time.monotonic", lambda: now[0])
    return now


def test_without_a_terminal_a_line_comes_every_ten_seconds(
    capsys: pytest.CaptureFixture[str], clock: list[float]
) -> None:
    with Events(None) as events, Progress(events) as progress:
        progress.phase("sample", 20)
        for done in range(1, 11):
            clock[0] += 3
            progress.advance(done)
        clock[0] += 10
        progress.advance(20)
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "lingen: sample 4/20, 48 s left",
        "lingen: sample 8/20, 36 s left",
        "lingen: sample 20/20, took 40 s",
    ]


def test_a_bar_says_what_has_passed_and_what_is_left() -> None:
    now = [0.0]
    bars = rich.progress.Progress(Clock(), get_time=lambda: now[0])
    bars.add_task("sample", total=10)
    (task,) = bars.tasks
    shown = []
    for done in (0, 1, 2, 10):
        now[0] = done * 30.0
        bars.update(task.id, completed=done)
        shown.append(Clock().render(task).plain)
    assert shown == ["0:00", "0:30", "1:00, 4:00 left", "5:00"]
    assert minutes(3723.4) == "1:02:03"


def test_quiet_is_quiet(capsys: pytest.CaptureFixture[str], clock: list[float]) -> None:
    with Events(None) as events, Progress(events, quiet=True) as progress:
        progress.phase("sample", 2)
        clock[0] += 100
        progress.advance(1)
        progress.note("text")
        progress.warn("text")
    assert capsys.readouterr() == ("", "")


def test_a_lost_event_stream_does_not_stop_the_run(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with Events(f"/dev/fd/{writer}") as events:
        for number in range(3):
            events.emit("progress", done=number)
    os.close(writer)


def test_events_are_ascii_and_one_line_each(tmp_path: Path) -> None:
    with Events(str(tmp_path / "log")) as events:
        events.emit("warning", message="größer\n\u2028 zwei")
    lines = (tmp_path / "log").read_bytes().split(b"\n")
    assert len(lines) == 3 and lines[2] == b""
    assert json.loads(lines[0])["message"] == "größer\n\u2028 zwei"
    assert all(byte < 128 for byte in lines[0])


def test_a_terminal_gets_bars_with_phases(tiny_weights: Path, clean_environment: Path) -> None:
    master, slave = pty.openpty()
    command = [sys.executable, "-m", "lingen_cli", "generate", "a red ball", "--preview"]
    options = ["--weights", str(tiny_weights), "--size", "32", "--frames", "9", "--steps", "2"]
    process = subprocess.Popen(
        [*command, *options],
        stdout=subprocess.PIPE,
        stderr=slave,
        env=os.environ | {"TERM": "xterm"},
    )
    os.close(slave)
    shown = b""
    while True:
        try:
            data = os.read(master, 4096)
        except OSError:  # Linux says EIO when the other end is closed
            break
        if not data:
            break
        shown += data
    os.close(master)
    out, _ = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, b"a-red-ball.mp4\n")
    text = shown.decode()
    for part in ("load", "sample", "decode and write", "verify", "\N{UPPER HALF BLOCK}"):
        assert part in text


def test_a_second_signal_ends_the_process_at_once() -> None:
    code = (
        "import time\nfrom lingen_cli.terminal import signals\n"
        "signals.install()\n"
        "with signals.announced():\n"
        "    word = 'ready\\n'\n"
        "    while True:\n"
        "        try:\n"
        "            print(word, end='', flush=True)\n"  # here, where a signal is caught
        "            word = ''\n"
        "            time.sleep(60)\n"
        "        except BaseException:\n"
        "            pass\n"  # as deaf as a long torch operation
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stderr is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGTERM)
    assert "stopping after this step" in process.stderr.readline()
    time.sleep(0.6)  # what comes at once is the same signal, to a group or through a shell
    sent = time.monotonic()
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=20) == 143
    assert time.monotonic() - sent < 10
    process.stdout.close()
    process.stderr.close()


def test_a_sketch_has_the_colors_of_the_decoded_frame() -> None:
    torch.manual_seed(0)
    mixing = torch.randn(3, 16)
    latents = torch.randn(1, 16, 5, 4, 6)
    colors = torch.einsum("oc,cthw->othw", mixing, latents[0]) * 8 + 128
    image = colors[:, 0].repeat_interleave(8, 1).repeat_interleave(8, 2)
    image = image.clamp(0, 255).round().to(torch.uint8).permute(1, 2, 0)
    row = sketch(latents, image, frames=3)
    assert row.shape == (4, 3 * 6 + 2 * 2, 3) and row.dtype == np.uint8
    expected = colors[:, 4].clamp(0, 255).permute(1, 2, 0).numpy()
    assert np.abs(row[:, -6:].astype(float) - expected).mean() < 12


@pytest.mark.parametrize(
    ("terminal", "shown"), [(True, "\\x1b[2J.mp4\n"), (False, "\x1b[2J.mp4\n")]
)
def test_a_path_obeys_the_reader(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, terminal: bool, shown: str
) -> None:
    """A script gets the name that the file has; a terminal gets nothing that it would obey."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal, raising=False)
    console.path(Path("\x1b[2J.mp4"))
    assert capsys.readouterr().out == shown
