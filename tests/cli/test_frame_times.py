"""Times of images: high and low rates, slides, B-frames without dts, files that ask for days."""

import subprocess
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from lingen_cli.media.reader import frames_at
from tests.cli.protocols import Fails, RunHere

H264 = ("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p")


def source(rate: str | int, seconds: int, size: str = "96x64") -> tuple[str, str, str, str]:
    return ("-f", "lavfi", "-i", f"testsrc2=s={size}:r={rate}:d={seconds}")


def facts(path: str | Path) -> tuple[Any, Any]:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return Fraction(str(stream.average_rate)), stream.frames


def packets(path: str | Path) -> list[bytes]:
    with av.open(str(path)) as container:
        return [bytes(one) for one in container.demux(video=0) if one.size]


@pytest.mark.parametrize("rate", ["240", "120", "60000/1001", "23.976", "1"])
def test_every_rate_up_to_240_is_kept(
    ffmpeg: Callable[..., subprocess.CompletedProcess[bytes]],
    extended: Callable[..., tuple[Path, Any, list[Any]]],
    rate: str,
) -> None:
    ffmpeg(*source(rate, 2), *H264, "old.mp4")
    old = facts("old.mp4")
    new, said, _ = extended("old.mp4")
    assert "timed anew" not in said and "encoded again" not in said
    found, frames = facts(new)
    assert found == old[0]
    assert frames == old[1] + round(found)
    assert packets(new)[: old[1]] == packets("old.mp4")


def test_a_higher_rate_is_told_before_work(
    ffmpeg: Callable[..., subprocess.CompletedProcess[bytes]],
    extended: Callable[..., tuple[Path, Any, list[Any]]],
) -> None:
    ffmpeg(*source(480, 1), *H264, "old.mp4")
    new, _, events = extended("old.mp4")
    first = next(n for n, one in enumerate(events) if one.get("phase") == "load")
    early = [one["message"] for one in events[:first] if one["event"] == "warning"]
    assert any("its 480 per second are more than 240: 2 images become one" in one for one in early)
    assert facts(new) == (240, 480)


def test_the_last_slide_stays_as_long_as_it_did(
    ffmpeg: Callable[..., subprocess.CompletedProcess[bytes]],
    extended: Callable[..., tuple[Path, Any, list[Any]]],
) -> None:
    for number, color in enumerate(("red", "lime", "blue"), start=1):
        ffmpeg("-f", "lavfi", "-i", f"color={color}:s=96x64", "-frames:v", "1", f"{number}.png")
    ffmpeg("-framerate", "1/3", "-i", "%d.png", *H264, "slides.mp4")
    new, said, _ = extended("slides.mp4")
    assert "cut short" not in said and "timed anew" in said
    rate, frames = facts(new)
    assert Fraction(frames) / rate == 10
    (image,) = frames_at(new, [8.9], box=(96, 64))
    assert image[:, :, 2].mean() > 200 and image[:, :, 0].mean() < 50  # still the blue one


def test_a_time_lapse_keeps_its_length(
    ffmpeg: Callable[..., subprocess.CompletedProcess[bytes]],
    extended: Callable[..., tuple[Path, Any, list[Any]]],
) -> None:
    ffmpeg(*source("1/2", 8), *H264, "lapse.mp4")
    new, said, _ = extended("lapse.mp4")
    assert "cut short" not in said
    rate, frames = facts(new)
    assert Fraction(frames) / rate == 9


def test_the_last_image_of_a_gif(
    ffmpeg: Callable[..., subprocess.CompletedProcess[bytes]],
    extended: Callable[..., tuple[Path, Any, list[Any]]],
) -> None:
    red = "color=s=64x48:r=10:d=1,format=rgb24,geq=r='20*N':g=0:b=0"
    ffmpeg("-f", "lavfi", "-i", red, "-final_delay", 200, "slow.gif")
    new, said, _ = extended("slow.gif")
    assert "cut short" not in said
    rate, frames = facts(new)
    assert Fraction(frames) / rate == Fraction(39, 10)
    shown = [image[:, :, 0].mean() for image in frames_at(new, [0.05, 0.55, 2.8], box=(64, 48))]
    assert np.allclose(shown, [0, 100, 180], atol=12)


def test_matroska_with_b_frames_is_copied(
    ffmpeg: Callable[..., subprocess.CompletedProcess[bytes]],
    extended: Callable[..., tuple[Path, Any, list[Any]]],
) -> None:
    ffmpeg(*source(24, 2), "-c:v", "libx264", "-pix_fmt", "yuv420p", "-bf", "2", "old.mkv")
    new, said, _ = extended("old.mkv")
    assert "encoded again" not in said
    assert facts(new) == (24, 72)
    assert len(set(packets("old.mkv")) & set(packets(new))) == 48
    assert ffmpeg("-i", new, "-f", "null", "-").stderr == b""


def test_few_images_that_last_for_days_are_refused(
    ffmpeg: Callable[..., subprocess.CompletedProcess[bytes]], lingen_here: RunHere, fails: Fails
) -> None:
    apart = ("-bsf:v", "setts=ts=N*864000000", "-video_track_timescale", 1000)
    ffmpeg(*source(1, 2), *H264, *apart, "days.mp4")
    result = lingen_here("extend", "days.mp4", "--prompt", "a red ball", "--seconds", "1")
    fails(result, 65, "2 images in", "would be", "frames", "ffmpeg -i days.mp4 -t 60")
    assert sorted(path.name for path in Path().iterdir()) == ["days.mp4"]


def test_an_image_that_the_decoder_drops_in_silence(
    ffmpeg: Callable[..., subprocess.CompletedProcess[bytes]],
    extended: Callable[..., tuple[Path, Any, list[Any]]],
) -> None:
    ffmpeg(*source(24, 2), *H264, "old.mp4")
    with av.open("old.mp4") as container:
        places = [one.pos for one in container.demux(video=0) if one.size][30:]
    whole = Path("old.mp4").read_bytes()
    assert drop_silently(whole, places), "no bit of this encoder's output is dropped in silence"
    new, said, _ = extended("damaged.mp4")
    assert "encoded again, not copied: its last packets are damaged" in said
    assert facts(new) == (24, 72)
    assert ffmpeg("-i", new, "-f", "null", "-").stderr == b""


def drop_silently(whole: bytes, places: Any) -> bool:
    """Write damaged.mp4, with a bit flipped that costs an image and raises nothing."""
    for place in places:
        for bit in range(8):
            data = bytearray(whole)
            data[place + 5] ^= 1 << bit
            Path("damaged.mp4").write_bytes(data)
            sent, shown = 0, 0
            try:
                with av.open("damaged.mp4") as container:
                    for packet in container.demux(video=0):
                        sent += bool(packet.size)
                        shown += len(packet.decode())
            except av.FFmpegError:
                continue
            if shown < sent:
                return True
    return False
