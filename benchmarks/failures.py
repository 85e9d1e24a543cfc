"""Crashes, full disks and broken disks at every call by which a job changes the disk.

    python benchmarks/failures.py
    python benchmarks/failures.py --kinds story extend --faults crash --every 5 --weights FOLDER

Each kind of job runs once undisturbed. Then, for one disk call after the other, it runs in a
process of its own in which that call fails: the process dies before or after it (`crash`), or it
raises ENOSPC or EIO. The same command is given again, without a fault, and has to end in the same
files and nothing beside them. Calls of libav are its own and cannot be reached from here.

Prints a table and writes failures.json; exits with 1 where anything was wrong.
"""

from __future__ import annotations

import argparse
import builtins
import errno
import importlib
import io
import json
import os
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from lingen_training.markdown_table import table_of

FAULTS = ("crash", "ENOSPC", "EIO")
DIED = 9
_NAMES = (
    "open",
    "replace",
    "rename",
    "link",
    "mkdir",
    "fsync",
    "posix_fallocate",
    "unlink",
    "rmdir",
)
_NEW = ("generate", "story", "overwrite", "images")
"""Kinds that go on with no other video."""
_NEVER_FULL = ("unlink", "rmdir")
_FILES = "files"
"""The folder in which a job runs; its cache and what it says lie beside it."""
STORY = (
    '[[shot]]\nprompt = "a red ball"\nseconds = 0.5\n[[shot]]\nprompt = "a ball"\nseconds = 0.5\n'
)
COMMANDS = {
    "generate": ("generate", "a red ball", "--frames", "9", "-o", "a.mp4"),
    "story": ("generate", "--story", "story.toml", "-o", "a.mp4"),
    "overwrite": ("generate", "--story", "story.toml", "-o", "old.mp4", "--overwrite"),
    "extend": ("extend", "old.mp4", "--seconds", "0.5", "-o", "a.mp4"),
    "retake": ("retake", "old.mp4", "--from", "0.2", "--to", "0.4", "-o", "a.mp4"),
    "in-place": ("extend", "old.mp4", "--seconds", "0.5", "-o", "old.mp4", "--overwrite"),
    "images": ("generate", "a red ball", "--frames", "9", "-o", "frames/%05d.png"),
    "batch": ("batch", "jobs.jsonl", "-o", "out", "--wait", "0"),
}


