import errno
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NoReturn

import pytest

from lingen_cli.errors import (
    DiskFullError,
    LingenError,
    LockedError,
    MissingInputError,
    OutputExistsError,
    WriteFailedError,
)
from lingen_cli.files.printable import printable
from lingen_cli.files.work_folder import WorkFolder, publish, reserve_space


def put(work: WorkFolder, content: bytes = b"video") -> None:
    temporary = work.temporary(".mp4")
    temporary.write_bytes(content)
    work.publish(temporary)


def test_output_appears_whole_and_nothing_else_stays(tmp_path: Path) -> None:
    target = tmp_path / "a.mp4"
    with WorkFolder(target) as work:
        assert work.path == tmp_path / ".a.mp4.lingen"
        temporary = work.temporary(".mp4")
        temporary.write_bytes(b"video")
        assert temporary.parent.parent == work.path
        assert not target.exists()
        work.publish(temporary)
        assert target.read_bytes() == b"video"
    assert os.listdir(tmp_path) == ["a.mp4"]
    assert target.stat().st_nlink == 1


def test_temporary_names_differ(tmp_path: Path) -> None:
    with WorkFolder(tmp_path / "a.mp4") as work:
        assert work.temporary(".mp4") != work.temporary(".mp4")


def test_a_failed_run_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), WorkFolder(tmp_path / "a.mp4") as work:
        work.temporary(".mp4").write_bytes(b"half")
        (work.path / "deep").mkdir()
        (work.path / "deep" / "file").write_bytes(b"half")
        raise KeyboardInterrupt
    assert os.listdir(tmp_path) == []


def test_existing_output_is_refused_before_any_work(tmp_path: Path) -> None:
    target = tmp_path / "a.mp4"
    target.write_bytes(b"mine")
    with pytest.raises(OutputExistsError, match=r"already exists.*a\.mp4$"), WorkFolder(target):
        pass
    assert target.read_bytes() == b"mine"
    assert os.listdir(tmp_path) == ["a.mp4"]


def test_output_that_appears_meanwhile_is_kept(tmp_path: Path) -> None:
    target = tmp_path / "a.mp4"
    with pytest.raises(OutputExistsError), WorkFolder(target) as work:
        target.write_bytes(b"mine")
        put(work)
    assert target.read_bytes() == b"mine"
    assert os.listdir(tmp_path) == ["a.mp4"]


def test_overwrite_replaces_a_link_and_not_what_it_names(tmp_path: Path) -> None:
    target, other = tmp_path / "a.mp4", tmp_path / "other.mp4"
    other.write_bytes(b"mine")
    target.symlink_to(other)
    with WorkFolder(target, overwrite=True) as work:
        put(work)
    assert target.read_bytes() == b"video"
    assert not target.is_symlink()
    assert other.read_bytes() == b"mine"


