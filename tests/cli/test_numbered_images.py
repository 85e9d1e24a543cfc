"""`-o frames/%05d.png`: every frame as a PNG, in a folder that is whole or absent."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lingen_cli.files.numbered import images_at, name_of
from lingen_cli.files.work_folder import WorkFolder
from lingen_cli.media.images.image_files import read_image, write_png
from lingen_cli.media.reader import frames_at
from lingen_cli.requests.recipe import recipe_from_video
from tests.cli.protocols import Fails, RunHere

NAMES = [f"{number:05d}.png" for number in range(1, 10)]


@pytest.fixture
def generate(
    lingen_here: RunHere, tiny_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Make the same 9 frames under any name."""
    monkeypatch.setenv("LINGEN_CACHE_DIR", "cache")
    monkeypatch.setenv("LINGEN_JOURNAL_SECONDS", "0")
    new = ("a red ball", "--frames", "9", "--steps", "1", "--seed", "1", "--size", "64")

    def run(output: str, *options: object) -> subprocess.CompletedProcess[str]:
        return lingen_here("generate", *new, "--weights", tiny_weights, "-o", output, *options)

    return run


def contents(folder: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


def test_they_are_the_frames_of_the_video(
    generate: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    assert generate("a.mp4").returncode == 0
    result = generate("frames/%05d.png", "--events", "events.jsonl")
    assert (result.returncode, result.stdout) == (0, "frames\n")
    end = json.loads(Path("events.jsonl").read_text().splitlines()[-1])
    data = b"".join(path.read_bytes() for path in sorted(Path("frames").iterdir()))
    assert (end["output"], end["sha256"]) == ("frames", hashlib.sha256(data).hexdigest())
    assert sorted(contents("frames")) == NAMES
    times = [(number + 0.5) / 16 for number in range(9)]
    frames = frames_at(Path("a.mp4"), times, box=(64, 64))
    for path, frame in zip(images_at(Path("frames")), frames, strict=True):
        assert np.array_equal(read_image(path), frame)
    assert not list(Path().glob(".*.lingen"))
    assert "made already" in generate("frames/%05d.png").stderr


def test_the_recipe_is_in_the_first(
    generate: Callable[..., subprocess.CompletedProcess[str]], lingen_here: RunHere
) -> None:
    generate("frames/%05d.png")
    recipe = recipe_from_video(Path("frames"))
    assert (recipe.prompt, recipe.frames, recipe.frame_hashes) == ("a red ball", 9, ())
    for name in ("frames", "frames/%05d.png"):
        shown = lingen_here("show", name, "--sheet", "sheet.png", "--overwrite")
        assert shown.returncode == 0, shown.stderr
        for part in ("a red ball", "64 x 64", "16 per second", "0.562 s", f"rerun {name}"):
            assert part in shown.stdout
    assert read_image(Path("sheet.png")).shape[1] > 64
    again = lingen_here("rerun", "frames", "-o", "again/%05d.png")
    assert (again.returncode, again.stdout) == (0, "again\n"), again.stderr
    assert contents("again") == contents("frames")
    assert lingen_here("rerun", "frames/%05d.png").stdout == "frames-again.mp4\n"


def test_without_a_recipe(
    generate: Callable[..., subprocess.CompletedProcess[str]], lingen_here: RunHere, fails: Fails
) -> None:
    generate("frames/%d.png", "--no-metadata")
    assert sorted(contents("frames")) == [f"{number}.png" for number in range(1, 10)]
    shown = lingen_here("show", "frames", "--sheet", "sheet.png")
    assert "no lingen recipe" in shown.stdout and "frame rate  unknown" in shown.stdout
    fails(lingen_here("rerun", "frames"), 65, "no recipe in frames")


def test_a_longer_video_as_images(
    generate: Callable[..., subprocess.CompletedProcess[str]], lingen_here: RunHere, fails: Fails
) -> None:
    generate("a.mp4")
    edit = ("--seconds", "0.5", "--steps", "1", "--seed", "2")
    result = lingen_here("extend", "a.mp4", *edit, "-o", "longer/%05d.png")
    assert (result.returncode, result.stdout) == (0, "longer\n"), result.stderr
    assert len(contents("longer")) == 17
    assert lingen_here("rerun", "longer", "-o", "again/%05d.png").returncode == 0
    assert contents("again") == contents("longer")
    fails(lingen_here("extend", "longer", *edit), 66, "lingen rerun longer -o x.mp4")
    fails(lingen_here("verify", "longer"), 65, "no hashes of its frames")


def test_what_is_there_stays(
    generate: Callable[..., subprocess.CompletedProcess[str]], fails: Fails
) -> None:
    generate("frames/%05d.png")
    good = contents("frames")
    Path("frames/00005.png").write_bytes(good["00005.png"][:-20])
    fails(generate("frames/%05d.png"), 73, "damaged or edited since")
    Path("frames/00005.png").unlink()
    fails(generate("frames/%05d.png"), 73, "damaged or edited since")
    assert generate("frames/%05d.png", "--overwrite").returncode == 0
    assert contents("frames") == good
    fails(generate("frames/%04d.png", "--overwrite"), 73, "images named %04d.png alone")
    Path("frames/notes.txt").write_text("mine")
    fails(generate("frames/%05d.png"), 73, "damaged or edited since")
    fails(generate("frames/%05d.png", "--overwrite"), 73, "choose another name: frames")
    assert contents("frames") == good | {"notes.txt": b"mine"}
    Path("empty").mkdir()
    fails(generate("empty/%05d.png"), 73, "output already exists")
    Path("link").symlink_to("empty")
    fails(generate("link/%05d.png", "--overwrite"), 73, "choose another name")


@pytest.mark.parametrize(
    ("output", "part"),
    [
        ("%05d.png", "a new folder of their own, such as -o frames/%05d.png"),
        ("../%d.png", "a new folder of their own"),
        ("frames/%d-%d.png", "one %d, or %05d"),
        ("frames/%5d.png", "one %d, or %05d"),
    ],
)
def test_other_patterns_are_refused(
    generate: Callable[..., subprocess.CompletedProcess[str]],
    fails: Fails,
    output: str,
    part: str,
) -> None:
    fails(generate(output), 2, part)
    assert not list(Path().iterdir())


@pytest.mark.parametrize("old", [False, True])
def test_a_run_that_was_stopped_goes_on(
    generate: Callable[..., subprocess.CompletedProcess[str]],
    lingen_here: RunHere,
    monkeypatch: pytest.MonkeyPatch,
    old: bool,
) -> None:
    generate("whole/%05d.png")
    more = ["--overwrite"] if old else []
    if old:
        generate("frames/%05d.png", "--seed", "7")
    before = contents("frames") if old else None

    def stopped(self: WorkFolder, *_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(WorkFolder, "publish", stopped)
        result = generate("frames/%05d.png", *more)
    assert result.returncode == 130 and "lingen resume frames" in result.stderr
    assert (contents("frames") if old else None) == before
    resumed = lingen_here("resume", "frames/%05d.png" if old else "frames")
    assert (resumed.returncode, resumed.stdout) == (0, "frames\n"), resumed.stderr
    assert "going on with what was sampled" in resumed.stderr
    assert contents("frames") == contents("whole")
    assert not list(Path().glob(".*.lingen"))


class Killed(BaseException):
    """The end of a process."""


def test_killed_between_the_two_renames(
    clean_environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was to be replaced is there again, before anything else is done."""
    Path("frames").mkdir()
    Path("frames/00001.png").write_bytes(b"old")
    before = contents("frames")
    rename = os.rename

    def opened() -> WorkFolder:
        return WorkFolder(Path("frames"), overwrite=True, pattern="%05d.png")

    def dies(source: Any, target: Any) -> None:
        rename(source, target)
        if Path(target).name == "replaced":
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", dies)
        patch.setattr(WorkFolder, "_remove", lambda self: self._lock.release(force=True))
        with pytest.raises(Killed), opened() as work:
            folder = work.temporary_folder()
            (folder / "00001.png").write_bytes(b"new")
            work.publish(folder)
    assert not Path("frames").exists()
    with opened():
        assert contents("frames") == before
    assert not list(Path().glob(".*.lingen"))


def test_a_batch_makes_them(
    lingen_here: RunHere, tiny_weights: Path, clean_environment: Path
) -> None:
    line = '{"prompt": "a ball", "frames": 9, "steps": 1, "size": 64, "seed": %d, "weights": "%s"'
    lines = [line % (seed, tiny_weights) + f', "output": "{seed}/%03d.png"}}' for seed in (1, 2)]
    Path("jobs.jsonl").write_text("\n".join(lines))
    result = lingen_here("batch", "jobs.jsonl", "-o", "out")
    assert (result.returncode, result.stdout) == (0, "out/1\nout/2\n"), result.stderr
    assert [len(contents(f"out/{seed}")) for seed in (1, 2)] == [9, 9]
    assert "2 there already" in lingen_here("batch", "jobs.jsonl", "-o", "out").stderr


def test_names(tmp_path: Path) -> None:
    assert (name_of("%05d.png", 7), name_of("a-%d.png", 12)) == ("00007.png", "a-12.png")
    for name in ("a-9.png", "a-10.png", "b.png", ".a-1.png", "a-x.png"):
        write_png(tmp_path / name, np.zeros((4, 4, 3), np.uint8))
    found = [path.name for path in images_at(tmp_path / "a-%d.png")]
    assert found == ["a-9.png", "a-10.png"]
    assert [path.name for path in images_at(tmp_path)][:2] == found
    assert images_at(tmp_path / "none") == images_at(tmp_path / "b.png") == []
