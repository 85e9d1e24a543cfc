"""Parts that the benchmarks share: options, lingen in a process of its own, files of results."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LINGEN = (sys.executable, "-m", "lingen_cli")
PEAK_UNIT = 1 if sys.platform == "darwin" else 1024
"""Bytes of what the system counts the peak memory of a process in."""


@dataclass(frozen=True)
class Run:
    """A run of lingen that has ended: seconds from start to exit, bytes of memory at the peak."""

    seconds: float
    peak_bytes: int
    out: str
    err: str


def lingen(
    *arguments: object,
    allowed: Sequence[int] = (0,),
    environment: Mapping[str, str] | None = None,
) -> Run:
    """Run a command of lingen. Raises RuntimeError, with the last of its messages, where it ends
    with another exit code than those `allowed`.

    A process begins with the peak of the one that starts it: only a small one measures memory.
    """
    command = [*LINGEN, *map(str, arguments)]
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        begun = time.perf_counter()
        process = subprocess.Popen(
            command, stdout=out, stderr=err, env={**os.environ, **(environment or {})}
        )
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - begun
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
        run = Run(seconds, usage.ru_maxrss * PEAK_UNIT, out.read(), err.read())
    if process.returncode not in allowed:
        raise RuntimeError(f"{command} ended with {process.returncode}: {run.err.strip()[-2000:]}")
    return run


def options_parser(doc: str | None) -> argparse.ArgumentParser:
    """A parser with the first line of a docstring, and the option `--output`."""
    parser = argparse.ArgumentParser(description=(doc or "").partition("\n")[0])
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results"))
    return parser


def write_result(folder: Path, name: str, result: Any, table: str | None = None) -> None:
    """Write a result as NAME.json and, where there is a table, that as NAME.md; print the last."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(result, indent=2)
    (folder / f"{name}.json").write_text(text + "\n", encoding="utf-8")
    if table is not None:
        (folder / f"{name}.md").write_text(table + "\n", encoding="utf-8")
    print(text if table is None else table)


def circumstances(options: argparse.Namespace, device: str) -> dict[str, Any]:
    """The machine and the options of a benchmark, as they stand in its result."""
    from lingen_training.bench.machine import describe

    settings = {name: str(value) for name, value in vars(options).items()}
    return {"machine": describe(device), "settings": settings}
