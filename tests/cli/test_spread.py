"""`lingen batch` in several processes, on a Ray cluster, and as Slurm jobs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lingen_cli.batch.on_slurm import settings_of
from lingen_cli.generation.journal import SECONDS_VARIABLE
from tests.cli.protocols import Fails, RunHere

SAFE = [sys.executable, "-P", "-m", "lingen_cli", "batch"]


@pytest.fixture(autouse=True)
def traps(clean_environment: Path) -> Iterator[None]:
    """Modules and a plugin in the current folder that no process of a batch may import."""
    bomb = "open('PWNED', 'a').write(__name__)\n"
    for name in ("wave", "typer", "submitit", "evil_module", "sitecustomize"):
        Path(f"{name}.py").write_text(bomb)
    info = Path("evil-1.0.dist-info")
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: evil\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[lingen]\nevil = evil_module\n")
    yield
    assert not Path("PWNED").exists()


@pytest.fixture
def listed(
    clean_environment: Path, tiny_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., str]:
    """Return a function that writes a list of so many short jobs."""
    monkeypatch.setenv(SECONDS_VARIABLE, "0")

    def write(count: int, **more: Any) -> str:
        common = {"frames": 9, "steps": 6, "size": 64, "weights": str(tiny_weights)}
        with Path("jobs.jsonl").open("w", encoding="utf-8") as file:
            for number in range(count):
                file.write(json.dumps({"prompt": f"ball {number}"} | common | more) + "\n")
        return "jobs.jsonl"

    return write


def videos() -> list[str]:
    return sorted(path.name for path in Path("jobs").iterdir() if path.suffix == ".mp4")


def children(process: subprocess.Popen[Any]) -> list[tuple[int, str]]:
    """Its processes, and theirs: number and command line."""
    found: list[tuple[int, str]] = []
    waiting = [process.pid]
    while waiting:
        pid = waiting.pop()
        for task in Path(f"/proc/{pid}/task").glob("*/children"):
            for child in task.read_text(encoding="ascii").split():
                waiting.append(int(child))
                line = Path(f"/proc/{child}/cmdline").read_bytes().replace(b"\0", b" ")
                found.append((int(child), line.decode("utf-8", "replace")))
    return found


def batch(*options: object) -> list[str]:
    return [*SAFE, *map(str, options), "--json"]


def run(*options: object) -> subprocess.CompletedProcess[str]:
    command = [*SAFE, *map(str, options)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=280)


def run_and_kill(
    command: list[str], of: Callable[[str], bool], after: int = 3
) -> tuple[int, list[Any], str]:
    """Run a batch, and kill a process of it that `of` knows, after a few jobs: what it told."""
    events, victim = [], None
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as process:
        assert process.stdout is not None and process.stderr is not None
        for line in process.stdout:
            events.append(json.loads(line))
            made = sum(event["event"] == "job" for event in events)
            if victim is None and made >= after:
                victim = next(pid for pid, line in children(process) if of(line))
                os.kill(victim, signal.SIGKILL)
        err = process.stderr.read()
    assert victim is not None
    return process.returncode, events, err


def check_all_done(code: int, events: list[Any], err: str, count: int) -> None:
    assert code == 0, err
    assert len(videos()) == count
    done = [event["line"] for event in events if event["event"] == "job"]
    assert sorted(done) == list(range(1, count + 1))
    end = events[-1]
    assert (end["event"], end["code"], end["failed"]) == ("end", 0, 0)
    assert end["done"] + end["skipped"] == count
    assert {path.suffix for path in Path("jobs").iterdir()} == {".mp4"}


def test_a_process_that_is_killed_costs_no_job(listed: Callable[..., str]) -> None:
    command = batch(listed(8), "--jobs", 2)
    code, events, err = run_and_kill(command, lambda line: "--worker 1/2" in line)
    check_all_done(code, events, err, 8)
    assert "process 1 of 2 ended with -9" in err


def test_processes_stop_when_they_are_asked_to(listed: Callable[..., str]) -> None:
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(batch(listed(8, steps=200), "--jobs", 2), **pipes) as process:
        while len(children(process)) < 2 or not list(Path().glob("jobs/.*/journal/state*")):
            time.sleep(0.1)
        process.terminate()
        process.communicate()
    assert process.returncode == 143
    assert len(videos()) < 8
    assert list(Path().glob("jobs/.*/journal"))


def test_bad_lines_and_failed_jobs_are_named(
    listed: Callable[..., str], lingen_here: RunHere, tiny_weights: Path
) -> None:
    path = Path(listed(3))
    lines = path.read_text(encoding="utf-8").splitlines()
    lines[1] = '{"prompt": ""}'
    path.write_text("\n".join(lines), encoding="utf-8")
    Path("jobs").mkdir()
    Path("jobs/0003-ball-2.mp4").write_bytes(b"mine")
    result = lingen_here("batch", path, "--jobs", 2, "--keep-going")
    assert result.returncode == 1
    assert "jobs.jsonl:2: prompt is empty" in result.stderr
    assert "jobs.jsonl:3: exit code 73: output already exists" in result.stderr
    assert "1 made, 0 there already, 2 failed" in result.stderr


def test_a_lost_ray_worker_costs_no_job_and_sigterm_ends_the_batch(
    listed: Callable[..., str],
) -> None:
    """Ray answers SIGTERM too; and more actors than there is room for are not waited for."""
    pytest.importorskip("ray")
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    command = batch(listed(64), "--jobs", 64, "--ray", "local")
    done: set[int] = set()
    victim = None
    with subprocess.Popen(command, **pipes) as process:
        assert process.stdout is not None and process.stderr is not None
        for line in process.stdout:
            event = json.loads(line)
            if event["event"] == "job":
                assert event["status"] == "done"
                done.add(event["line"])
            if victim is None and len(done) == 3:  # it makes one of the next lines
                victim = next(p for p, line in children(process) if line.startswith("ray::Worker"))
                os.kill(victim, signal.SIGKILL)
            if done.issuperset(range(1, 9)):
                break
        process.terminate()
        err = process.stderr.read()
    assert process.returncode == 143
    assert len(done) < 64
    assert "the cluster has room for" in err
    assert err.splitlines()[-1] == "lingen: error: terminated"


def test_a_ray_cluster_that_is_not_there(
    listed: Callable[..., str], lingen_here: RunHere, fails: Fails
) -> None:
    pytest.importorskip("ray")
    fails(lingen_here("batch", listed(1), "--ray", "127.0.0.1:1"), 69, "no Ray cluster answers")


def test_slurm_parts(listed: Callable[..., str], lingen_here: RunHere) -> None:
    pytest.importorskip("submitit")
    path, options = listed(3), ("--slurm", 2, "--slurm-cluster", "local")
    result = run(path, *options, "--slurm-option", "timeout-min=5")
    assert result.returncode == 0, result.stderr
    assert len(result.stdout.splitlines()) == 2
    until = time.monotonic() + 250
    while len(videos()) < 3 and time.monotonic() < until:
        time.sleep(0.2)
    assert len(videos()) == 3
    assert "3 there already" in lingen_here("batch", path).stderr


def test_every_slurm_part_is_made_though_the_first_fails(
    listed: Callable[..., str],
) -> None:
    """One after the other in one process, as submitit's debug cluster does."""
    pytest.importorskip("submitit")
    path = listed(2)
    Path("jobs").mkdir()
    Path("jobs/0001-ball-0.mp4").write_bytes(b"mine")
    result = run(path, "--slurm", 2, "--slurm-cluster", "debug")
    assert result.returncode == 1, result.stderr
    assert result.stderr.splitlines()[-1] == "lingen: error: some jobs failed"
    assert len(videos()) == 2
    Path("jobs/0001-ball-0.mp4").unlink()
    result = run(path, "--slurm", 2, "--slurm-cluster", "debug")
    assert result.returncode == 0, result.stderr
    assert len(result.stdout.splitlines()) == 2
    assert len(videos()) == 2


