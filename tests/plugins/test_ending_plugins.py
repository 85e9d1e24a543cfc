"""Plugins that end the process, or move it elsewhere, while they are imported."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

SOURCES = {
    "leaves": ("import os; os._exit(3)", 3, "lingen: the plugin 'leaves' ended the process"),
    "crashes": ("import ctypes; ctypes.string_at(0)", -11, "<plugin 'crashes'>"),
    "aborts": ("import os; os.abort()", -6, "<plugin 'aborts'>"),
}


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return a function that runs `lingen` with a plugin of that source."""

    def run(name: str, source: str, *command: object) -> subprocess.CompletedProcess[str]:
        folder = tmp_path / "installed"
        info = folder / f"{name}-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[lingen]\n{name} = module_{name}\n")
        (folder / f"module_{name}.py").write_text(source)
        work = tmp_path / "work"
        work.mkdir()
        return subprocess.run(
            [sys.executable, "-m", "lingen_cli", *map(str, command)],
            cwd=work,
            env=os.environ | {"PYTHONPATH": str(folder), "HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
        )

    return run


@pytest.mark.parametrize("name", SOURCES)
def test_a_plugin_that_ends_the_process_is_named(
    run: Callable[..., subprocess.CompletedProcess[str]], name: str
) -> None:
    source, code, told = SOURCES[name]
    done = run(name, source, "models", "list")
    assert done.returncode == code
    assert told in done.stderr


def test_a_plugin_that_leaves_a_thread_is_not_waited_for(
    run: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    source = "import threading, time\n"
    source += "threading.Thread(target=time.sleep, args=(600,), name='ticker').start()"
    begin = time.monotonic()
    done = run("ticks", source, "models", "list", "--json")
    assert time.monotonic() - begin < 120
    assert done.returncode == 0
    assert json.loads(done.stdout)
    assert "threads that a plugin left: ticker" in done.stderr


def test_a_plugin_that_goes_elsewhere(
    run: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path, tiny_weights: Path
) -> None:
    options = ("--frames", 9, "--size", 64, "--steps", 1, "--weights", tiny_weights)
    source = "import os; os.chdir('/')"
    done = run("walks", source, "generate", "a ball", *options, "-o", "here.mp4")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "here.mp4\n"
    assert os.listdir(tmp_path / "work") == ["here.mp4"]
