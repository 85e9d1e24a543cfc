"""Tables and colors of the terminal."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lingen_cli.terminal.tables import aligned, columns
from tests.cli.protocols import Fails, RunHere


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    assert columns([("a", "b"), ("long", "c")], head=("x", "yy")) == "X     YY\na     b\nlong  c"
    assert columns([("日本", "x"), ("abc", "y")]) == "日本  x\nabc   y"  # two cells a letter
    assert columns([("a", "")]) == "a"


def test_tables_in_markdown_are_aligned() -> None:
    text = "some words\n\n| a | bb |\n|---|---|\n| 100% | x |\n\nmore | words"
    assert aligned(text) == (
        "some words\n\n| a    | bb  |\n| ---- | --- |\n| 100% | x   |\n\nmore | words"
    )
    assert aligned(aligned(text)) == aligned(text)


@pytest.mark.parametrize(
    ("environment", "colored"),
    [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False), (None, False)],
)
def test_errors_have_a_color_on_a_terminal_alone(
    environment: dict[str, Any] | None, colored: bool
) -> None:
    """None: standard error is no terminal."""
    command = [sys.executable, "-m", "lingen_cli", "generate", ""]
    plain = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    if environment is None:
        pipe = subprocess.run(command, stderr=subprocess.PIPE, env=plain)
        said = pipe.stderr
    else:
        ours, theirs = pty.openpty()
        terminal = plain | {"TERM": "xterm"} | environment
        subprocess.run(command, stderr=theirs, env=terminal)
        os.close(theirs)
        said = os.read(ours, 4096)
        os.close(ours)
    assert (b"\x1b[1;31mlingen: error:\x1b[0m prompt is empty" in said) == colored
    assert colored or said.startswith(b"lingen: error: prompt is empty")


def test_the_cache_names_videos_and_prompts(
    lingen_here: RunHere, tiny_weights: Path, monkeypatch: pytest.MonkeyPatch, fails: Fails
) -> None:
    import json

    monkeypatch.setenv("LINGEN_CACHE_DIR", "cache")
    common = ("--frames", "9", "--steps", "1", "--weights", tiny_weights)
    assert lingen_here("generate", "a red ball", *common, "-o", "a.mp4").returncode == 0
    head, row = lingen_here("cache", "list").stdout.splitlines()
    assert head.split() == ["LATENTS", "SIZE", "LAST", "USED", "VIDEO", "PROMPT"]
    assert row.endswith(f"{os.path.abspath('a.mp4')}  a red ball")
    (entry,) = json.loads(lingen_here("cache", "list", "--json").stdout)
    assert (entry["prompt"], entry["video"]) == ("a red ball", os.path.abspath("a.mp4"))
    assert lingen_here("cache", "prune", "--all").returncode == 0
    # Nothing is loaded for a branch that cannot be made.
    monkeypatch.setattr("lingen_cli.generation.generate.load_for", lambda job: 1 / 0)
    found = lingen_here("branch", "a.mp4", "a ball", "--at", "0.3")
    fails(found, 69, "not in the cache; `lingen rerun` makes it once more")
    assert "seed" not in found.stderr
    fails(lingen_here("retake", "a.mp4", "--from", "0.3"), 69, "not in the cache")
