"""Full disks, several runs at once, too little memory: reliability.md 5, table E."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, chdir
from pathlib import Path

import pytest

from lingen_cli.generation import latent_cache
from lingen_cli.generation.journal import SECONDS_VARIABLE
from tests.cli import forked
from tests.cli.forked import Forked


@pytest.fixture
def command(tiny_weights: Path) -> Callable[..., list[object]]:
    """Return a function that gives a command line, with a fixed seed and JSON events."""

    def build(*options: object) -> list[object]:
        start = ["generate", "a red ball", "--seed", 1, "--size", 64, "--weights", tiny_weights]
        return [*start, "--json", *options]

    return build


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 6 MiB, and a function that fills it up."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(place)]
    try:
        mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        mounted = False
    if not mounted:
        pytest.skip("mounting a small disk needs root")
    yield place
    subprocess.run(["umount", str(place)], check=True)


@pytest.fixture(scope="module")
def undisturbed(tiny_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """SHA-256 of the video that no full disk disturbs."""
    folder = tmp_path_factory.mktemp("undisturbed")
    options = ("--frames", 200, "--steps", 20, "--size", 64, "--seed", 1, "-o", "a.mp4")
    with chdir(folder), pytest.MonkeyPatch.context() as patch:
        patch.setenv(latent_cache.FOLDER_VARIABLE, str(folder / "cache"))
        done = forked.run("generate", "a red ball", *options, "--weights", tiny_weights)
    assert done.returncode == 0, done.stderr
    return hashlib.sha256((folder / "a.mp4").read_bytes()).digest()


def fill(place: Path) -> Path:
    """Take all the room that is left."""
    filler = place / "filler"
    with filler.open("wb", buffering=0) as file:
        for block in (1 << 16, 1 << 12):
            try:
                while True:
                    file.write(bytes(block))
            except OSError:
                pass
    return filler


def run_until_full(command: list[object], place: Path, phase: str, done: int) -> tuple[int, str]:
    """Run, and fill the disk once a phase is so far: exit code and standard error."""
    filled = False
    with chdir(place), Forked(*command) as process:
        for line in process.stdout:
            event = json.loads(line)
            if not filled and (event.get("phase"), event.get("done")) == (phase, done):
                fill(place)
                filled = True
        _, err = process.communicate()
    assert filled
    return process.returncode, err


def together(*commands: Sequence[object]) -> Iterator[tuple[Forked, bytes, str]]:
    """Run at the same time: every run, its standard output and its standard error."""
    with ExitStack() as stack:
        running = [stack.enter_context(Forked(*command)) for command in commands]
        for process in running:
            yield process, *process.communicate()


@pytest.mark.parametrize("phase", ["start", "sample", "decode and write", "verify"])
def test_e1_a_disk_that_fills_up_in_any_phase(
    phase: str,
    small_disk: Path,
    command: Callable[..., list[object]],
    clean_environment: Path,
    monkeypatch: pytest.MonkeyPatch,
    undisturbed: bytes,
) -> None:
    monkeypatch.setenv(SECONDS_VARIABLE, "0")
    monkeypatch.setenv(latent_cache.FOLDER_VARIABLE, str(clean_environment / "cache"))
    options = command("--frames", 200, "--steps", 20, "-o", "a.mp4")
    target = small_disk / "a.mp4"
    if phase == "start":
        fill(small_disk)
        with chdir(small_disk):
            done = forked.run(*options)
        code, err = done.returncode, done.stderr
    else:
        at = {"sample": 4, "decode and write": 0, "verify": 0}[phase]
        code, err = run_until_full(options, small_disk, phase, at)
    # Space is reserved until it is encoded: a disk that fills up before is none of its business.
    assert code in {"start": (74,), "sample": (0,)}.get(phase, (0, 74)), err
    if phase == "sample":
        assert "tried again: No space left on device" in err
    assert target.exists() == (code == 0)
    if code:
        (line,) = [line for line in err.splitlines() if "lingen: error:" in line]
        assert "disk full" in line
        assert "Traceback" not in err
    (small_disk / "filler").unlink()
    with chdir(small_disk):
        again = forked.run(*options)
    assert again.returncode == 0, again.stderr
    assert hashlib.sha256(target.read_bytes()).digest() == undisturbed
    if code and phase == "decode and write":
        assert '"resume"' in again.stdout
    assert os.listdir(small_disk) == ["a.mp4"]


def test_e4_several_runs_of_one_job(
    command: Callable[..., list[object]], clean_environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(latent_cache.FOLDER_VARIABLE, str(clean_environment / "cache"))
    options = command("--frames", 33, "--steps", 20, "-o", "a.mp4")
    told: Counter[tuple[int, bool]] = Counter()
    for _, out, err in together(*[options] * 4):
        end = json.loads(out.splitlines()[-1])
        told[end["code"], end.get("skipped", False)] += 1
        assert "Traceback" not in err
    assert told[0, False] == 1
    assert told[0, True] + told[75, False] == 3
    assert sorted(path.name for path in Path().iterdir()) == ["a.mp4", "cache"]
    assert forked.run(*options, "--overwrite").returncode == 0
    (entry,) = latent_cache.entries()
    assert latent_cache.load(entry.digest) is not None


def test_e4_two_outputs_one_cache(
    command: Callable[..., list[object]], clean_environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They have the same latents, and read and write one file at the same time."""
    monkeypatch.setenv(latent_cache.FOLDER_VARIABLE, str(clean_environment / "cache"))
    options = ("--frames", 9, "--steps", 2, "-o")
    for process, _, err in together(*(command(*options, name) for name in ("a.mp4", "b.mp4"))):
        assert (process.returncode, "warning" in err) == (0, False), err
    assert Path("a.mp4").read_bytes() == Path("b.mp4").read_bytes()
    (entry,) = latent_cache.entries()
    assert latent_cache.load(entry.digest) is not None
    assert [path.name for path in Path("cache").iterdir()] == [entry.path.name]


