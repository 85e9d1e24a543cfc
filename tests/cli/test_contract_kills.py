"""A run that dies at any call by which it changes the disk: reliability.md 5, D1."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

FORKS = r"""
import importlib, json, os, sys, tempfile
from pathlib import Path

os.environ["LINGEN_JOURNAL_SECONDS"] = "0"
import torch

torch.set_num_threads(1)
from lingen_cli.app import run
from lingen_models.kernels import c_kernels

c_kernels.library()  # compiled once here, and not by the first of the processes below

CALLS = ("replace", "link", "unlink", "rmdir", "fsync", "mkdir")


def forked(folder, die_at):
    "Run in a process of its own that dies before (even) or after (odd) a call: status, calls."
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.chdir(folder)
        os.environ["LINGEN_CACHE_DIR"] = os.path.join(folder, "cache")
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os.dup2(os.open("log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
        count = 0

        def watched(call):
            def wrapper(*arguments, **options):
                nonlocal count
                here, count = count, count + 1
                if here * 2 == die_at:
                    os._exit(9)
                try:
                    return call(*arguments, **options)
                finally:
                    if here * 2 + 1 == die_at:
                        os._exit(9)
            return wrapper

        for name in CALLS:
            setattr(os, name, watched(getattr(os, name)))
        code = run(sys.argv[1:])
        with os.fdopen(writer, "w") as file:
            json.dump([count, [n for n in sys.modules if n.startswith("ling")]], file)
        os._exit(code)
    os.close(writer)
    with os.fdopen(reader) as file:
        told = file.read()
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return status, json.loads(told or "[0, []]")


def names(folder):
    return sorted(path.name for path in Path(folder).iterdir() if path.name not in ("log", "cache"))


with tempfile.TemporaryDirectory() as whole:
    status, (calls, modules) = forked(whole, -1)
    assert status == 0, Path(whole, "log").read_text()
    for name in modules:  # once here, and not in each of the processes below
        importlib.import_module(name)
    expected = Path(whole, "a.mp4").read_bytes()
wrong = []
for moment in range(2 * calls):
    with tempfile.TemporaryDirectory() as folder:
        died, _ = forked(folder, moment)
        video = Path(folder, "a.mp4")
        half = video.exists() and video.read_bytes() != expected
        again, _ = forked(folder, -1)
        fine = (died, again) == (9, 0) and not half and video.read_bytes() == expected
        if not fine or names(folder) != ["a.mp4"]:
            wrong.append((moment, died, again, half, names(folder)))
print(json.dumps({"moments": 2 * calls, "wrong": wrong}))
"""


def test_d1_killed_at_any_call(clean_environment: Path, tiny_weights: Path) -> None:
    options = ("--frames", "9", "--steps", "2", "--size", "64", "--seed", "1", "-o", "a.mp4")
    command = ["generate", "a red ball", *options, "--weights", str(tiny_weights)]
    done = subprocess.run(
        [sys.executable, "-c", FORKS, *command],
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert not found["wrong"], found["wrong"]
    assert found["moments"] > 40