def test_dangling_link_is_an_existing_output(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").symlink_to(tmp_path / "nowhere")
    with pytest.raises(OutputExistsError), WorkFolder(tmp_path / "a.mp4"):
        pass


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_is_never_an_output(tmp_path: Path, overwrite: bool) -> None:
    (tmp_path / "a.mp4").mkdir()
    with (
        pytest.raises(OutputExistsError, match="is a folder"),
        WorkFolder(tmp_path / "a.mp4", overwrite=overwrite),
    ):
        pass


def test_missing_folder_is_named(tmp_path: Path) -> None:
    with (
        pytest.raises(MissingInputError, match=r"^no such folder: .*nowhere$"),
        WorkFolder(tmp_path / "nowhere" / "a.mp4"),
    ):
        pass
    (tmp_path / "file").write_bytes(b"")
    with (
        pytest.raises(MissingInputError, match=r"^no such folder: .*file$"),
        WorkFolder(tmp_path / "file" / "a.mp4"),
    ):
        pass


def test_second_run_is_refused_while_the_first_works(tmp_path: Path) -> None:
    target = tmp_path / "a.mp4"
    with WorkFolder(target) as work:
        with pytest.raises(LockedError, match="another lingen run"), WorkFolder(target):
            pass
        with WorkFolder(tmp_path / "b.mp4") as other:
            put(other)
        put(work)
    assert sorted(os.listdir(tmp_path)) == ["a.mp4", "b.mp4"]


@pytest.mark.parametrize("kind", ["file", "link", "foreign folder"])
def test_something_else_with_the_name_of_the_work_folder(tmp_path: Path, kind: str) -> None:
    target, place = tmp_path / "a.mp4", tmp_path / ".a.mp4.lingen"
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").write_bytes(b"mine")
    if kind == "file":
        place.write_bytes(b"mine")
    elif kind == "link":
        place.symlink_to(precious)
    else:
        precious.rename(place)
    with pytest.raises(OutputExistsError, match="not a lingen work folder"), WorkFolder(target):
        pass
    kept = place if kind == "file" else (precious if kind == "link" else place) / "file"
    assert kept.read_bytes() == b"mine"


@pytest.mark.parametrize("name", ["x" * 251 + ".mp4", "http:evil.mp4", "a\nb\"'.mp4", "é.mp4"])
def test_odd_names(tmp_path: Path, name: str) -> None:
    target = tmp_path / name
    with WorkFolder(target) as work:
        put(work)
    assert target.read_bytes() == b"video"


def test_names_too_long_for_the_file_system(tmp_path: Path) -> None:
    with pytest.raises(WriteFailedError, match="too long"), WorkFolder(tmp_path / ("x" * 300)):
        pass


def test_of_racing_publishers_exactly_one_wins(tmp_path: Path) -> None:
    for turn in range(20):
        target, start = tmp_path / f"{turn}.mp4", threading.Barrier(8)

        def race(
            index: int, target: Path = target, start: threading.Barrier = start
        ) -> bytes | None:
            content = str(index).encode() * 1000
            temporary = tmp_path / f"{target.stem}-{index}"
            temporary.write_bytes(content)
            start.wait()
            try:
                publish(temporary, target)
            except OutputExistsError:
                return None
            return content

        with ThreadPoolExecutor(8) as pool:
            winners = [content for content in pool.map(race, range(8)) if content]
        assert winners == [target.read_bytes()]


RACER = """
import sys
from pathlib import Path
from lingen_cli.errors import LingenError
from lingen_cli.files.work_folder import WorkFolder
sys.stdin.readline()
try:
    with WorkFolder(Path(sys.argv[1])) as work:
        temporary = work.temporary()
        temporary.write_bytes(sys.argv[2].encode() * 100_000)
        work.publish(temporary)
except LingenError as error:
    sys.exit(error.exit_code)
"""


def test_racing_processes(tmp_path: Path) -> None:
    target = tmp_path / "a.mp4"
    racers = [
        subprocess.Popen([sys.executable, "-c", RACER, target, str(i)], stdin=subprocess.PIPE)
        for i in range(6)
    ]
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write(b"go\n")
        racer.stdin.flush()
    codes = []
    for racer in racers:
        racer.communicate()
        codes.append(racer.returncode)
    assert codes.count(0) == 1
    assert set(codes) <= {0, 73, 75}
    assert target.read_bytes() == str(codes.index(0)).encode() * 100_000
    assert os.listdir(tmp_path) == ["a.mp4"]


WRITES_FOREVER = """
import sys
from fractions import Fraction
from pathlib import Path
import numpy as np
from lingen_cli.media.writer import VideoWriter
from lingen_cli.files.work_folder import WorkFolder
with WorkFolder(Path(sys.argv[1])) as work:
    with VideoWriter(work.temporary(".mp4"), width=64, height=64, fps=Fraction(16)) as video:
        while True:
            video.write(np.random.default_rng(0).integers(0, 255, (64, 64, 64, 3), np.uint8))
            print(video.frames, flush=True)
"""


def test_a_killed_run_is_taken_over(tmp_path: Path) -> None:
    target = tmp_path / "a.mp4"
    run = subprocess.Popen(
        [sys.executable, "-c", WRITES_FOREVER, target], stdout=subprocess.PIPE, text=True
    )
    assert run.stdout is not None
    run.stdout.readline()
    with pytest.raises(LockedError), WorkFolder(target):
        pass
    run.send_signal(signal.SIGKILL)
    run.communicate()
    assert run.returncode == -signal.SIGKILL
    assert not target.exists()
    assert list((tmp_path / ".a.mp4.lingen").glob("tmp-*/1.mp4"))
    with WorkFolder(target) as work:
        assert os.listdir(work.path) == ["lock"]
        put(work)
    assert os.listdir(tmp_path) == ["a.mp4"]
    assert target.read_bytes() == b"video"


def test_a_run_killed_right_after_publishing(tmp_path: Path) -> None:
    target, place = tmp_path / "a.mp4", tmp_path / ".a.mp4.lingen"
    target.write_bytes(b"video")
    place.mkdir(mode=0o700)
    (place / "lock").write_bytes(b"")
    (place / "1.mp4").hardlink_to(target)
    with pytest.raises(OutputExistsError), WorkFolder(target):
        pass
    assert os.listdir(tmp_path) == ["a.mp4"]
    assert target.read_bytes() == b"video"


@pytest.mark.parametrize("code", [errno.EPERM, errno.ENOTSUP, errno.EMLINK])
def test_file_systems_without_hard_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def refuse(*args: object, **options: object) -> NoReturn:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "link", refuse)
    target = tmp_path / "a.mp4"
    with WorkFolder(target) as work:
        put(work)
    assert os.listdir(tmp_path) == ["a.mp4"]
    temporary = tmp_path / "second"
    temporary.write_bytes(b"other")
    with pytest.raises(OutputExistsError):
        publish(temporary, target)
    assert target.read_bytes() == b"video"


