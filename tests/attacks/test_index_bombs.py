"""Small mp4 files whose index says that there are millions of samples."""

import resource
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lingen_cli.errors import BadDataError
from lingen_cli.media.mp4_index import IndexBombError, check_index
from lingen_cli.media.open import open_video
from lingen_cli.media.probe import video_info

MILLIONS = 40_000_000
LEAST = 400 << 20  # bytes of memory that a command may take


def box(kind: Any, *parts: Any) -> Any:
    data = b"".join(parts)
    return struct.pack(">I", 8 + len(data)) + kind + data


def full(kind: bytes, *numbers: int) -> Any:
    return box(kind, struct.pack(f">{1 + len(numbers)}I", 0, *numbers))


def children(data: Any, begin: Any, end: Any) -> Iterator[tuple[Any, Any, Any]]:
    while begin + 8 <= end:
        size = int.from_bytes(data[begin : begin + 4], "big")
        yield data[begin + 4 : begin + 8], begin, begin + size
        begin += size


def rebuilt(data: Any, replaced: Any, begin: Any = 0, end: Any = None) -> Any:
    """The boxes of `data` with some in place of others."""
    out = []
    for kind, first, last in children(data, begin, len(data) if end is None else end):
        if kind in replaced:
            out.append(replaced[kind])
        elif kind in (b"moov", b"trak", b"mdia", b"minf", b"stbl"):
            out.append(box(kind, rebuilt(data, replaced, first + 8, last)))
        else:
            out.append(data[first:last])
    return b"".join(out)


def trun(count: int) -> Any:
    """A fragment of so many samples of which nothing is said."""
    header = full(b"tfhd", 1)
    return box(b"moof", full(b"mfhd", 1), box(b"traf", header, full(b"trun", count)))


BOMBS = {
    "stsz": {
        b"stsz": full(b"stsz", 1, MILLIONS),
        b"stts": full(b"stts", 1, MILLIONS, 1),
        b"stsc": full(b"stsc", 1, 1, MILLIONS, 1),
    },
    "stz2": {b"stsz": full(b"stz2", 4, MILLIONS)},
    "stts": {b"stts": full(b"stts", 1, MILLIONS, 1)},
    "ctts": {b"stts": full(b"ctts", 1, MILLIONS, 1)},
    "stsc": {b"stsc": full(b"stsc", 1, 1, MILLIONS, 1)},
    "two tracks": {b"stsz": full(b"stsz", 0, 8000), b"stts": full(b"stts", 1, 8000, 1)},
    "cmov": {b"trak": box(b"cmov", box(b"dcom", b"zlib"))},
}


@pytest.mark.parametrize("name", BOMBS)
def test_it_is_refused(make_video: Callable[..., Path], tmp_path: Path, name: str) -> None:
    data = make_video(frames=20).read_bytes()
    if name == "two tracks":  # each of them alone has less samples than the file bytes
        (moov,) = (data[a:b] for kind, a, b in children(data, 0, len(data)) if kind == b"moov")
        (trak,) = (moov[a:b] for kind, a, b in children(moov, 8, len(moov)) if kind == b"trak")
        data = data.replace(moov, box(b"moov", moov[8:], trak), 1)
    path = tmp_path / "bomb.mp4"
    path.write_bytes(rebuilt(data, BOMBS[name]))
    assert path.stat().st_size < 16_000
    with pytest.raises(BadDataError, match=r"not a video \(its index "), open_video(path):
        pass


def test_fragments_are_counted(make_video: Callable[..., Path], tmp_path: Path) -> None:
    path = tmp_path / "bomb.mp4"
    path.write_bytes(make_video(frames=20).read_bytes() + trun(MILLIONS))
    with pytest.raises(BadDataError, match="more samples than the file has bytes"):
        video_info(path)


def test_bytes_that_are_not_there_do_not_help(
    make_video: Callable[..., Path], tmp_path: Path
) -> None:
    """A sparse file is long and small."""
    path = tmp_path / "bomb.mp4"
    path.write_bytes(rebuilt(make_video(frames=20).read_bytes(), BOMBS["stsz"]))
    with path.open("r+b") as file:
        file.truncate(100_000_000)
    with pytest.raises(BadDataError, match="more than 8000000 samples"):
        video_info(path)


MEASURED = """
import resource, subprocess, sys
code = subprocess.call([sys.executable, *sys.argv[1:]])
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(code)
"""
"""A Python program that runs another, and prints the most memory that it had, in KiB."""


def test_a_command_takes_little_memory(make_video: Callable[..., Path], tmp_path: Path) -> None:
    path = tmp_path / "bomb.mp4"
    path.write_bytes(rebuilt(make_video(frames=20).read_bytes(), BOMBS["stsz"]))
    command = [sys.executable, "-c", MEASURED, "-m", "lingen_cli", "show", str(path)]
    limit = (LEAST + (3 << 30), LEAST + (3 << 30))  # address space: libraries take most of it
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, limit),
    )
    assert done.returncode == 65, done.stderr
    assert "its index has more samples than the file has bytes" in done.stderr
    assert int(done.stdout.split()[-1]) < LEAST >> 10


@pytest.mark.parametrize(
    "options",
    [
        ("-c:v", "libx264", "-bf", "2", "-movflags", "+faststart", "a.mp4"),
        ("-c:v", "libx264", "-movflags", "+frag_keyframe+empty_moov", "a.mp4"),
        ("-c:v", "libx264", "-c:a", "pcm_s16le", "a.mov"),
        ("-c:v", "libx264", "-c:a", "pcm_u8", "a.mov"),
        ("-c:v", "libx264", "a.mkv"),
        ("-c:v", "mjpeg", "-c:a", "pcm_s16le", "a.avi"),
    ],
)
def test_what_is_no_bomb_passes(ffmpeg: str, tmp_path: Path, options: tuple[str, ...]) -> None:
    path = tmp_path / options[-1]
    sound = ("-f", "lavfi", "-i", "sine=r=48000:d=3")
    command = [ffmpeg, "-v", "error", "-f", "lavfi", "-i", "testsrc=s=64x48:r=24:d=3", *sound]
    subprocess.run([*command, *options[:-1], str(path)], check=True)
    with path.open("rb") as file:
        check_index(file)
        assert file.tell() == 0
    assert video_info(path).width == 64


def test_bytes_of_any_kind_end_the_walk(tmp_path: Path) -> None:
    for data in (b"\0" * 64, b"\xff" * 64, b"\0\0\0\x08moov" * 8, b"\0\0\0\1moov" + b"\xff" * 8):
        path = tmp_path / "any"
        path.write_bytes(data)
        with path.open("rb") as file:
            check_index(file)


def test_the_number_of_boxes_is_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lingen_cli.media.mp4_index._MAX_BOXES", 100)
    path = tmp_path / "many"
    path.write_bytes(box(b"free") * 101)
    with path.open("rb") as file, pytest.raises(IndexBombError, match="more than 100 boxes"):
        check_index(file)
