"""Mistakes that people make in their first hour, and what they are told."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable
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
        (
            ("extend",),
            "missing argument 'VIDEO'; usage: lingen extend [OPTIONS] VIDEO; "
            "see: lingen extend --help",
        ),
        (
            ("models", "show"),
            "missing argument 'NAME'; usage: lingen models show [OPTIONS] NAME; "
            "see: lingen models show --help",
        ),
        (
            ("generate", "a ball", "-o", "new"),
            "must be a folder, or end in .mp4, .mov, .mkv, .webm, .gif or .png, not 'new'",
        ),
        (("generate", "a ball", "-o", "https://x/"), "--output is not a file path"),
        (("generat", "a ball"), "no such command 'generat'; did you mean: lingen generate"),
        (("create", "a ball"), "no such command 'create'; did you mean: lingen generate"),
        (("models", "lst"), "no such command 'lst'; did you mean: lingen models list"),
        (("help",), "no such command 'help'; did you mean: lingen --help"),
        (("help", "show"), "no such command 'help'; did you mean: lingen show --help"),
        (("version",), "no such command 'version'; did you mean: lingen --version"),
        (("xyz",), "no such command 'xyz'; see: lingen --help"),
        (("generate", "x", "--length", "4"), "no such option '--length'; did you mean '--seconds'"),
        (("extend", "x", "--duration", "4"), "no such option '--duration'; did you mean '--sec"),
        (("generate", "x", "--width", "4"), "no such option '--width'; did you mean '--size'?"),
        (("retake", "x", "--width", "4"), "no such option '--width'; see: lingen retake --help"),
        (("generate", "x", "--stepz", "4"), "no such option '--stepz'; did you mean '--steps'?"),
        (("generate", "x", "--verbose"), "no such option '--verbose'; see: lingen generate --he"),
        (("generate", "x", "--steps", "abc"), "--steps must be a whole number; see: lingen gen"),
        (("generate", "x", "--model", "lingen"), "unknown model 'lingen'; did you mean 'lingen-m"),
        (("generate", "x", "--model", "wan"), "unknown model 'wan'; did you mean 'wan-1.3b'?"),
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
    told = "lingen-mini ignores words that it does not know: 'bal' (did you mean 'ball'?), 'zzz';"
    assert told in found.stderr


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


@pytest.fixture
def first(
    lingen_here: RunHere, tiny_weights: Path
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return a function that makes a frame, with `lingen-mini` or the tiny weights."""

    def make(
        *options: object, tiny: bool = True, prompt: str = "a red ball"
    ) -> subprocess.CompletedProcess[str]:
        common = ("generate", prompt, "--frames", "1", "--steps", "1", "--seed", "1")
        weights = ("--weights", tiny_weights) if tiny else ()
        return lingen_here(*common, *weights, *options)

    return make