class Job:
    """A kind of job: the folder that it begins with, its command, and what it ends in."""

    def __init__(self, kind: str, root: Path, weights: str | None) -> None:
        self.kind, self.root, self.start = kind, root, root / f"{kind}-start"
        options = ["--steps", "2", "--seed", "1"]
        if weights is not None and kind in _NEW:
            options += ["--weights", weights]
        if kind in _NEW:
            options += ["--size", "64"]
        self.command = [*COMMANDS[kind], *(options if kind != "batch" else [])]
        self._prepare(weights)

    def _prepare(self, weights: str | None) -> None:
        files = self.start / _FILES
        files.mkdir(parents=True)
        (files / "story.toml").write_text(STORY)
        job: dict[str, Any] = {"prompt": "a red ball", "frames": 9, "steps": 2, "size": 64}
        if weights is not None:
            job["weights"] = weights
        lines = [json.dumps(job | {"seed": seed, "output": f"{seed}.mp4"}) for seed in (1, 2)]
        (files / "jobs.jsonl").write_text("\n".join(lines))
        more = ["--weights", weights] if weights is not None else []
        first = ["generate", "a ball", "--frames", "17", "--steps", "2", "--seed", "5"]
        self._begin()
        code, _, said = self.run(None, -1, [*first, "--size", "64", "-o", "old.mp4", *more])
        assert code == 0, said
        (self.place / _FILES / "old.srt").write_text("old")
        shutil.rmtree(self.start)
        shutil.copytree(self.place, self.start)

    @property
    def place(self) -> Path:
        """Where it runs: always the same, since a recipe may name places."""
        return self.root / "place"

    def _begin(self) -> None:
        shutil.rmtree(self.place, ignore_errors=True)
        shutil.copytree(self.start, self.place)

    def found(self) -> dict[str, bytes]:
        """All files that it left, by their names."""
        files = self.place / _FILES
        return {
            path.relative_to(files).as_posix(): path.read_bytes()
            for path in files.rglob("*")
            if path.is_file()
        }

    def learn(self) -> None:
        """Run undisturbed; count the calls of each fault, and keep what came out."""
        self.begun = {}
        self.calls = {}
        for fault in FAULTS:
            self._begin()
            before = self.found()
            code, self.calls[fault], said = self.run(fault, -1)
            assert code == 0, said
            self.begun, self.whole = before, self.found()
        self.calls["crash"] *= 2  # before each call, and after it

    def attempt(self, fault: str, moment: int) -> tuple[str, str]:
        """Run with a fault, and again without: the verdict, and what to say of it."""
        self._begin()
        code, _, said = self.run(fault, moment)
        told = bool((self.place / "out").read_text())
        between = self.found()
        shown = {name: data for name, data in between.items() if "/." not in f"/{name}"}
        for name, content in shown.items():
            if content not in (self.begun.get(name), self.whole.get(name)):
                return "wrong", f"{name} is half or another; ended with {code}"
        if self.kind == "images" and shown.keys() not in (self.begun.keys(), self.whole.keys()):
            return "wrong", f"half a folder: {', '.join(sorted(shown))}"
        if code == 70:
            return "wrong", said.strip().splitlines()[-1]
        if code == 0 and between == self.whole:
            return "identical at once", ""
        again, _, said = self.run(None, -1)
        if again:
            return f"refused with {again}", said.strip().splitlines()[-1]
        after = self.found()
        if self.kind == "in-place" and shown == self.whole != after and told:
            return "made again", ""  # whoever gave it knew that it was done
        if after != self.whole:
            differing = {
                name
                for name in after.keys() | self.whole
                if after.get(name) != self.whole.get(name)
            }
            return "wrong", f"code 0, but other files: {', '.join(sorted(differing))}"
        return ("went on" if "going on with what was sampled" in said else "began anew"), ""

    def run(
        self, fault: str | None, moment: int, command: Sequence[str] | None = None
    ) -> tuple[int, int, str]:
        """A run in a process of its own: exit code (negative: signal), calls, standard error."""
        log = self.place / "log"
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(reader)
            _run(self.place, fault, moment, command or self.command, writer)
        os.close(writer)
        with os.fdopen(reader) as file:
            told = json.loads(file.read() or "[0, []]")
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        for name in told[1]:  # imported once here, and not in each of the processes that follow
            importlib.import_module(name)
        return code, told[0], log.read_text(errors="replace")


def _run(place: Path, fault: str | None, moment: int, command: Sequence[str], writer: int) -> None:
    from lingen_cli.app import run

    os.environ["LINGEN_CACHE_DIR"] = str(place / "cache")
    os.environ["LINGEN_STATE_DIR"] = str(place / "state")
    os.chdir(place / _FILES)
    for descriptor, name in ((1, "out"), (2, "log")):
        os.dup2(os.open(place / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
    calls = _Calls(fault, moment)
    if fault is not None:
        calls.watch()
    code = run(list(command))
    with os.fdopen(writer, "w") as file:
        json.dump([calls.count, [name for name in sys.modules if name.startswith("ling")]], file)
    os._exit(code)


class _Calls:
    """Counts the calls that change the disk, and has one of them fail."""

    def __init__(self, fault: str | None, moment: int) -> None:
        self.count = 0
        self._fault, self._moment = fault, moment

    def watch(self) -> None:
        """Put something else in the place of the calls."""
        names = _NAMES if self._fault != "ENOSPC" else set(_NAMES) - set(_NEVER_FULL)
        for name in names:
            writes = _opens_to_write if name == "open" else None
            setattr(os, name, self._wrapped(getattr(os, name), writes))
        opened = self._wrapped(builtins.open, _is_write_mode)
        builtins.open = io.open = opened

    def _wrapped(
        self, call: Callable[..., Any], counts: Callable[..., bool] | None
    ) -> Callable[..., Any]:
        def wrapper(*arguments: Any, **options: Any) -> Any:
            if counts is not None and not counts(*arguments, **options):
                return call(*arguments, **options)
            here, self.count = self.count, self.count + 1
            if self._fault == "crash":
                if 2 * here == self._moment:
                    os._exit(DIED)
                try:
                    return call(*arguments, **options)
                finally:
                    if 2 * here + 1 == self._moment:
                        os._exit(DIED)
            if here == self._moment:
                number = getattr(errno, self._fault or "")
                raise OSError(number, os.strerror(number))
            return call(*arguments, **options)

        return wrapper


def _opens_to_write(path: Any, flags: int, *_: Any, **__: Any) -> bool:
    return bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))


