"""Mistakes that people make in their first hour, and what they are told."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.protocols import Fails, RunHere


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("a red ball",), "no such command; did you mean: lingen generate 'a red ball'"),
        (
            ("generate", "a", "red", "ball", "--seed", "3"),
            "put the prompt in quotes: lingen generate 'a red ball'",
        ),
        (("plan", "a", "red", "ball"), "put the prompt in quotes: lingen plan 'a red ball'"),
        (("extend",), "Missing argument 'VIDEO'. See: lingen extend --help"),
        (("generate", "a ball", "-o", "."), "--output is a folder: name a file in it, video.mp4"),
        (("generate", "a ball", "-o", "new/"), "name a file in it, new/video.mp4"),
        (("generat", "a ball"), "No such command 'generat'. Did you mean 'generate'?"),
    ],
)
def test_a_mistake_is_answered_with_what_to_write(
    arguments: tuple[str, ...], message: str, lingen_here: RunHere, fails: Fails
) -> None:
    fails(lingen_here(*arguments), 2, message)


@pytest.mark.parametrize("arguments", [("-h",), ("generate", "-h"), ("models", "show", "-h")])
def test_h_is_help(arguments: tuple[str, ...], lingen_here: RunHere) -> None:
    found = lingen_here(*arguments)
    assert found.returncode == 0 and "Usage: lingen" in found.stdout


def test_the_version_is_short_too(lingen_here: RunHere) -> None:
    assert lingen_here("-V").stdout == lingen_here("--version").stdout


def test_a_video_is_not_written_into_a_terminal(clean_environment: Path) -> None:
    master, slave = pty.openpty()
    command = [sys.executable, "-m", "lingen_cli", "generate", "a red ball", "-o", "-"]
    found = subprocess.run(command, stdout=slave, stderr=subprocess.PIPE, text=True)
    os.close(slave)
    os.close(master)
    assert found.returncode == 2
    assert "standard output is a terminal: pipe -o - into a player or a file" in found.stderr


def test_a_misspelt_word_has_its_neighbour(lingen_here: RunHere, tmp_path: Path) -> None:
    found = lingen_here(
        *("generate", "a red bal zzz", "--frames", "1", "--steps", "1"),
        *("-o", tmp_path / "ball.mp4"),
    )
    assert found.returncode == 0
    assert "never met: 'bal' (did you mean 'ball'?), 'zzz';" in (found.stderr)


def test_the_words_of_a_model_are_listed(lingen_here: RunHere) -> None:
    found = lingen_here("models", "show", "lingen-mini")
    (words,) = [line for line in found.stdout.splitlines() if line.startswith("words:")]
    assert {"ball", "bounces", "starry"} <= set(words.removeprefix("words:").strip().split(", "))


def test_verify_goes_on_after_a_bad_file(
    lingen_here: RunHere, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    good = ("--frames", "1", "--steps", "1", "-o", "good.mp4")
    assert lingen_here("generate", "a red ball", *good).returncode == 0
    (tmp_path / "bad.mp4").write_bytes(b"no video" * 50)
    found = lingen_here("verify", "bad.mp4", "good.mp4")
    assert found.returncode == 65
    assert "not a supported video file: bad.mp4" in found.stdout
    assert "good.mp4: 1 of 1 frames are as lingen made them" in found.stdout
    assert "1 of 2 videos cannot be verified" in found.stderr
