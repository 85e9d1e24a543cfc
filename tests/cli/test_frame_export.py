"""`lingen show VIDEO --frame TIME PNG`: a frame as `--image` takes it."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lingen_cli.media.images.image_files import read_image
from tests.cli.protocols import Fails, RunHere

LOSSLESS = ("-c:v", "libx264", "-qp", "0", "-pix_fmt", "yuv444p")


@pytest.fixture
def shades(ffmpeg: Callable[..., subprocess.CompletedProcess[bytes]]) -> Path:
    """16 frames at 16 per second, each brighter than the one before."""
    grey = "color=s=64x48:r=16:d=1,format=rgb24,geq=r='16*N':g='16*N':b='16*N'"
    ffmpeg("-f", "lavfi", "-i", grey, *LOSSLESS, "v.mp4")
    return Path("v.mp4")


@pytest.mark.parametrize(
    ("time", "number"),
    [("0", 0), ("0.5s", 8), ("0:00.5", 8), ("0.51", 8), ("0.96", 15), ("end", 15)],
)
def test_the_frame_that_is_on_screen(
    shades: Path, lingen_here: RunHere, time: str, number: int
) -> None:
    result = lingen_here("show", shades, "--frame", time, "first.png")
    assert (result.returncode, result.stdout) == (0, "first.png\n"), result.stderr
    image = read_image(Path("first.png"))
    assert image.shape == (48, 64, 3)
    assert abs(image.astype(int) - 16 * number).max() <= 2


def test_a_turned_video_and_pixels_that_are_not_square(
    ffmpeg: Callable[..., subprocess.CompletedProcess[bytes]], shades: Path, lingen_here: RunHere
) -> None:
    ffmpeg("-i", shades, "-c", "copy", "-metadata:s:v:0", "rotate=90", "turned.mp4")
    assert lingen_here("show", "turned.mp4", "--frame", "0", "t.png").returncode == 0
    assert read_image(Path("t.png")).shape == (64, 48, 3)
    ffmpeg("-i", shades, "-vf", "setsar=2", *LOSSLESS, "wide.mp4")
    assert lingen_here("show", "wide.mp4", "--frame", "0", "w.png").returncode == 0
    assert read_image(Path("w.png")).shape == (48, 128, 3)


def test_a_video_begins_with_it(shades: Path, lingen_here: RunHere, tiny_weights: Path) -> None:
    assert lingen_here("show", shades, "--frame", "0.5s", "first.png").returncode == 0
    new = ("--seconds", "0.5", "--steps", "1", "--weights", tiny_weights, "-o", "new.mp4")
    result = lingen_here("generate", "a red ball", "--image", "first.png", *new)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "part"),
    [
        (("--frame", "1"), 2, "name a video, a time and a PNG file"),
        (("--frame", "0", "first.jpg"), 2, "name a video, a time and a PNG file"),
        (
            ("--frame", "1", "first.png"),
            2,
            "--frame must be before the video's end at 1 s",
        ),
        (("--frame", "soon", "first.png"), 2, "--frame must be a time such as"),
        (("--frame", "0", "first.png", "--json"), 2, "leave out --sheet and --json"),
        (("--frame", "0", "there.png"), 73, "already exists"),
        (("--frame", "0", "none/first.png"), 66, "no such folder"),
    ],
)
def test_what_is_refused(
    shades: Path,
    lingen_here: RunHere,
    fails: Fails,
    arguments: tuple[str, ...],
    code: int,
    part: str,
) -> None:
    Path("there.png").write_bytes(b"somebody's")
    fails(lingen_here("show", shades, *arguments), code, part)
    assert sorted(path.name for path in Path().iterdir()) == ["there.png", "v.mp4"]
    assert Path("there.png").read_bytes() == b"somebody's"
    if code == 73:
        assert lingen_here("show", shades, *arguments, "--overwrite").returncode == 0
        assert np.all(read_image(Path("there.png")) <= 2)
