"""Work folders that others have made, may write into, or put something else in the place of."""

import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lingen_cli.errors import LingenError, LockedError, OutputExistsError, WriteFailedError
from lingen_cli.files import own_folder
from lingen_cli.files.work_folder import WorkFolder, publish

NOBODY = 65534
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="makes files of another user")


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """A folder that all users may write into, not sticky."""
    for folder in (tmp_path, *tmp_path.parents):
        if folder.name.startswith(("pytest-", "popen-", "test_")):
            folder.chmod(0o755)
    place = tmp_path / "shared"
    place.mkdir()
    place.chmod(0o777)
    return place


def by_nobody(work: Callable[[], None]) -> None:
    pid = os.fork()
    if pid == 0:
        os.setgid(NOBODY)
        os.setuid(NOBODY)
        os.umask(0)
        try:
            work()
        finally:
            os._exit(0)
    os.waitpid(pid, 0)


@as_root
def test_a_folder_of_another_user_is_refused(shared: Path) -> None:
    target, place = shared / "x.mp4", shared / ".x.mp4.lingen"
    precious = shared.parent / "precious"
    precious.write_bytes(b"mine")

    def plant() -> None:
        place.mkdir(mode=0o777)
        (place / "lock").touch()
        for number in range(1, 9):
            (place / f"{number}.mp4").symlink_to(precious)

    by_nobody(plant)
    with pytest.raises(OutputExistsError, match="belongs to another user, move it away"):
        WorkFolder(target).__enter__()
    assert precious.read_bytes() == b"mine"
    assert len(os.listdir(place)) == 9


@as_root
def test_a_folder_of_another_user_that_we_cannot_write_into(shared: Path) -> None:
    place = shared / ".x.mp4.lingen"
    by_nobody(lambda: place.mkdir(mode=0o700))

    def enter() -> None:
        code = 0
        try:
            os.setuid(NOBODY - 1)
            WorkFolder(shared / "x.mp4").__enter__()
        except LingenError as error:
            code = error.exit_code
        finally:
            os._exit(code)

    pid = os.fork()
    if pid == 0:
        enter()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 73


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o777])
def test_a_folder_that_others_may_write_into(tmp_path: Path, mode: int) -> None:
    place = tmp_path / ".x.mp4.lingen"
    place.mkdir()
    (place / "lock").touch()
    place.chmod(mode)
    with pytest.raises(OutputExistsError, match="other users could write into the work folder"):
        WorkFolder(tmp_path / "x.mp4").__enter__()


def test_a_new_folder_is_ours_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with WorkFolder(tmp_path / "x.mp4") as work:
            assert stat.S_IMODE(work.path.stat().st_mode) == 0o700
            work.journal.mkdir(mode=0o700)
            (work.journal / "job.json").touch()
        (work.path / "lock").unlink()
        with WorkFolder(tmp_path / "x.mp4") as work:
            assert stat.S_IMODE(work.path.stat().st_mode) == 0o700
            assert os.listdir(work.journal) == ["job.json"]
    finally:
        os.umask(before)


def test_a_disk_on_which_nothing_is_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a share that maps users, our own files are somebody's; FAT has no modes either."""
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with WorkFolder(tmp_path / "x.mp4") as work:
        assert os.listdir(work.path) == ["lock"]
    monkeypatch.setattr(Path, "chmod", lambda *_: None)
    (tmp_path / ".y.mp4.lingen").mkdir()
    os.chmod(tmp_path / ".y.mp4.lingen", 0o777)
    (tmp_path / ".y.mp4.lingen" / "lock").touch()
    own_folder.check_own(tmp_path / ".y.mp4.lingen")


def test_temporary_files_are_new_and_in_a_place_nobody_can_guess(tmp_path: Path) -> None:
    names = set()
    for name in ("a.mp4", "b.mp4"):
        with WorkFolder(tmp_path / name) as work:
            temporary = work.temporary(".mp4")
            names.add(temporary.parent.name)
            assert temporary.stat().st_size == 0
            assert len(temporary.parent.name) >= 16
            (temporary.parent / "2.mp4").symlink_to(tmp_path / "elsewhere")
            with pytest.raises(WriteFailedError):
                work.temporary(".mp4")
    assert len(names) == 2
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("kind", ["link", "folder"])
def test_only_a_file_is_published(tmp_path: Path, kind: str) -> None:
    precious, temporary = tmp_path / "precious", tmp_path / "temporary"
    precious.write_bytes(b"mine")
    if kind == "link":
        temporary.symlink_to(precious)
    else:
        temporary.mkdir()
    for overwrite in (False, True):
        with pytest.raises(LingenError) as caught:
            publish(temporary, tmp_path / "x.mp4", overwrite)
        assert caught.value.exit_code == 74
    assert not (tmp_path / "x.mp4").exists()
    assert precious.read_bytes() == b"mine"


HOLDERS = """
import collections, json, os, sys
from pathlib import Path
from lingen_cli.errors import LingenError
from lingen_cli.files.work_folder import WorkFolder
told = collections.Counter()
target = Path("x.mp4")
for turn in range(int(sys.argv[1])):
    try:
        with WorkFolder(target) as work:
            mark = os.open("held", os.O_CREAT | os.O_EXCL)
            work.temporary(".mp4")
            os.close(mark)
            os.unlink("held")
        told[0] += 1
    except LingenError as error:
        told[error.exit_code] += 1
        print(error, file=sys.stderr)
print(json.dumps(told))
"""


def test_runs_that_make_and_remove_one_folder(tmp_path: Path) -> None:
    """Never two at once, and who does not get it is told so: 75, nothing else."""
    import json

    running = [
        subprocess.Popen(
            [sys.executable, "-c", HOLDERS, "150"],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    codes = set()
    for process in running:
        out, err = process.communicate()
        assert process.returncode == 0, err
        codes |= set(json.loads(out))
    assert codes <= {"0", str(LockedError.exit_code)}
    assert "0" in codes
    assert os.listdir(tmp_path) == []