@pytest.mark.parametrize(
    ("code", "exit_code"),
    [
        (errno.EACCES, 77),
        (errno.EPERM, 77),
        (errno.EROFS, 74),
        (errno.ENOSPC, 74),
        (errno.EDQUOT, 74),
        (errno.EFBIG, 74),
        (errno.EIO, 74),
        (errno.ENOENT, 66),
        (errno.ENOTDIR, 66),
    ],
)
def test_what_the_system_says_becomes_an_exit_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, exit_code: int
) -> None:
    def fail(*args: object, **options: object) -> NoReturn:
        raise OSError(code, os.strerror(code))

    target = tmp_path / "a.mp4"
    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(LingenError) as caught, WorkFolder(target, overwrite=True) as work:
        put(work)
    assert caught.value.exit_code == exit_code
    assert os.listdir(tmp_path) == []


def test_reserving_space_leaves_nothing(tmp_path: Path) -> None:
    for size in (1 << 20, 0):
        with reserve_space(tmp_path, size):
            assert os.listdir(tmp_path) == []
    assert os.listdir(tmp_path) == []


def test_reserving_more_than_there_is(tmp_path: Path) -> None:
    free = os.statvfs(tmp_path)
    size = free.f_blocks * free.f_frsize * 2
    with pytest.raises(DiskFullError, match=r"^disk full.* MiB needed\)$"):
        reserve_space(tmp_path, size).__enter__()
    assert os.listdir(tmp_path) == []


def test_reserving_in_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match=r"^no such folder: .*nowhere$"):
        reserve_space(tmp_path / "nowhere", 100).__enter__()


def test_names_are_shown_on_one_harmless_line() -> None:
    assert printable("a\nb\x1b[31m\udcff é.mp4") == "a\\nb\\x1b[31m\\udcff é.mp4"


def test_a_folder_that_takes_no_files(tmp_path: Path) -> None:
    if not Path("/proc/self").is_dir():
        pytest.skip("no /proc")
    with pytest.raises(
        LingenError, match=r"^this folder takes no new files.*: /proc/x.mp4$"
    ) as one:
        WorkFolder(Path("/proc/x.mp4")).__enter__()
    assert one.value.exit_code == 74
