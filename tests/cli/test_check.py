"""`lingen check`: each kind of trouble is found where it was put, and nowhere else."""

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from lingen_cli.media.drift import Report, judge, look
from lingen_cli.media.images.image_files import read_image
from lingen_cli.media.writer import VideoWriter
from lingen_training.metrics.frame_statistics import lab
from tests.cli.protocols import Fails, Run, RunHere

FPS = 16


def scene(
    frames: int,
    *,
    tint: float = 0.0,
    blur: int = 0,
    hold: tuple[int, int] = (0, 0),
    cut: int | None = None,
    period: int | None = None,
    speed: float = 1.5,
) -> np.ndarray:
    """A square that moves over stripes. `tint` is added by the end, `blur` widens the edges in the
    second half, frames of `hold` repeat the first of them, at `cut` the image changes sides, and
    the square comes back after `period` frames."""
    images = []
    for number in range(frames):
        at = number if not hold[0] <= number < hold[1] else hold[0]
        place = at % period if period else at
        image = np.full((96, 96, 3), 120.0)
        image[:, ::12] = 60
        left = int(4 + abs((place * speed + 60) % 120 - 60))  # to and fro
        image[30:56, left : left + 22] = (220, 60, 40)
        if cut is not None and number >= cut:
            image = 255 - image
        if blur and number > frames // 2:
            image = np.apply_along_axis(_blurred, 1, image, blur)
        image[..., 2] += tint * number / frames
        images.append(image.clip(0, 255).astype(np.uint8))
    return np.stack(images)


def _blurred(row: np.ndarray, width: int) -> np.ndarray:
    padded = np.pad(row, width // 2, "edge")
    return np.convolve(padded, np.ones(width) / width, "valid")


def measured(images: np.ndarray) -> Report:
    return judge(look(iter(images), np.arange(len(images)) / FPS))


def written(images: np.ndarray, name: str = "video.mp4") -> str:
    height, width = images.shape[1:3]
    with VideoWriter(Path(name), width=width, height=height, fps=Fraction(FPS)) as writer:
        writer.write(images)
    return name


def test_lab_is_that_of_the_standard() -> None:
    np.testing.assert_allclose(lab(np.array([255.0, 0, 0])), [53.24, 80.09, 67.20], atol=0.03)
    np.testing.assert_allclose(lab(np.array([255.0, 255, 255])), [100, 0, 0], atol=0.03)
    np.testing.assert_allclose(lab(np.array([4.0, 4, 4])), [1.1, 0, 0], atol=0.03)


def test_a_steady_video_has_nothing() -> None:
    report = measured(scene(160))
    assert report.drift < 0.5
    assert (report.freezes, report.seams) == ((), ())
    assert report.motion[0] == pytest.approx(report.motion[1], rel=0.2)


def test_color_that_drifts() -> None:
    report = measured(scene(160, tint=60))
    grey, end = (lab(np.array([120.0, 120, 120 + blue])) for blue in (60 * 0.075, 60 * 0.925))
    assert report.color_drift == pytest.approx(np.linalg.norm(end - grey), rel=0.25)
    assert report.drift >= report.color_drift


def test_sharpness_that_is_lost() -> None:
    report = measured(scene(160, blur=9))
    assert report.sharpness_ratio < 0.6
    assert report.drift == pytest.approx(-10 * np.log2(report.sharpness_ratio))


def test_a_freeze_is_found_where_it_is() -> None:
    report = measured(scene(160, hold=(48, 80)))
    ((begin, end),) = report.freezes
    assert begin == pytest.approx(48 / FPS, abs=0.1)
    assert end == pytest.approx(79 / FPS, abs=0.1)
    assert measured(scene(160, hold=(48, 53))).freezes == ()


def test_a_video_that_stops_is_frozen_to_its_end() -> None:
    ((begin, end),) = measured(scene(160, hold=(100, 160))).freezes
    assert begin == pytest.approx(100 / FPS, abs=0.1)
    assert end == pytest.approx(159 / FPS)


def test_a_seam_is_found_where_it_is() -> None:
    report = measured(scene(160, cut=64))
    ((at, ratio),) = report.seams
    assert at == 64 / FPS
    assert ratio > 4


@pytest.mark.parametrize("period", [24, 40])
def test_a_loop_has_its_period(period: int) -> None:
    assert measured(scene(160, period=period)).loop == pytest.approx(period / FPS, abs=0.07)
    assert measured(scene(40, speed=1)).loop is None


def test_odd_sizes_and_few_frames() -> None:
    for frames, height, width in ((1, 2, 2), (2, 17, 5), (3, 40, 7)):
        images = np.random.default_rng(0).integers(0, 255, (frames, height, width, 3), np.uint8)
        report = measured(images)
        assert np.isfinite([report.drift, report.sharpness_ratio, *report.motion]).all()
        assert report.loop is None


def test_the_command(lingen_here: RunHere, fails: Fails) -> None:
    pytest.importorskip("matplotlib")
    written(scene(96, tint=80))
    result = lingen_here("check", "video.mp4", "--json", "--plot", "drift.png")
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    assert found["passed"]
    assert found["color_drift"] > 5
    assert read_image(Path("drift.png")).shape[2] == 3
    again = lingen_here("check", "video.mp4", "--max-drift", str(found["drift"] + 0.1))
    assert again.returncode == 0
    assert again.stdout.startswith("drift")
    failed = lingen_here("check", "video.mp4", "--max-drift", "2")
    assert failed.returncode == 1
    assert "is above 2" in failed.stderr
    assert failed.stdout.startswith("drift")
    fails(lingen_here("check", "video.mp4", "--plot", "drift.png"), 73, "drift.png")
    fails(lingen_here("check", "video.mp4", "--plot", "drift.jpg"), 2, ".png")
    fails(lingen_here("check", "video.mp4", "--max-drift", "nan"), 2, "--max-drift")


def test_bad_files(lingen_here: RunHere, fails: Fails) -> None:
    fails(lingen_here("check", "missing.mp4"), 66, "no such file")
    Path("text.mp4").write_text("hello")
    fails(lingen_here("check", "text.mp4"), 65, "not a supported video file")


def test_no_torch_is_imported(lingen: Run) -> None:
    written(scene(20))
    code = "import sys; from lingen_cli.app import run; run(['check', 'video.mp4']); "
    import subprocess
    import sys

    done = subprocess.run(
        [sys.executable, "-c", code + "print('torch' in sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.endswith("False\n")


def test_many_videos(lingen_here: RunHere) -> None:
    written(scene(96, tint=80))
    written(scene(96), "still.mp4")
    Path("text.mp4").write_text("hello")
    found = lingen_here("check", "text.mp4", "video.mp4", "still.mp4")
    assert found.returncode == 65
    assert [line for line in found.stdout.splitlines() if line.startswith("file")] == [
        "file         video.mp4",
        "file         still.mp4",
    ]
    assert "1 of 3 videos cannot be read" in found.stderr
    found = lingen_here("check", "video.mp4", "text.mp4", "still.mp4", "--max-drift", 2, "--json")
    assert found.returncode == 1
    assert [json.loads(line)["passed"] for line in found.stdout.splitlines()] == [False, True]
    assert "1 of 3 videos do not pass; 1 of 3 videos cannot be read" in found.stderr
    assert lingen_here("check", "video.mp4", "still.mp4", "--plot", "a.png").returncode == 2


def test_objects_are_said_not_to_be_looked_at(lingen_here: RunHere) -> None:
    written(scene(20))
    assert "objects      not looked at" in lingen_here("check", "video.mp4").stdout
