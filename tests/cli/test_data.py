"""`lingen data check`, and trainings on folders of videos and images."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import time
from contextlib import redirect_stderr, redirect_stdout
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from lingen_cli.datasets.footage import read_footage
from lingen_cli.datasets.video_folder import Excerpt, VideoFolder
from lingen_cli.errors import BadDataError
from lingen_cli.media.images.image_files import write_png
from lingen_cli.media.writer import VideoWriter
from lingen_models.checkpoints.safetensors import load_tensors, read_metadata
from tests.cli.forked import Forked
from tests.tiny_recipe import tiny_recipe

pytestmark = pytest.mark.e2e

RECIPE = tiny_recipe(
    """
[[stage]]
name = "own"
steps = 30
learning_rate = 1e-3

[[stage.source]]
size = 64
latent_frames = 2
batch = 2
clips = 4

[[stage.source]]
replay = true
size = 64
latent_frames = 1
batch = 2
clips = 2
""",
    name="own",
    depth=1,
)


def write_video(
    path: Path, frames: int = 40, size: tuple[int, int] = (96, 64), rate: int = 16, shade: int = 0
) -> None:
    """Frames that grow brighter by 4 a frame, from `shade` on."""
    width, height = size
    with VideoWriter(path, width=width, height=height, fps=Fraction(rate)) as writer:
        for number in range(frames):
            value = min(255, shade + 4 * number)
            writer.write(np.full((1, height, width, 3), value, np.uint8))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two videos, an image, and much that cannot be used."""
    clips = tmp_path / "clips"
    (clips / "more").mkdir(parents=True)
    write_video(clips / "a.mp4")
    (clips / "a.txt").write_text("a grey\n wall\n", encoding="utf-8")
    write_video(clips / "more" / "tall.mp4", size=(48, 96), rate=30, shade=40)
    write_png(clips / "still.png", np.full((80, 120, 3), 200, np.uint8))
    rows = [
        "file_name,caption",
        "more/tall.mp4,a tall wall",
        "still.png,brightness",
        "gone.mp4,x",
        "text.mp4,x",
    ]
    (clips / "captions.csv").write_text("\ufeff" + "\r\n".join(rows) + "\r\n", encoding="utf-8")
    (clips / "empty.mp4").touch()
    (clips / "text.mp4").write_text("no video", encoding="utf-8")
    (clips / "bare.png").write_bytes((clips / "still.png").read_bytes())
    write_video(clips / "latin.mp4", frames=8)
    (clips / "latin.txt").write_bytes("größe".encode("latin-1"))
    write_video(clips / "mute.mp4", frames=8)
    (clips / "mute.txt").write_text(" \n", encoding="utf-8")
    (clips / ".hidden.mp4").write_text("not looked at", encoding="utf-8")
    (clips / "notes.pdf").write_text("not looked at", encoding="utf-8")
    return clips


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a command of lingen to its end, in this process."""
    from lingen_cli.app import run as run_here

    words = [str(argument) for argument in arguments]
    with redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()) as err:
        code = run_here(words)
    return subprocess.CompletedProcess(words, code, out.getvalue(), err.getvalue())


def killed_at(file: Path, *arguments: str | Path) -> None:
    """Run a command of lingen until a file is there, and kill it."""
    deadline = time.monotonic() + 200
    with Forked(*arguments) as process:
        while not file.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL


def test_every_file_is_used_or_named(folder: Path, tmp_path: Path) -> None:
    done = run("data", "check", folder, "--json", "--sheet", tmp_path / "sheet.png")
    assert done.returncode == 1
    found = json.loads(done.stdout)
    clips = {Path(one["path"]).name: one for one in found["clips"]}
    assert {name: one["caption"] for name, one in clips.items()} == {
        "a.mp4": "a grey wall",
        "tall.mp4": "a tall wall",
        "still.png": "brightness",
    }
    assert (clips["a.mp4"]["seconds"], clips["still.png"]["seconds"]) == (2.5, None)
    assert (clips["tall.mp4"]["width"], clips["tall.mp4"]["height"]) == (48, 96)
    problems = found["problems"]
    for name, words in {
        "empty.mp4": "file is empty",
        "text.mp4": "not a supported video file",
        "bare.png": "no caption, write bare.txt beside it",
        "latin.txt:1": "not valid UTF-8: save it as UTF-8",
        "mute.txt": "empty caption",
        "gone.mp4": "no such file, but it has a caption",
    }.items():
        assert [line for line in problems if name in line and words in line], (name, problems)
    assert len(problems) == 6
    assert all(line in done.stderr for line in problems)
    assert (tmp_path / "sheet.png").read_bytes().startswith(b"\x89PNG")


def test_a_good_folder(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", frames=8)
    (tmp_path / "b.mp4").write_bytes((tmp_path / "a.mp4").read_bytes())
    rows = [{"file": name, "text": "one"} for name in ("a.mp4", "b.mp4")]
    lines = "\n".join(json.dumps(row) for row in rows)
    (tmp_path / "captions.jsonl").write_text(lines, encoding="utf-8")
    done = run("data", "check", tmp_path)
    assert done.returncode == 0 and done.stderr == ""
    assert "videos      2" in done.stdout and "the same    " in done.stdout


@pytest.mark.parametrize(
    ("make", "code", "message"),
    [
        (lambda path: None, 66, "no such folder"),
        (lambda path: path.mkdir(), 65, "no videos or images"),
    ],
)
def test_a_folder_of_nothing(tmp_path: Path, make: object, code: int, message: str) -> None:
    assert callable(make)
    make(tmp_path / "x")
    done = run("data", "check", tmp_path / "x")
    assert done.returncode == code and message in done.stderr


def test_excerpts_have_the_frames_of_their_time(folder: Path) -> None:
    dataset = VideoFolder(read_footage(folder))
    clips = {one.path.name: one for one in dataset.footage.clips}
    video = dataset.render([Excerpt(clips["a.mp4"], 0.0), Excerpt(clips["a.mp4"], 1.0)], 9, 64)
    assert video.shape == (2, 3, 9, 64, 64)
    values = (video.mean((1, 3, 4)) + 1) * 127.5
    for row, first in ((0, 0), (1, 31)):  # of 40 frames, the last 9 begin with number 31
        expected = [4.0 * (first + number) for number in range(9)]
        assert np.abs(values[row].numpy() - expected).max() < 3
    tall = dataset.render([Excerpt(clips["tall.mp4"], 0.0)], 9, 64)  # 30 frames per second
    moments = [int(number / 16 * 30 + 1e-6) for number in range(9)]
    assert (
        np.abs((tall.mean((1, 3, 4)) + 1)[0].numpy() * 127.5 - (40 + 4 * np.array(moments))).max()
        < 3
    )
    still = dataset.render([Excerpt(clips["still.png"], 0.5)], 3, 64)
    assert np.abs((still.numpy() + 1) * 127.5 - 200).max() <= 1
    assert {"grey", "wall", "tall", "brightness"} <= set(dataset.vocabulary())
    drawn = {dataset.sample_scene(seed).clip.path.name for seed in range(40)}
    assert drawn == set(clips)
    assert dataset.sample_scene(7) == dataset.sample_scene(7)


def test_the_fingerprint_follows_the_captions(folder: Path) -> None:
    before = VideoFolder(read_footage(folder)).fingerprint
    (folder / "a.txt").write_text("another wall", encoding="utf-8")
    assert VideoFolder(read_footage(folder)).fingerprint != before


def test_nothing_to_train_on(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_text("x", encoding="utf-8")
    with pytest.raises(BadDataError, match=r"nothing in .* can be trained on"):
        VideoFolder(read_footage(tmp_path))


def test_a_killed_training_on_a_folder_ends_the_same(folder: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "own.toml"
    recipe.write_text(RECIPE, encoding="utf-8")
    arguments = ("train", str(recipe), "--data", str(folder), "--processes", "1", "-o")
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert run(*arguments, whole).returncode == 0
    killed_at(cut / "own.jsonl", *arguments, cut)
    assert not (cut / "own.averaged.safetensors").exists()
    done = run(*arguments, cut)
    assert done.returncode == 0
    assert "warning" in done.stderr and "3 clips in" in done.stderr
    for name in ("denoiser", "text_encoder"):
        one, other = (load_tensors(place / f"{name}.safetensors")[0] for place in (whole, cut))
        assert all(np.array_equal(one[key].float(), other[key].float()) for key in one)
    words = read_metadata(whole / "text_encoder.safetensors")["config"]["words"]
    assert {"brightness", "tall", "bounces"} <= set(words)
    (folder / "a.txt").write_text("another wall", encoding="utf-8")
    again = run(*arguments, cut)
    assert again.returncode == 65 and "data differs from what" in again.stderr


def test_a_recipe_may_name_the_folder(folder: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "own.toml"
    text = RECIPE.replace("steps = 30", "steps = 1").replace(
        "seed = 3", "seed = 3\n\n[data]\nfolder = 'clips'"
    )
    recipe.write_text(text, encoding="utf-8")
    done = run("train", recipe, "-o", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "denoiser.safetensors").exists()


@pytest.mark.parametrize(
    ("key", "message"),
    [("natural = 0.5", "natural"), ("close_up = true", "close_up")],
)
def test_settings_of_the_playground_are_refused(
    folder: Path, tmp_path: Path, key: str, message: str
) -> None:
    place = "batch = 2\nclips = 4" if message == "close_up" else "steps = 30"
    text = RECIPE.replace(place, f"{place}\n{key}").replace("replay = true\n", "")
    recipe = tmp_path / "own.toml"
    recipe.write_text(text, encoding="utf-8")
    done = run("train", recipe, "--data", folder, "-o", tmp_path / "out")
    assert done.returncode == 65 and message in done.stderr and "only the playground" in done.stderr
    assert not (tmp_path / "out").exists()
