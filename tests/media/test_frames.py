import subprocess
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from lingen_cli.errors import BadDataError
from lingen_cli.media.probe import video_info
from lingen_cli.media.reader import fit_box, frames_at
from lingen_cli.media.writer import VideoWriter

Make = Callable[..., Path]


@pytest.fixture
def grey_steps(tmp_path: Path) -> Path:
    """Frame i (10 per second, 30 s) has the grey value i / 2 + 40."""
    path = tmp_path / "steps.mp4"
    values = (np.arange(300) // 2 + 40).astype(np.uint8)[:, None, None, None]
    with VideoWriter(path, width=32, height=32, fps=Fraction(10), preset="ultrafast") as writer:
        writer.write(np.broadcast_to(values, (300, 32, 32, 3)))
    return path


def test_gives_the_frame_on_screen_at_each_time(grey_steps: Path) -> None:
    times = [0.0, 0.05, 0.1, 0.2, 3.0, 3.99, 25.0, 29.9, 99.0]  # with jumps that seek
    seen = [image[16, 16, 0] for image in frames_at(grey_steps, times, box=(32, 32))]
    expected = [min(int(time * 10 + 1e-6), 299) // 2 + 40 for time in times]
    assert np.abs(np.array(seen, int) - expected).max() <= 1


def test_one_image_per_time(grey_steps: Path) -> None:
    images = list(frames_at(grey_steps, [1.0, 1.0, 50.0, 60.0, 70.0], box=(32, 32)))
    assert len(images) == 5
    assert np.array_equal(images[0], images[1])
    assert np.array_equal(images[3], images[4])


def test_images_fit_the_box(make_video: Make) -> None:
    path = make_video(width=64, height=48)
    for box, size in (((32, 32), (24, 32, 3)), ((500, 500), (48, 64, 3)), ((64, 12), (12, 16, 3))):
        (image,) = frames_at(path, [0.5], box=box)
        assert image.shape == size and image.dtype == np.uint8


def test_colors_are_right(make_video: Make) -> None:
    (image,) = frames_at(make_video(), [0.5], box=(64, 48))
    assert np.abs(image[40, 32].astype(int) - (30, 60, 120)).max() <= 4


def test_damaged_packets_are_stepped_over(make_video: Make) -> None:
    path = make_video(frames=200, width=64, height=64)
    data = bytearray(path.read_bytes())
    start = data.index(b"mdat") + 4
    rng = np.random.default_rng(0)
    for at in rng.integers(start + (len(data) - start) // 2, len(data), 20):
        data[at] ^= 0xFF
    path.write_bytes(data)
    assert len(list(frames_at(path, [0.0, 5.0, 12.0], box=(64, 64)))) == 3


def test_too_much_damage_is_an_error(make_video: Make) -> None:
    path = make_video(frames=200, width=64, height=64)
    data = bytearray(path.read_bytes())
    start = data.index(b"mdat") + 4
    data[start:] = np.random.default_rng(0).bytes(len(data) - start)
    path.write_bytes(data)
    with pytest.raises(BadDataError, match=r"too many damaged packets|no readable frame"):
        list(frames_at(path, [0.0, 12.0], box=(64, 64)))


@pytest.mark.parametrize("hflip", [False, True])
@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_turned_videos_come_upright_as_ffmpeg_shows_them(
    make_video: Make, ffmpeg: str, tmp_path: Path, degrees: int, hflip: bool
) -> None:
    plain, turned = make_video(frames=3), tmp_path / "turned.mp4"
    with av.open(str(plain)) as source, av.open(str(turned), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        stream.set_display_rotation(degrees, hflip=hflip)
        for packet in source.demux(source.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    (image,) = frames_at(turned, [0.0], box=(64, 64))
    command = [ffmpeg, "-v", "error", "-i", str(turned), "-frames:v", "1"]
    command += ["-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    done = subprocess.run(command, capture_output=True, check=True)
    shown = np.frombuffer(done.stdout, np.uint8).reshape(image.shape)
    assert np.abs(image.astype(int) - shown).mean() < 3
    info = video_info(turned)
    assert (info.height, info.width) == image.shape[:2] == ((64, 48) if degrees % 180 else (48, 64))
    if not hflip:
        assert info.rotation == -degrees % 360


def test_info_of_our_own_video(make_video: Make) -> None:
    info = video_info(make_video(frames=19, fps=Fraction(25, 2)))
    assert (info.width, info.height, info.frames, info.rotation) == (64, 48, 19, 0)
    assert (info.fps, info.codec) == (Fraction(25, 2), "h264")
    assert info.duration == pytest.approx(19 / 12.5)


def test_info_of_a_file_that_says_little(make_video: Make, ffmpeg: str, tmp_path: Path) -> None:
    command = [ffmpeg, "-v", "error", "-i", str(make_video()), "-c", "copy", "-f", "matroska", "-"]
    piped = tmp_path / "piped.mkv"
    piped.write_bytes(subprocess.run(command, capture_output=True, check=True).stdout)
    info = video_info(piped)
    assert (info.width, info.height, info.frames, info.duration) == (64, 48, None, None)


def test_fit_box_never_enlarges_and_never_vanishes() -> None:
    assert fit_box(64, 48, (100, 100)) == (64, 48)
    assert fit_box(4000, 10, (100, 100)) == (100, 1)
    assert fit_box(10, 4000, (100, 100)) == (1, 100)
