"""`lingen extend` on files that are no videos, or broken ones: one line, its code, nothing else."""

import hashlib
import os
import stat
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from lingen_cli.generation import latent_cache
from tests.cli.protocols import Fails, RunHere

NEW = ("--prompt", "a red ball", "--seconds", "0.5", "--steps", "1", "--seed", "3")


@pytest.fixture
def small(clean_environment: Path) -> Callable[..., Path]:
    """A small mp4 of 64 frames with its index first, made by another program than ours: libav."""

    def make(name: str = "small.mp4", codec: str = "libx264", **options: Any) -> Path:
        path = Path(name)
        settings = {"movflags": "+faststart"} if path.suffix == ".mp4" else {}
        with av.open(str(path), "w", container_options=settings) as container:
            stream: Any = container.add_stream(codec, rate=16, options={"g": "8"} | options)
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
            for number in range(64):
                image = np.full((48, 64, 3), 40 + 2 * number, np.uint8)
                image[8:24, number % 48 : number % 48 + 16] = (220, 200, 40)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(image)))
            container.mux(stream.encode(None))
        return path

    return make


@pytest.fixture
def extend(
    lingen_here: RunHere,
    tiny_weights: Path,
    clean_environment: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run `lingen extend`; the input must stay as it was, and nothing half-made is left."""
    monkeypatch.setenv(latent_cache.FOLDER_VARIABLE, str(clean_environment / "cache"))

    def run(video: str | Path, *options: object) -> subprocess.CompletedProcess[str]:
        ordinary = Path(video).is_file()
        before = hashlib.sha256(Path(video).read_bytes()).digest() if ordinary else b""
        found = {path.name for path in Path().iterdir()}
        result = lingen_here("extend", "--weights", tiny_weights, *NEW, *options, "--", video)
        if ordinary:
            assert hashlib.sha256(Path(video).read_bytes()).digest() == before
        new = {path.name for path in Path().iterdir()} - found
        assert len(new - {"cache"}) == (result.returncode == 0), new
        return result

    return run


def text(path: Path) -> None:
    path.write_text("this is no video\n" * 100)


def image(path: Path) -> None:
    with av.open(str(path), "w", format="image2") as container:
        stream = container.add_stream("png", rate=1)
        stream.width, stream.height, stream.pix_fmt = 16, 16, "rgb24"
        container.mux(stream.encode(av.VideoFrame(16, 16, "rgb24")))
        container.mux(stream.encode(None))


def sound(path: Path) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=44_100, layout="mono")
        silence = np.zeros((1, 1024), np.float32)
        frame = av.AudioFrame.from_ndarray(silence, format="fltp", layout="mono")
        frame.sample_rate = 44_100
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def playlist(path: Path) -> None:
    path.write_text("#EXTM3U\n#EXTINF:9,\nhttp://127.0.0.1:9/x.ts\n#EXT-X-ENDLIST\n")


def without_index(path: Path) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=16)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        container.mux(stream.encode(av.VideoFrame(64, 48, "yuv420p")))
        container.mux(stream.encode(None))
    path.write_bytes(path.read_bytes().partition(b"moov")[0][:-4])


def enormous(path: Path) -> None:
    """The first frame of a VP8 video of 16000 x 16000, as far as its header."""
    frame = b"\x10\2\0\x9d\x01\x2a" + struct.pack("<HH", 16000, 16000) + bytes(40)
    facts = (b"DKIF", 0, 32, b"VP80", 16000, 16000, 16, 1, 1)
    head = struct.pack("<4sHH4sHHIII", *facts) + bytes(4)
    path.write_bytes(head + struct.pack("<IQ", len(frame), 0) + frame)


@pytest.mark.parametrize(
    ("fill", "code", "part"),
    [
        pytest.param(lambda path: None, 66, "no such file", id="A1 missing"),
        pytest.param(lambda path: path.symlink_to("nowhere"), 66, "no such file", id="A2 link"),
        pytest.param(Path.mkdir, 66, "not a regular file", id="A3 folder"),
        pytest.param(os.mkfifo, 66, "not a regular file", id="A4 fifo"),
        pytest.param(Path.touch, 65, "file is empty", id="A5 empty"),
        pytest.param(text, 65, "not a supported video file", id="A6 text"),
        pytest.param(image, 65, "not a supported video file", id="A7 image"),
        pytest.param(sound, 65, "file has no video stream", id="A8 sound"),
        pytest.param(playlist, 65, "not a supported video file", id="B2 playlist"),
        pytest.param(without_index, 65, "(or damaged header)", id="A9 no index"),
        pytest.param(enormous, 65, "frame size 16000x16000 is above the limit", id="A12 enormous"),
    ],
)
def test_what_is_no_video(
    extend: Callable[..., subprocess.CompletedProcess[str]],
    fails: Fails,
    fill: Callable[[Path], object],
    code: int,
    part: str,
) -> None:
    path = Path("input.mp4")
    fill(path)
    fails(extend(path), code, part)


def test_a_device(extend: Callable[..., subprocess.CompletedProcess[str]], fails: Fails) -> None:
    fails(extend("/dev/zero"), 66, "not a regular file")


@pytest.mark.parametrize(
    "name", ["http://127.0.0.1:9/x.mp4", "concat:a.ts|b.ts", "subfile,,:small.mp4", "pipe:0", "fd:"]
)
def test_addresses_are_names_of_missing_files(
    extend: Callable[..., subprocess.CompletedProcess[str]],
    small: Callable[..., Path],
    fails: Fails,
    name: str,
) -> None:
    small()
    fails(extend(name), 66, "no such file")


@pytest.mark.parametrize("name", ["http:evil.mp4", "-dash.mp4", "two\nlines.mp4", 'a "quote".mp4'])
def test_odd_names_of_real_files(
    extend: Callable[..., subprocess.CompletedProcess[str]], small: Callable[..., Path], name: str
) -> None:
    small().rename(name)
    result = extend(Path(name))
    assert result.returncode == 0, result.stderr


def test_somebody_elses_file(
    extend: Callable[..., subprocess.CompletedProcess[str]],
    small: Callable[..., Path],
    fails: Fails,
) -> None:
    path = small()
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user may read everything")
    fails(extend(path), 77, "permission denied")
    path.chmod(stat.S_IRUSR)


@pytest.mark.parametrize("tenths", range(1, 10))
@pytest.mark.parametrize("index_first", [True, False])
def test_cut_at_every_tenth(
    extend: Callable[..., subprocess.CompletedProcess[str]],
    small: Callable[..., Path],
    fails: Fails,
    tenths: int,
    index_first: bool,
) -> None:
    whole = small() if index_first else small(name="late.mov")
    data = whole.read_bytes()
    cut = Path("cut" + whole.suffix)
    cut.write_bytes(data[: len(data) * tenths // 10])
    result = extend(cut)
    if result.returncode == 0:
        assert index_first
        assert "cut short" in result.stderr or tenths == 9
    else:
        fails(result, 65)


def test_an_enormous_header(
    extend: Callable[..., subprocess.CompletedProcess[str]],
    small: Callable[..., Path],
    fails: Fails,
) -> None:
    """60,000 x 60,000 pixels in the container's own words."""
    data = bytearray(small(name="big.avi", codec="mpeg4").read_bytes())
    at = data.index(b"strf") + 8
    for offset in (4, 8):
        data[at + offset : at + offset + 4] = (60_000).to_bytes(4, "little")
    Path("big.avi").write_bytes(data)
    result = extend(Path("big.avi"))
    if result.returncode:
        fails(result, 65)


@pytest.mark.parametrize(
    ("count", "code", "told"),
    [
        pytest.param(1, 0, "", id="1"),
        pytest.param(20, 0, "damaged packets near the end were stepped over", id="20"),
        pytest.param(200, 0, "encoded again, not copied: its last packets are damaged", id="200"),
        pytest.param(5000, 65, ": damaged.mp4", id="5000"),
    ],
)
def test_damaged_packets(
    extend: Callable[..., subprocess.CompletedProcess[str]],
    small: Callable[..., Path],
    fails: Fails,
    count: int,
    code: int,
    told: str,
) -> None:
    data = bytearray(small().read_bytes())
    middle = data.index(b"mdat") + 8
    rng = np.random.default_rng(count)
    for at in rng.integers(middle, len(data), count):
        data[at] ^= 1 << int(at) % 8
    Path("damaged.mp4").write_bytes(data)
    result = extend(Path("damaged.mp4"))
    if code:
        fails(result, code, told)
        return
    assert result.returncode == 0, result.stderr
    assert told in result.stderr
    with av.open("damaged-longer.mp4") as container:
        assert container.streams.video[0].frames == 72


def test_a_size_that_changes_on_the_way(
    extend: Callable[..., subprocess.CompletedProcess[str]], small: Callable[..., Path]
) -> None:
    """Two streams of packets under one roof: what comes out has one size."""
    first = small(name="first.ts").read_bytes()
    with av.open("other.ts", "w") as container:
        stream = container.add_stream("libx264", rate=16)
        stream.width, stream.height, stream.pix_fmt = 96, 80, "yuv420p"
        for _ in range(32):
            container.mux(stream.encode(av.VideoFrame(96, 80, "yuv420p")))
        container.mux(stream.encode(None))
    Path("both.ts").write_bytes(first + Path("other.ts").read_bytes())
    result = extend(Path("both.ts"))
    assert result.returncode == 0, result.stderr
    assert "it is encoded again" in result.stderr
    with av.open("both-longer.mp4") as container:
        sizes = [(frame.width, frame.height) for frame in container.decode(video=0)]
    assert set(sizes) == {(64, 48)}
    assert len(sizes) > 64
