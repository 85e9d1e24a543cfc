import json
import shutil
import subprocess
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lingen_cli.media.writer import VideoWriter


@pytest.fixture
def make_video(tmp_path: Path) -> Callable[..., Path]:
    """Writes `frames` moving test frames with our own writer."""

    def make(
        name: str = "video.mp4",
        *,
        frames: int = 20,
        width: int = 64,
        height: int = 48,
        fps: Fraction = Fraction(16),
        metadata: dict[str, str] | None = None,
    ) -> Path:
        path = tmp_path / name
        with VideoWriter(
            path, width=width, height=height, fps=fps, metadata=metadata, preset="ultrafast"
        ) as writer:
            writer.write(moving_square(frames, width, height))
        return path

    return make


def moving_square(frames: int, width: int, height: int) -> np.ndarray:
    video = np.full((frames, height, width, 3), (30, 60, 120), np.uint8)
    for index in range(frames):
        left = index * 2 % (width - 8)
        video[index, 8:24, left : left + 8] = (220, 200, 40)
    return video


@pytest.fixture
def probe() -> Callable[[Path], dict[str, Any]]:
    """ffprobe, a reader that shares no code with ours."""
    if shutil.which("ffprobe") is None:
        pytest.skip("ffprobe is not installed")

    def run(path: Path) -> dict[str, Any]:
        command = ["ffprobe", "-v", "error", "-count_frames", "-of", "json"]
        command += ["-show_streams", "-show_format", f"file:{path}"]
        done = subprocess.run(command, capture_output=True, check=True)
        assert done.stderr == b""
        found = json.loads(done.stdout)
        assert isinstance(found, dict)
        return found

    return run


@pytest.fixture
def ffmpeg() -> str:
    """The command, for tests that need an independent program."""
    found = shutil.which("ffmpeg")
    if found is None:
        pytest.skip("ffmpeg is not installed")
    return found


@pytest.fixture
def decode(ffmpeg: str) -> Callable[[Path], np.ndarray]:
    """ffmpeg's RGB frames of a video, uint8 (T, H, W, 3)."""

    def run(path: Path, width: int = 64, height: int = 48) -> np.ndarray:
        command = [ffmpeg, "-v", "error", "-i", f"file:{path}", "-f", "rawvideo"]
        command += ["-pix_fmt", "rgb24", "-"]
        done = subprocess.run(command, capture_output=True, check=True)
        assert done.stderr == b""
        return np.frombuffer(done.stdout, np.uint8).reshape(-1, height, width, 3)

    return run
