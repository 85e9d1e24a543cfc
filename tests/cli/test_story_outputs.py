"""A story has two files, video and subtitles: no stop or error between them is for ever."""

from __future__ import annotations

import errno
import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lingen_cli.files import work_folder
from lingen_cli.files.work_folder import WorkFolder
from lingen_cli.generation.journal import SECONDS_VARIABLE
from tests.cli.protocols import Fails, RunHere

STORY = (
    '[[shot]]\nprompt = "a red ball"\nseconds = 0.5\n[[shot]]\nprompt = "a ball"\nseconds = 0.5\n'
)
WORDS = "1\n00:00:00,000 --> 00:00:00,500\na red ball\n\n2\n00:00:00,500 --> 00:00:01,000\na ball\n"


@pytest.fixture
def tell(
    lingen_here: RunHere, tiny_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return a function that makes the video of a story."""
    monkeypatch.setenv(SECONDS_VARIABLE, "0")
    Path("story.toml").write_text(STORY)

    def run(*more: object, seed: int | None = 1) -> subprocess.CompletedProcess[str]:
        options = ("--size", 64, "--steps", 2, "--weights", tiny_weights)
        seeds = () if seed is None else ("--seed", seed)
        return lingen_here("generate", "--story", "story.toml", *options, *seeds, *more)

    return run


def files() -> list[str]:
    return sorted(path.name for path in Path().iterdir() if path.name != "story.toml")


class Stop(BaseException):
    """Stands for a kill."""


@pytest.fixture
def stops_after_the_video(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Return a context in which a run ends between its two files, by `error` or a kill."""
    publish = work_folder.publish

    def patched(error: Any) -> Any:
        def stop(temporary: Any, target: Path, overwrite: bool = False) -> None:
            if target.suffix == ".srt":
                raise error
            publish(temporary, target, overwrite)

        context = pytest.MonkeyPatch.context()
        patch = context.__enter__()
        patch.setattr(work_folder, "publish", stop)
        if isinstance(error, Stop):
            patch.setattr(WorkFolder, "_remove", lambda self: self._lock.release(force=True))
        return context

    return patched


def end(context: Any) -> None:
    context.__exit__(None, None, None)


@pytest.mark.parametrize("again", ["same", "resume"])
@pytest.mark.parametrize("error", [Stop(), OSError(errno.ENOSPC, "full")], ids=["kill", "full"])
def test_a_stop_between_the_two_is_finished(
    tell: Callable[..., subprocess.CompletedProcess[str]],
    lingen_here: RunHere,
    stops_after_the_video: Callable[..., Any],
    clean_environment: Path,
    again: str,
    error: Any,
) -> None:
    context = stops_after_the_video(error)
    assert tell("-o", "a.mp4").returncode != 0
    end(context)
    assert "a.mp4" in files() and "a.srt" not in files()
    video = Path("a.mp4").read_bytes()
    result = tell("-o", "a.mp4") if again == "same" else lingen_here("resume", "a.mp4")
    assert result.returncode == 0, result.stderr
    assert files() == ["a.mp4", "a.srt"]
    assert Path("a.srt").read_text() == WORDS
    assert Path("a.mp4").read_bytes() == video


@pytest.mark.parametrize("again", ["same", "resume"])
def test_a_stop_between_the_two_while_overwriting(
    tell: Callable[..., subprocess.CompletedProcess[str]],
    lingen_here: RunHere,
    stops_after_the_video: Callable[..., Any],
    clean_environment: Path,
    again: str,
) -> None:
    """Without a seed of the user's: the one that was drawn stays."""
    for name in ("a.mp4", "a.srt"):
        Path(name).write_text("old")
    context = stops_after_the_video(Stop())
    assert tell("-o", "a.mp4", "--overwrite", seed=None).returncode != 0
    end(context)
    video = Path("a.mp4").read_bytes()
    assert (video == b"old", Path("a.srt").read_text()) == (False, "old")
    command = ("-o", "a.mp4", "--overwrite")
    result = tell(*command, seed=None) if again == "same" else lingen_here("resume", "a.mp4")
    assert result.returncode == 0, result.stderr
    assert files() == ["a.mp4", "a.srt"]
    assert Path("a.srt").read_text() == WORDS
    assert Path("a.mp4").read_bytes() == video


def test_subtitles_of_somebody_else_are_never_overwritten(
    tell: Callable[..., subprocess.CompletedProcess[str]], fails: Fails, clean_environment: Path
) -> None:
    Path("a.srt").write_text("mine")
    fails(tell("-o", "a.mp4"), 73, "output already exists", "a.srt")
    assert files() == ["a.srt"]
    Path("story.srt").write_text("mine")
    assert tell().stdout == "story-2.mp4\n"
    assert files() == ["a.srt", "story-2.mp4", "story-2.srt", "story.srt"]
    assert Path("a.srt").read_text() == Path("story.srt").read_text() == "mine"


def test_subtitles_that_appear_meanwhile_are_kept(
    tell: Callable[..., subprocess.CompletedProcess[str]],
    monkeypatch: pytest.MonkeyPatch,
    clean_environment: Path,
) -> None:
    """The video is there then; that they are not its own is told, then and later."""
    publish = work_folder.publish

    def late(temporary: Any, target: Path, overwrite: bool = False) -> None:
        if target.suffix == ".mp4":
            Path("a.srt").write_text("mine")
        publish(temporary, target, overwrite)

    with monkeypatch.context() as patch:
        patch.setattr(work_folder, "publish", late)
        results = [tell("-o", "a.mp4")]
    results.append(tell("-o", "a.mp4"))
    for result in results:
        assert (result.returncode, result.stdout) == (0, "a.mp4\n")
        assert "not the subtitles of this story, they stay as they are: a.srt" in result.stderr
    assert files() == ["a.mp4", "a.srt"]
    assert Path("a.srt").read_text() == "mine"


def test_what_is_missing_of_a_finished_story_is_written(
    tell: Callable[..., subprocess.CompletedProcess[str]], clean_environment: Path
) -> None:
    assert tell("-o", "a.mp4").returncode == 0
    before = Path("a.mp4").stat()
    Path("a.srt").unlink()
    again = tell("-o", "a.mp4", "--json")
    last = json.loads(again.stdout.splitlines()[-1])
    assert (again.returncode, last["skipped"]) == (0, True)
    assert Path("a.srt").read_text() == WORDS
    assert os.stat("a.mp4").st_mtime_ns == before.st_mtime_ns
    Path("a.mp4").unlink()
    assert tell("-o", "a.mp4").returncode == 0
    assert files() == ["a.mp4", "a.srt"]