def test_e8_two_runs_of_one_batch(
    clean_environment: Path, tiny_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("jobs.txt").write_text("".join(f"a red ball {number}\n" for number in range(5)))
    settings = {"WEIGHTS": str(tiny_weights), "SIZE": "64", "STEPS": "20", "SECONDS": "1"}
    for name, value in settings.items():
        monkeypatch.setenv(f"LINGEN_{name}", value)
    made: Counter[int] = Counter()
    for process, out, err in together(*[("batch", "jobs.txt", "--json")] * 2):
        assert process.returncode == 0, err
        events = [json.loads(line) for line in out.splitlines()]
        made.update(event["line"] for event in events if event.get("status") == "done")
    assert made == dict.fromkeys(range(1, 6), 1)
    assert len(list(Path("jobs").iterdir())) == 5


def test_e6_too_little_memory(
    command: Callable[..., list[object]], clean_environment: Path
) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (1500 << 20, 1500 << 20))

    options = command("--frames", 33, "--steps", 1, "-o", "a.mp4", "--size", 2048)
    start = [sys.executable, "-m", "lingen_cli"]
    done = subprocess.run(
        [*start, *map(str, options)],
        preexec_fn=limit,
        capture_output=True,
        text=True,
        check=False,
        timeout=250,
    )
    assert done.returncode == 71, done.stderr
    (line,) = [line for line in done.stderr.splitlines() if "lingen: error:" in line]
    assert "out of memory; try a smaller --size" in line
    assert "warning: out of memory; the networks get smaller parts" in done.stderr
    assert list(clean_environment.iterdir()) == []


def test_c6_an_endless_line(clean_environment: Path) -> None:
    Path("jobs.txt").write_bytes(b"x" * 100_000_000)
    command = [sys.executable, "-m", "lingen_cli", "batch", "jobs.txt"]

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_DATA, (150 << 20, 150 << 20))

    done = subprocess.run(command, preexec_fn=limit, capture_output=True, text=True, check=False)
    assert done.returncode == 65
    assert done.stderr == "lingen: error: jobs.txt: larger than 16 MB\n"
