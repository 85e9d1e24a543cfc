"""Disks that fill up while a video is written: the right error, and nothing at the output."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lingen_cli.errors import DiskFullError, WriteFailedError
from lingen_cli.files.work_folder import WorkFolder, reserve_space

RUN = """
import resource, sys
from fractions import Fraction
from pathlib import Path
import numpy as np
from lingen_cli.errors import DiskFullError
from lingen_cli.media.verify_video import verify_video
from lingen_cli.media.writer import VideoWriter
from lingen_cli.files.work_folder import WorkFolder

target, limit = Path(sys.argv[1]), int(sys.argv[2])
if limit:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
noise = np.random.default_rng(0).integers(0, 255, (40, 64, 64, 3), dtype=np.uint8)
fps = Fraction(16)
try:
    with WorkFolder(target) as work:
        temporary = work.temporary(".mp4")
        with VideoWriter(temporary, width=64, height=64, fps=fps, target=target) as video:
            video.write(noise)
        verify_video(temporary, frames=40, width=64, height=64, fps=fps)
        work.publish(temporary)
except DiskFullError as error:
    print(error)
    sys.exit(error.exit_code)
"""


def run(target: Path, limit: int = 0) -> tuple[int, str]:
    command = [sys.executable, "-c", RUN, str(target), str(limit)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stderr == ""
    return done.returncode, done.stdout.strip()


def test_file_size_limit(tmp_path: Path) -> None:
    assert run(tmp_path / "free.mp4") == (0, "")
    size = (tmp_path / "free.mp4").stat().st_size
    for limit in (1000, size - 1):
        target = tmp_path / f"{limit}.mp4"
        line = f"the file size limit (ulimit -f) was reached: {target}"
        assert run(target, limit) == (74, line)
    assert run(tmp_path / "fits.mp4", size) == (0, "")
    assert sorted(os.listdir(tmp_path)) == ["fits.mp4", "free.mp4"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(place)]
    try:
        mounted = subprocess.run(mount, capture_output=True).returncode == 0
    except FileNotFoundError:
        mounted = False
    if not mounted:
        pytest.skip("mounting a small disk needs root")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_full_disk(small_disk: Path) -> None:
    target = small_disk / "a.mp4"
    for free in (4, 40, 100):  # KiB
        filler = small_disk / "filler"
        filler.write_bytes(bytes((124 - free) << 10))
        line = f"disk full, free some space and run again: {target}"
        assert run(target) == (74, line)
        assert os.listdir(small_disk) == ["filler"]
        filler.unlink()


def test_read_only_disk(small_disk: Path) -> None:
    remount = ["mount", "-o", "remount,ro", str(small_disk)]
    subprocess.run(remount, check=True)
    target = small_disk / "a.mp4"
    with (
        pytest.raises(WriteFailedError, match=r"^read-only file system: .*a\.mp4$"),
        WorkFolder(target),
    ):
        pass
    with pytest.raises(WriteFailedError, match=r"^read-only file system"):
        reserve_space(small_disk, 100).__enter__()


def test_reserving_on_a_full_disk(small_disk: Path) -> None:
    with reserve_space(small_disk, 100 << 10):
        assert os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_frsize <= 400 << 10
    with pytest.raises(DiskFullError, match=r"^disk full, .*\(1 MiB needed\)$"):
        reserve_space(small_disk, 1 << 20).__enter__()
    assert os.listdir(small_disk) == []