def test_a_prompt_of_unknown_words_is_told_to_say_nothing(
    first: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    found = first("-o", "a.mp4", prompt="the zzz of a qqq")
    assert "knows none of the words that say what is shown" in found.stderr
    assert "of its own: 'the', 'zzz', 'of', 'qqq'; its words:" in found.stderr


@pytest.mark.parametrize("folder", ["videos", "videos/"])
def test_a_folder_as_output_gets_the_video(
    first: Callable[..., subprocess.CompletedProcess[str]],
    folder: str,
    clean_environment: Path,
    lingen_here: RunHere,
) -> None:
    (clean_environment / "videos").mkdir()
    assert first("-o", folder).stdout == "videos/a-red-ball.mp4\n"
    longer = lingen_here("rerun", "videos/a-red-ball.mp4", "-o", folder)
    assert longer.stdout == "videos/a-red-ball-again.mp4\n"
    names = sorted(path.name for path in (clean_environment / "videos").iterdir())
    assert names == ["a-red-ball-again.mp4", "a-red-ball.mp4"]


def test_a_folder_that_is_not_there(
    first: Callable[..., subprocess.CompletedProcess[str]], fails: Fails
) -> None:
    fails(first("-o", "new/"), 66, "no such folder: new")


@pytest.mark.parametrize(
    ("size", "told"), [("48", True), ("64", False), ("192x128", False), ("208x128", True)]
)
def test_sizes_far_from_the_trained_one_are_warned_of(
    first: Callable[..., subprocess.CompletedProcess[str]],
    size: str,
    told: bool,
    clean_environment: Path,
) -> None:
    found = first("--size", size, "--json", tiny=False)
    shown = size if "x" in size else f"{size}x{size}"
    message = f"lingen-mini was trained at 128x128: at {shown} it draws worse"
    events = [json.loads(line) for line in found.stdout.splitlines()]
    assert found.returncode == 0
    assert (message in found.stderr) == told
    warnings = [one["message"] for one in events if one["event"] == "warning"]
    assert warnings == ([message] if told else [])
    phases = [one["phase"] for one in events if one["event"] == "progress" and one["done"] == 0]
    assert phases == ["load", "sample", "decode and write", "verify"]
    assert [one["event"] for one in events][-1] == "end"


@pytest.mark.parametrize(("threshold", "told"), [("0.2", False), ("5", True)])
def test_a_step_cache_that_skips_everything_is_warned_of(
    first: Callable[..., subprocess.CompletedProcess[str]], threshold: str, told: bool
) -> None:
    found = first("--step-cache", threshold)
    assert found.returncode == 0
    assert ("--step-cache 5 skips nearly every step" in found.stderr) == told


def test_the_end_says_how_to_look_at_the_video(
    first: Callable[..., subprocess.CompletedProcess[str]], lingen_here: RunHere
) -> None:
    found = first("-o", "a b.mp4")
    (line,) = [one for one in found.stderr.splitlines() if "to look at it" in one]
    assert re.fullmatch(
        r"lingen: 0\.0625 s of video \([\d.,]+ (k|M)?B(ytes)?\) in \d+ s; "
        r"to look at it: lingen show 'a b\.mp4'",
        line.replace(" bytes", " Bytes"),
    )
    assert "to look at it" not in first("-o", "a b.mp4").stderr  # made already
    assert first("-o", "b.mp4", "-q").stderr == ""


def test_a_story_with_a_misspelt_key(
    lingen_here: RunHere, fails: Fails, clean_environment: Path
) -> None:
    story = clean_environment / "story.toml"
    story.write_text('transiton = "cut"\n[[shot]]\npromt = "a ball"\nseconds = 1\n')
    found = lingen_here("story", "check", story)
    assert f"{story}:2: shot 1: prompt: is missing" in found.stderr
    assert f"{story}:3: shot 1: promt: unknown key; did you mean 'prompt'?" in found.stderr
    assert f"{story}:1: transiton: unknown key; did you mean 'transition'?" in found.stderr


def test_the_settings_say_where_to_write_them(lingen_here: RunHere) -> None:
    found = lingen_here("config", "show")
    assert found.stdout.splitlines()[0].split() == ["SETTING", "VALUE", "SET", "BY"]
    assert "to set one, write a line such as `steps = 30` into " in found.stderr
    assert found.stderr.endswith("lingen.toml\n")


def test_everything_that_a_hub_model_lacks_is_told_at_once(
    lingen_here: RunHere, fails: Fails, monkeypatch: pytest.MonkeyPatch
) -> None:
    from importlib.metadata import PackageNotFoundError

    from lingen_cli.zoo import locate_hub

    def absent(name: str) -> None:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(locate_hub, "version", absent)
    monkeypatch.setattr(locate_hub, "cached", lambda model: None)
    fails(
        lingen_here("generate", "a fox", "--model", "wan-1.3b"),
        69,
        "wan-1.3b is licensed under Apache-2.0",
        "needs the package diffusers: pip install 'lingen[hub]'",
        "lingen models pull wan-1.3b",
        "14.7 GB",
    )
