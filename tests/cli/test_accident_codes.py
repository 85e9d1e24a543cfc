"""Accidents that are the user's, the disk's or the machine's are never called a bug (70)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lingen_cli.exit_codes import failure_of
from lingen_cli.generation import latent_cache
from lingen_cli.inputs.settings import CacheLimit
from tests.cli.protocols import Fails, RunHere

HUGE = "1" * 5000


@pytest.mark.parametrize(
    ("name", "text", "command", "code"),
    [
        ("lingen.toml", f"steps = {HUGE}", ("config", "show"), 78),
        ("lingen.toml", f"steps = {HUGE}", ("generate", "a ball"), 78),
        ("j.toml", f"[[job]]\nseed = {HUGE}", ("batch", "j.toml"), 65),
        ("s.toml", f"[[shot]]\nseconds = {HUGE}", ("story", "check", "s.toml"), 65),
        ("s.toml", f"[[shot]]\nseconds = {HUGE}", ("generate", "--story", "s.toml"), 65),
        ("r.toml", f"seed = {HUGE}", ("train", "r.toml"), 65),
    ],
)
def test_numbers_of_thousands_of_digits(
    clean_environment: Path,
    lingen_here: RunHere,
    fails: Fails,
    name: str,
    text: str,
    command: tuple[str, ...],
    code: int,
) -> None:
    Path(name).write_text(text)
    fails(lingen_here(*command), code, name)


def test_standard_output_that_is_closed(clean_environment: Path, tiny_weights: Path) -> None:
    command = [sys.executable, "-m", "lingen_cli", "generate", "a ball", "--frames", "9"]
    done = subprocess.run(
        [*command, "--size", "64", "--steps", "1", "--weights", str(tiny_weights), "-o", "-"],
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        preexec_fn=lambda: os.close(1),
    )
    assert done.returncode == 74, done.stderr
    error = "lingen: error: cannot write to standard output: it is closed"
    assert done.stderr.splitlines()[-1] == error


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ImportError("libtorch_cpu.so: failed to map segment from shared object"), 71),
        (ImportError("x.so: cannot allocate memory in static TLS block"), 71),
        (ImportError("No module named 'x'"), 70),
    ],
)
def test_a_library_that_there_is_no_memory_for(error: Any, code: int) -> None:
    assert failure_of(error).code == code


def test_too_little_memory_to_begin_with(clean_environment: Path, tiny_weights: Path) -> None:
    import resource

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (400 << 20, 400 << 20))

    command = [sys.executable, "-m", "lingen_cli", "generate", "a ball", "--frames", "9"]
    done = subprocess.run(
        [*command, "--size", "64", "--weights", str(tiny_weights)],
        preexec_fn=limit,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 71, done.stderr
    assert "out of memory" in done.stderr.splitlines()[-1]
    assert os.listdir() == []


def without_calendar(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the cache's files be of the year 30000, as some disks can say."""
    stat = Path.stat

    class Status:
        st_size, st_mtime = 100, 884541351600.0

    def of(path: Path, **options: Any) -> Any:
        ours = path.suffix == ".safetensors" and path.parent == latent_cache.cache_folder()
        return Status() if ours else stat(path, **options)

    monkeypatch.setattr(Path, "stat", of)


def test_a_cache_file_of_a_year_that_no_calendar_has(
    clean_environment: Path,
    lingen_here: RunHere,
    tiny_weights: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(latent_cache.FOLDER_VARIABLE, str(clean_environment / "cache"))
    Path("cache").mkdir()
    Path("cache/old.safetensors").write_bytes(b"x")
    without_calendar(monkeypatch)
    listed = lingen_here("cache", "list")
    assert listed.returncode == 0
    assert "\nold " in listed.stdout
    options = ("--frames", 9, "--size", 64, "--steps", 1, "--weights", tiny_weights)
    assert lingen_here("generate", "a ball", *options, "-o", "a.mp4").returncode == 0
    assert lingen_here("cache", "prune", "--all").returncode == 0
    assert list(Path("cache").iterdir()) == []


def test_nothing_that_the_cache_does_ends_a_run(
    clean_environment: Path,
    lingen_here: RunHere,
    tiny_weights: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ValueError("the cache is broken")

    monkeypatch.setattr(latent_cache, "store", broken)
    options = ("--frames", 9, "--size", 64, "--steps", 1, "--weights", tiny_weights)
    result = lingen_here("generate", "a ball", *options, "-o", "a.mp4")
    assert result.returncode == 0
    assert "the latents were not kept: ValueError: the cache is broken" in result.stderr


def test_what_killed_runs_left_in_the_cache_goes(
    clean_environment: Path, lingen_here: RunHere, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    monkeypatch.setenv(latent_cache.FOLDER_VARIABLE, "cache")
    Path("cache").mkdir()
    for name, age in (("old", 7200), ("young", 5)):
        path = Path(f"cache/.{name}.safetensors.12ab34cd.tmp")
        path.write_bytes(b"half")
        moment = path.stat().st_mtime - age
        os.utime(path, (moment, moment))
    latent_cache.store(torch.zeros(1), "0" * 64, CacheLimit(store=10**6, prune=10**6))
    left = sorted(path.name for path in Path("cache").iterdir())
    assert left == [".young.safetensors.12ab34cd.tmp", f"{'0' * 64}.safetensors"]
    assert lingen_here("cache", "prune", "--all").returncode == 0
    assert list(Path("cache").iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
def test_a_home_that_cannot_be_searched(
    clean_environment: Path, lingen_here: RunHere, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after `sudo -u`: nobody asked for the settings in there."""
    from lingen_cli.app import run

    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    for name in ("HOME", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(name, str(home))
    monkeypatch.chdir("/")
    assert lingen_here("config", "show").returncode == 0  # all that it imports is here now
    pid = os.fork()
    if pid == 0:
        os.setgid(65534)
        os.setuid(65534)
        os._exit(run(["config", "show"]))
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


TWICE = """
import os, signal, sys
from lingen_cli import app

def command(*_, **__):
    os.kill(os.getpid(), signal.{0})
    raise AssertionError

class Late:
    def __del__(self):  # as Python ends
        os.kill(os.getpid(), signal.{1})

app._command, late = lambda: command, Late()
app.main()
"""


@pytest.mark.parametrize(
    ("first", "second", "code"),
    [("SIGINT", "SIGINT", 130), ("SIGINT", "SIGTERM", 130), ("SIGTERM", "SIGINT", 143)],
)
def test_a_second_signal_as_the_process_ends(
    clean_environment: Path, first: str, second: str, code: int
) -> None:
    """The exit code is the one that was told."""
    done = subprocess.run(
        [sys.executable, "-c", TWICE.format(first, second)], capture_output=True, check=False
    )
    assert done.returncode == code, done.stderr


def test_two_signals_at_once_raise_one_error() -> None:
    from lingen_cli.terminal import signals

    before = {number: signal.getsignal(number) for number in (2, 15, 1)}
    try:
        signals.install()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        assert isinstance(signals.stopped(), KeyboardInterrupt)
        signals.install()
        assert signals.stopped() is None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
