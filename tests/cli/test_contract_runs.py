"""Full disks, several runs at once, too little memory: reliability.md 5, table E."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lingen_cli.generation import latent_cache
from lingen_cli.generation.journal import SECONDS_VARIABLE


@pytest.fixture
def command(tiny_weights: Path) -> Callable[..., list[str]]:
    """Return a function that gives a command line, with a fixed seed and JSON events."""

    def build(*options: object) -> list[str]:
        start = [sys.executable, "-m", "lingen_cli", "generate", "a red ball", "--seed", "1"]
        end = ["--size", "64", "--weights", str(tiny_weights), "--json"]
        return [*start, *end, *map(str, options)]

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
    options = ("--frames", "200", "--steps", "20", "--size", "64", "--seed", "1", "-o", "a.mp4")
    command = ["generate", "a red ball", *options, "--weights", str(tiny_weights)]
    subprocess.run(
        [sys.executable, "-m", "lingen_cli", *command],
        cwd=folder,
        env=os.environ | {latent_cache.FOLDER_VARIABLE: str(folder / "cache")},
        check=True,
        capture_output=True,
    )
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


def run_until_full(command: list[str], place: Path, phase: str, done: int) -> tuple[int, str]:
    """Run, and fill the disk once a phase is so far: exit code and standard error."""
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    filled = False
    with subprocess.Popen(command, cwd=place, **pipes) as process:
        assert process.stdout is not None and process.stderr is not None
        for line in process.stdout:
            event = json.loads(line)
            if not filled and (event.get("phase"), event.get("done")) == (phase, done):
                fill(place)
                filled = True
        err = process.stderr.read()
    assert filled
    return process.returncode, err


@pytest.mark.parametrize("phase", ["start", "sample", "decode and write", "verify"])
def test_e1_a_disk_that_fills_up_in_any_phase(
    phase: str,
    small_disk: Path,
    command: Callable[..., list[str]],
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
        done = subprocess.run(options, cwd=small_disk, capture_output=True, text=True, check=False)
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
    again = subprocess.run(options, cwd=small_disk, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    assert hashlib.sha256(target.read_bytes()).digest() == undisturbed
    if code and phase == "decode and write":
        assert '"resume"' in again.stdout
    assert os.listdir(small_disk) == ["a.mp4"]


def test_e4_several_runs_of_one_job(
    command: Callable[..., list[str]], clean_environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(latent_cache.FOLDER_VARIABLE, str(clean_environment / "cache"))
    options = command("--frames", 33, "--steps", 20, "-o", "a.mp4")
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    running = [subprocess.Popen(options, **pipes) for _ in range(4)]
    told: Counter[tuple[int, bool]] = Counter()
    for process in running:
        out, err = process.communicate(timeout=240)
        end = json.loads(out.splitlines()[-1])
        told[end["code"], end.get("skipped", False)] += 1
        assert "Traceback" not in err
    assert told[0, False] == 1
    assert told[0, True] + told[75, False] == 3
    assert sorted(path.name for path in Path().iterdir()) == ["a.mp4", "cache"]
    subprocess.run([*options, "--overwrite"], check=True, capture_output=True)
    (entry,) = latent_cache.entries()
    assert latent_cache.load(entry.digest) is not None


def test_e4_two_outputs_one_cache(
    command: Callable[..., list[str]], clean_environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They have the same latents, and read and write one file at the same time."""
    monkeypatch.setenv(latent_cache.FOLDER_VARIABLE, str(clean_environment / "cache"))
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    options = ("--frames", 9, "--steps", 2, "-o")
    running = [subprocess.Popen(command(*options, name), **pipes) for name in ("a.mp4", "b.mp4")]
    for process in running:
        _, err = process.communicate(timeout=120)
        assert (process.returncode, "warning" in err) == (0, False), err
    assert Path("a.mp4").read_bytes() == Path("b.mp4").read_bytes()
    (entry,) = latent_cache.entries()
    assert latent_cache.load(entry.digest) is not None
    assert [path.name for path in Path("cache").iterdir()] == [entry.path.name]


def test_e8_two_runs_of_one_batch(clean_environment: Path, tiny_weights: Path) -> None:
    Path("jobs.txt").write_text("".join(f"a red ball {number}\n" for number in range(5)))
    environment = os.environ | {
        "LINGEN_WEIGHTS": str(tiny_weights),
        "LINGEN_SIZE": "64",
        "LINGEN_STEPS": "20",
        "LINGEN_SECONDS": "1",
    }
    command = [sys.executable, "-m", "lingen_cli", "batch", "jobs.txt", "--json"]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    running = [subprocess.Popen(command, env=environment, **pipes) for _ in range(2)]
    made: Counter[int] = Counter()
    for process in running:
        out, err = process.communicate(timeout=240)
        assert process.returncode == 0, err
        events = [json.loads(line) for line in out.splitlines()]
        made.update(event["line"] for event in events if event.get("status") == "done")
    assert made == dict.fromkeys(range(1, 6), 1)
    assert len(list(Path("jobs").iterdir())) == 5


def test_e6_too_little_memory(command: Callable[..., list[str]], clean_environment: Path) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (1500 << 20, 1500 << 20))

    options = command("--frames", 33, "--steps", 1, "-o", "a.mp4", "--size", 2048)
    done = subprocess.run(
        options, preexec_fn=limit, capture_output=True, text=True, check=False, timeout=250
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