TOLD = """
import signal, sys
from lingen_cli.batch.on_slurm import Part
part = Part(sys.argv[1:], ".", leaves=True)
def requeue(*_):
    part.checkpoint()
    sys.exit(75)
signal.signal(signal.SIGUSR2, requeue)
part()
"""


@pytest.mark.parametrize(
    ("kill", "number", "code"),
    [
        (os.kill, signal.SIGTERM, 143),
        (os.killpg, signal.SIGTERM, 143),
        (os.killpg, signal.SIGUSR2, 75),
    ],
)
def test_a_part_that_slurm_stops_writes_its_journal(
    listed: Callable[..., str], kill: Callable[[int, int], None], number: signal.Signals, code: int
) -> None:
    """Slurm signals the process that it started, or all of its group at once."""
    pytest.importorskip("submitit")
    command = [sys.executable, "-P", "-c", TOLD, *batch(listed(1, steps=1000))]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, process_group=0) as process:
        assert process.stderr is not None
        seen = ""
        for line in process.stderr:
            seen += line
            if '"sample"' in line and json.loads(line)["done"] > 3:
                break
        kill(process.pid, number)
        seen += process.stderr.read()
    assert process.returncode == code, seen
    assert "what was sampled is kept" in seen
    assert list(Path().glob("jobs/.*/journal/state*"))


def test_engines_that_are_not_installed(
    listed: Callable[..., str], lingen_here: RunHere, fails: Fails, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = listed(1)
    for name, option in (("ray", ("--ray", "local")), ("submitit", ("--slurm", 1))):
        monkeypatch.setitem(sys.modules, name, None)
        extra = "slurm" if name == "submitit" else name
        fails(lingen_here("batch", path, *option), 69, f"pip install 'lingen[{extra}]'")


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (("--slurm", 2, "--jobs", 2), "--slurm is its own way"),
        (("--slurm", 2, "--slurm-cluster", "pbs"), "--slurm-cluster must be"),
        (("--slurm", 2, "--slurm-cluster", "debug", "--slurm-option", "gpu"), "partition=gpu"),
        (("--slurm", 2, "--slurm-option", "mem-gb=much"), "mem-gb must be a number"),
        (("--slurm", 2, "--slurm-option", "partiton=gpu"), "meant 'partition'?"),
        (("--slurm", 2, "--slurm-option", "time=5"), "say timeout-min"),
        (("--jobs", 0), "--jobs"),
    ],
)
def test_options_that_contradict(
    listed: Callable[..., str],
    lingen_here: RunHere,
    fails: Fails,
    options: tuple[object, ...],
    part: str,
) -> None:
    fails(lingen_here("batch", listed(1), *options), 2, part)


def test_slurm_options_as_submitit_has_them() -> None:
    from submitit.slurm.slurm import _make_sbatch_string

    given = ("partition=gpu", "mem-gb=1.5", "reservation=us")
    found = settings_of(given, slurm=True)
    assert found == {
        "slurm_partition": "gpu",
        "mem_gb": 1.5,
        "slurm_additional_parameters": {"reservation": "us"},
    }
    assert settings_of(given, slurm=False) == {"mem_gb": 1.5}
    slurm = {name.removeprefix("slurm_"): value for name, value in found.items() if "slurm" in name}
    script = _make_sbatch_string("x", "logs", **slurm)
    assert "#SBATCH --reservation=us" in script
