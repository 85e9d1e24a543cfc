"""`lingen extend` on videos that lingen did not make: what is kept, what follows, what fails."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import av
import pytest

from lingen_cli.generation import latent_cache
from lingen_cli.media.reader import frames_at
from lingen_cli.requests.recipe import recipe_from_video
from tests.cli.protocols import Fails, RunHere

NEW = ("--prompt", "a red ball", "--seconds", "1", "--steps", "1", "--seed", "3")
COPIED = "not copied"
ALIKE = 10
"""Mean difference of pixels that were encoded once more; another image has 40 and more."""


@pytest.fixture
def ffmpeg(clean_environment: Path) -> Callable[..., subprocess.CompletedProcess[bytes]]:
    """Runs ffmpeg, which makes the videos and must play the results without a word."""
    if shutil.which("ffmpeg") is None:
        pytest.skip("ffmpeg is not installed")

    def run(*arguments: object) -> subprocess.CompletedProcess[bytes]:
        command = ["ffmpeg", "-hide_banner", "-v", "warning", "-y", *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr
        return done

    return run


@pytest.fixture
def make(ffmpeg: Callable[..., subprocess.CompletedProcess[bytes]]) -> Callable[..., Path]:
    """A video of the test image, 2 s at 30 frames per second unless said otherwise."""

    def run(
        name: str,
        *options: object,
        size: str = "96x64",
        rate: str = "30",
        seconds: int = 2,
        source: Sequence[str] = (),
    ) -> Path:
        image = f"testsrc=s={size}:r={rate}:d={seconds}"
        given: tuple[object, ...] = ("-f", "lavfi", "-i", image, *source, *options)
        if not {"-c:v", "-pix_fmt"} & set(options):
            given += ("-c:v", "libx264", "-pix_fmt", "yuv420p", "-preset", "ultrafast")
        ffmpeg(*given, name)
        return Path(name)

    return run


@pytest.fixture
def extend(
    lingen_here: RunHere,
    tiny_weights: Path,
    clean_environment: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., tuple[Path, str]]:
    """Run `lingen extend` with the tiny model, which must work."""
    monkeypatch.setenv(latent_cache.FOLDER_VARIABLE, str(clean_environment / "cache"))

    def run(
        video: str | Path,
        *options: object,
        output: str = "out.mp4",
        new: Sequence[str] = NEW,
    ) -> tuple[Path, str]:
        weights = ("--weights", tiny_weights) if new is NEW else ()
        result = lingen_here("extend", video, *weights, *new, *options, "-o", output)
        assert result.returncode == 0, result.stderr
        return Path(output), result.stderr

    return run


def packets(path: str | Path, kind: Literal["video", "audio"] = "video") -> list[bytes]:
    with av.open(str(path)) as container:
        stream = container.streams.best(kind)
        return [bytes(p) for p in container.demux(stream) if p.size]


def facts(path: str | Path) -> tuple[int, int, Any, int]:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        rate = Fraction(str(stream.average_rate))
        return stream.width, stream.height, rate, stream.frames


def likeness(old: Path, new: Path, count: int, rate: float) -> float:
    """Mean difference of the first frames of two videos, 0 to 255."""
    times = [(number + 0.5) / rate for number in range(0, count, 7)]
    pairs = zip(
        frames_at(old, times, box=(64, 64)), frames_at(new, times, box=(64, 64)), strict=True
    )
    return max(float(abs(a.astype(int) - b).mean()) for a, b in pairs)


def test_its_packets_and_its_sound_are_copied(
    make: Callable[..., Path],
    extend: Callable[..., tuple[Path, str]],
    ffmpeg: Callable[..., subprocess.CompletedProcess[bytes]],
) -> None:
    sound = ("-f", "lavfi", "-i", "sine=440:d=2", "-c:a", "aac")
    old = make("old.mp4", source=sound)
    before = old.read_bytes()
    new, said = extend(old)
    assert old.read_bytes() == before
    assert COPIED not in said
    assert facts(new) == (96, 64, 30, 90)
    assert packets(new)[:60] == packets(old)
    assert packets(new, "audio") == packets(old, "audio")
    assert ffmpeg("-i", new, "-f", "null", "-").stderr == b""
    recipe = recipe_from_video(new)
    assert recipe.base is not None
    assert (recipe.base.frames, recipe.frames, recipe.base.headers) == (60, 30, 1)


def test_it_goes_on_again_and_repeats_byte_for_byte(
    make: Callable[..., Path],
    extend: Callable[..., tuple[Path, str]],
    lingen_here: RunHere,
    ffmpeg: Callable[..., subprocess.CompletedProcess[bytes]],
) -> None:
    old = make("old.mp4", source=("-f", "lavfi", "-i", "sine=440:d=2", "-c:a", "aac"))
    first, _ = extend(old)
    second, said = extend(
        first, output="second.mp4", new=("--prompt", "a blue star", "--seconds", "0.5")
    )
    assert "cache" not in said
    assert facts(second)[3] == 105
    assert packets(second)[:90] == packets(first)
    assert ffmpeg("-i", second, "-f", "null", "-").stderr == b""
    assert lingen_here("rerun", second, "-o", "again.mp4").returncode == 0
    assert Path("again.mp4").read_bytes() == second.read_bytes()


def test_without_its_latents_the_end_is_encoded(
    make: Callable[..., Path], extend: Callable[..., tuple[Path, str]]
) -> None:
    first, _ = extend(make("old.mp4"))
    shutil.rmtree("cache")
    second, said = extend(first, output="second.mp4", new=("--seconds", "0.5"))
    assert "not in the cache" in said
    assert facts(second)[3] == 105


@pytest.mark.parametrize(
    ("name", "options", "why"),
    [
        ("mpeg4.mp4", ("-c:v", "mpeg4"), "its codec is mpeg4"),
        ("hevc.mkv", ("-c:v", "libx265", "-x265-params", "log-level=none"), "its codec is hevc"),
        ("deep.mp4", ("-c:v", "libx264", "-pix_fmt", "yuv420p10le"), "its pixels are yuv420p10le"),
        ("stream.ts", (), "its headers are not those of an mp4"),
        ("wide.mp4", ("-vf", "setsar=2"), "its pixels are not square"),
        ("small.gif", ("-pix_fmt", "rgb8"), "its codec is gif"),
        ("web.webm", ("-c:v", "libvpx", "-b:v", "1M"), "its codec is vp8"),
    ],
)
def test_what_cannot_be_copied_is_encoded_again(
    make: Callable[..., Path],
    extend: Callable[..., tuple[Path, str]],
    ffmpeg: Callable[..., subprocess.CompletedProcess[bytes]],
    name: str,
    options: tuple[str, ...],
    why: str,
) -> None:
    old = make(name, *options, rate="25")
    new, said = extend(old)
    assert f"its packets cannot be copied ({why}): it is encoded again" in said
    width, height, rate, frames = facts(new)
    assert (width, height, rate) == (192 if name == "wide.mp4" else 96, 64, 25)
    assert abs(frames - 75) <= 1
    if name != "wide.mp4":
        assert likeness(old, new, 50, 25) < ALIKE
    assert ffmpeg("-i", new, "-f", "null", "-").stderr == b""


def test_odd_sizes_lose_a_row(
    make: Callable[..., Path], extend: Callable[..., tuple[Path, str]]
) -> None:
    old = make("odd.mkv", "-c:v", "ffv1", size="97x65")
    new, said = extend(old)
    assert "its images of 97x65 are cut to 96x64" in said
    assert facts(new)[:2] == (96, 64)


def test_a_turned_video_comes_out_upright(
    make: Callable[..., Path],
    extend: Callable[..., tuple[Path, str]],
    ffmpeg: Callable[..., subprocess.CompletedProcess[bytes]],
) -> None:
    make("lying.mp4")
    ffmpeg("-i", "lying.mp4", "-c", "copy", "-metadata:s:v:0", "rotate=90", "turned.mp4")
    new, said = extend(Path("turned.mp4"))
    assert "it is turned" in said
    assert facts(new) == (64, 96, 30, 90)
    assert likeness(Path("turned.mp4"), new, 60, 30) < ALIKE


def test_a_varying_rate_is_put_on_a_grid(
    make: Callable[..., Path], extend: Callable[..., tuple[Path, str]]
) -> None:
    times = "(N+0.6*mod(N,2))/30/TB"
    old = make("varying.mp4", "-vf", f"settb=1/1000,setpts='{times}'", "-vsync", "vfr")
    new, said = extend(old)
    assert "encoded again" in said
    rate = facts(new)[2]
    assert rate == Fraction(round(rate))
    assert likeness(old, new, 40, float(rate)) < 2 * ALIKE


def test_matroska_rounds_times_and_is_copied(
    make: Callable[..., Path], extend: Callable[..., tuple[Path, str]]
) -> None:
    new, said = extend(make("old.mkv"))
    assert COPIED not in said
    assert facts(new) == (96, 64, 30, 90)


def test_the_tail_of_a_long_file_is_soon_read(
    make: Callable[..., Path],
    ffmpeg: Callable[..., subprocess.CompletedProcess[bytes]],
    tiny_weights: Path,
) -> None:
    """Two hours of 1080p: what is needed is sought from the end, in little memory."""
    make("clip.mp4", size="1920x1080", seconds=4)
    ffmpeg("-stream_loop", 1799, "-i", "clip.mp4", "-c", "copy", "long.mp4")
    arguments = ("extend", "long.mp4", "--weights", tiny_weights, *NEW, "--json", "-o", "out.mp4")
    command = [sys.executable, "-m", "lingen_cli", *map(str, arguments)]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    with subprocess.Popen(command, **pipes) as process:
        assert process.stdout is not None
        for line in process.stdout:
            event = json.loads(line)
            if event.get("phase") == "sample" and event["done"]:
                break
        status = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii")
        process.kill()
        process.stdout.read()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found is not None
    peak = int(found[1])
    assert peak < 1_500_000, peak


def test_without_a_duration(
    make: Callable[..., Path],
    extend: Callable[..., tuple[Path, str]],
    ffmpeg: Callable[..., subprocess.CompletedProcess[bytes]],
) -> None:
    make("whole.mkv")
    with Path("pipe.mkv").open("wb") as file:
        command = ["ffmpeg", "-v", "error", "-i", "whole.mkv", "-c", "copy", "-f", "matroska", "-"]
        subprocess.run(command, stdout=file, check=True)
    new, _ = extend(Path("pipe.mkv"))
    assert facts(new)[3] == 90


def test_a_file_that_is_cut_short_goes_on_from_its_last_frame(
    make: Callable[..., Path],
    extend: Callable[..., tuple[Path, str]],
    ffmpeg: Callable[..., subprocess.CompletedProcess[bytes]],
) -> None:
    old = make("old.mp4", "-movflags", "+faststart", "-g", "10", seconds=6)
    half = Path("half.mp4")
    half.write_bytes(old.read_bytes()[: old.stat().st_size * 6 // 10])
    new, said = extend(half)
    assert "the video is cut short" in said
    frames = facts(new)[3] - 30
    assert 60 < frames < 150
    assert likeness(old, new, frames - 3, 30) < ALIKE
    assert ffmpeg("-i", new, "-f", "null", "-").stderr == b""


@pytest.mark.parametrize(
    ("fit", "size"), [("stretch", (128, 64)), ("pad", (128, 64)), ("crop", (64, 64))]
)
def test_every_fit_keeps_the_geometry(
    make: Callable[..., Path],
    extend: Callable[..., tuple[Path, str]],
    fit: str,
    size: tuple[int, int],
) -> None:
    old = make("old.mp4", size="128x64")
    new, _ = extend(old, "--fit", fit, "--size", "32")
    recipe = recipe_from_video(new)
    assert (recipe.width, recipe.height) == (32, 32)
    assert facts(new) == (*size, 30, 90)


def test_a_stream_with_untagged_colors_keeps_them(
    make: Callable[..., Path], extend: Callable[..., tuple[Path, str]]
) -> None:
    old = make("old.mp4")
    new, _ = extend(old)
    with av.open(str(old)) as before, av.open(str(new)) as after:
        first, second = (c.streams.video[0].codec_context.colorspace for c in (before, after))
        assert first == second
        assert [frame.colorspace for frame in after.decode(video=0)] == [first] * 90


@pytest.mark.parametrize(
    ("options", "code", "part"),
    [
        (("--seconds", "1"), 2, "say with --prompt"),
        ((*NEW, "--fit", "squeeze"), 2, "--fit must be one of stretch, pad, crop"),
        ((*NEW, "--size", "33"), 2, "--size must be"),
        (("--prompt", "a red ball", "--to", "1"), 2, "--to must be above the 2 s"),
        (("--prompt", " "), 2, "prompt is empty"),
    ],
)
def test_what_is_refused(
    make: Callable[..., Path],
    lingen_here: RunHere,
    fails: Fails,
    options: tuple[str, ...],
    code: int,
    part: str,
) -> None:
    fails(lingen_here("extend", make("old.mp4"), *options), code, part)
    assert [path.name for path in Path().iterdir()] == ["old.mp4"]


def test_what_is_refused_afterwards(
    make: Callable[..., Path],
    extend: Callable[..., tuple[Path, str]],
    lingen_here: RunHere,
    fails: Fails,
) -> None:
    old = make("old.mp4")
    new, _ = extend(old)
    fails(lingen_here("extend", new, "--fit", "pad"), 2, "--fit has no effect here")
    fails(lingen_here("branch", new, "a star", "--at", "1.5"), 2, "after the first 2 s")
    fails(lingen_here("retake", new, "--from", "1"), 2, "after the first 2 s")
    with old.open("ab") as file:
        file.write(b"\0")
    fails(lingen_here("rerun", new), 65, "is not the video that was made longer")
    old.unlink()
    fails(lingen_here("rerun", new), 66, "no such file")


def test_the_new_part_can_be_retaken_and_branched(
    make: Callable[..., Path], extend: Callable[..., tuple[Path, str]], lingen_here: RunHere
) -> None:
    new, _ = extend(make("old.mp4"))
    result = lingen_here("retake", new, "--from", "2.5", "--seed", "9", "-o", "retake.mp4")
    assert result.returncode == 0, result.stderr
    assert packets("retake.mp4")[:60] == packets(new)[:60]
    assert facts("retake.mp4") == facts(new)
    options = ("--at", "2.5", "--seconds", "0.5", "-o", "branch.mp4")
    result = lingen_here("branch", new, "a blue star", *options)
    assert result.returncode == 0, result.stderr
    assert packets("branch.mp4")[:60] == packets(new)[:60]
    assert facts("branch.mp4") == facts(new)