def _is_write_mode(file: Any, mode: str = "r", *_: Any, **__: Any) -> bool:
    return isinstance(file, str | os.PathLike) and any(sign in mode for sign in "wax+")


def measure(job: Job, fault: str, every: int, first: int) -> tuple[Counter[str], list[str]]:
    """Try every `every`-th call, from `first` on: verdicts, and what was wrong or refused."""
    count: Counter[str] = Counter()
    told = []
    for moment in range(first, job.calls[fault], every):
        verdict, why = job.attempt(fault, moment)
        count["tried"] += 1
        count[verdict] += 1
        if why:
            told.append(f"{job.kind}, {fault} at {moment} of {job.calls[fault]}: {verdict}: {why}")
    return count, told


def main(arguments: Sequence[str] | None = None) -> int:
    """Let it fail, repeat, compare, write."""
    parser = argparse.ArgumentParser(description="Have disk calls fail, and repeat the command.")
    parser.add_argument("--kinds", nargs="+", choices=COMMANDS, default=list(COMMANDS))
    parser.add_argument("--faults", nargs="+", choices=FAULTS, default=list(FAULTS))
    parser.add_argument("--every", type=int, default=1, help="try each so-many-th call")
    parser.add_argument("--first", type=int, default=0, help="number of the first that is tried")
    parser.add_argument("--weights")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results"))
    options = parser.parse_args(arguments)
    os.environ["LINGEN_JOURNAL_SECONDS"] = "0"
    import torch

    torch.set_num_threads(1)
    from lingen_models.kernels import c_kernels

    c_kernels.library()  # compiled once here, and not by the first of the processes
    weights = None if options.weights is None else os.path.abspath(options.weights)
    results, problems = [], []
    for kind in options.kinds:
        with tempfile.TemporaryDirectory() as folder:
            job = Job(kind, Path(folder), weights)
            job.learn()
            for fault in options.faults:
                count, told = measure(job, fault, options.every, options.first)
                results.append({"kind": kind, "fault": fault, "calls": job.calls[fault]} | count)
                problems += told
                print(f"{kind}, {fault}: {dict(count)}", file=sys.stderr)
    _tell(results, problems)
    options.output.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"every": options.every, "results": results, "problems": problems}, indent=2)
    (options.output / "failures.json").write_text(text + "\n", encoding="utf-8")
    return 1 if any("wrong" in result for result in results) else 0


def _tell(results: Sequence[dict[str, Any]], problems: Sequence[str]) -> None:
    verdicts = ["tried", "identical at once", "went on", "began anew", "made again"]
    verdicts += sorted({name for one in results for name in one if name.startswith("refused")})
    columns = ["kind", "fault", "calls", *verdicts, "wrong"]
    print(table_of(columns, [[str(one.get(name, 0)) for name in columns] for one in results]))
    for problem in problems:
        print(problem)


if __name__ == "__main__":
    sys.exit(main())
