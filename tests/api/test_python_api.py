"""`import lingen`: the same videos as the command makes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

import lingen
from tests.cli import forked

PROMPT = "a red ball bounces on green grass"


@pytest.fixture(scope="module")
def pipe() -> lingen.Pipeline:
    return lingen.load("lingen-mini", device="cpu")


@pytest.fixture(scope="module")
def video(pipe: lingen.Pipeline) -> lingen.Video:
    return pipe.generate(PROMPT, seconds=1, steps=2, seed=7)


def command(*arguments: str) -> None:
    done = forked.run(*arguments, "--device", "cpu", "--quiet")
    assert done.returncode == 0, done.stderr


def test_a_video_has_frames_and_says_what_it_is(video: lingen.Video) -> None:
    assert video.frames.shape == (16, 128, 128, 3) and video.frames.dtype == torch.uint8
    assert (video.seconds, video.fps, video.prompt, video.seed) == (1.0, 16.0, PROMPT, 7)
    assert video.latents.shape == (1, 16, 3, 16, 16)
    assert video.path is None


def test_it_is_saved_as_the_command_writes_it(
    pipe: lingen.Pipeline, video: lingen.Video, tmp_path: Path
) -> None:
    made = video.save(tmp_path / "made.mp4")
    assert made == video.path == tmp_path / "made.mp4"
    other = tmp_path / "command.mp4"
    options = ["--seconds", "1", "--steps", "2", "--seed", "7", "-o", str(other)]
    command("generate", PROMPT, *options)
    assert made.read_bytes() == other.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["command.mp4", "made.mp4"]
    fresh = pipe.generate(PROMPT, frames=1, steps=1)
    with pytest.raises(lingen.LingenError, match="exists"):
        fresh.save(other)
    video.save(made, overwrite=True)


def test_a_saved_video_is_extended_as_the_command_does(
    pipe: lingen.Pipeline, video: lingen.Video, tmp_path: Path
) -> None:
    begin = video.save(tmp_path / "begin.mp4")
    longer = pipe.extend(video, seconds=1)
    assert longer.frames.shape == (32, 128, 128, 3)
    torch.testing.assert_close(longer.frames[:16], video.frames, rtol=0, atol=0)
    made = longer.save(tmp_path / "made.mp4")
    other = tmp_path / "command.mp4"
    command("extend", str(begin), "--seconds", "1", "-o", str(other))
    assert made.read_bytes() == other.read_bytes()


def test_a_video_that_is_not_saved_cannot_be_extended(pipe: lingen.Pipeline) -> None:
    fresh = pipe.generate(PROMPT, frames=1, steps=1)
    with pytest.raises(lingen.LingenError, match=r"call save\(\) first"):
        pipe.extend(fresh)


def test_a_seed_is_drawn_where_none_is_given(pipe: lingen.Pipeline) -> None:
    one, other = (pipe.generate(PROMPT, frames=1, steps=1) for _ in range(2))
    assert one.seed != other.seed
    assert not torch.equal(one.frames, other.frames)


def test_what_is_wrong_is_refused(pipe: lingen.Pipeline) -> None:
    with pytest.raises(TypeError, match="unexpected argument 'step'; sampling options are steps"):
        pipe.generate(PROMPT, step=3)
    wrong = ({"steps": 0}, {"size": 100}, {"seconds": 1, "frames": 4}, {"sampler": "fast"})
    for arguments in wrong:
        with pytest.raises(lingen.LingenError):
            pipe.generate(PROMPT, **arguments)
    with pytest.raises(lingen.LingenError, match="prompt is empty"):
        pipe.generate(" ")
    with pytest.raises(lingen.LingenError, match="unknown model"):
        lingen.load("lingen-micro")
    with pytest.raises(lingen.LingenError, match="no such folder"):
        lingen.load(weights=Path("nowhere"))


def test_importing_it_imports_no_torch() -> None:
    code = "import lingen, sys; print('torch' in sys.modules, lingen.__version__)"
    run = [sys.executable, "-c", code]
    found = subprocess.run(run, check=True, capture_output=True, text=True).stdout.split()
    assert found == ["False", lingen.__version__]
