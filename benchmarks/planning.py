"""What `lingen plan` says, and what `lingen generate` then takes: time, and memory at its peak.

    python benchmarks/planning.py
    python benchmarks/planning.py --rounds 1 --output planning

Every case is planned and then made, each in a process of its own, in several rounds. Prints a table
in markdown and writes planning.json.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from lingen_training.bench.machine import describe, in_words

PROMPT = "a red ball bounces on green grass"
CASES = (
    "--seconds 4",
    "--seconds 15",
    "--seconds 30",
    "--seconds 60",
    "--seconds 30 --size 64",
    "--seconds 15 --save-memory",
    "--seconds 10 --sampler heun --steps 6",
    "--seconds 10 --guidance 1",
    "--seconds 80 --steps 4",
)
_COMMAND = [sys.executable, "-m", "lingen_cli"]


def planned(options: Sequence[str]) -> tuple[float, int]:
    """Seconds and bytes that the plan says."""
    command = [*_COMMAND, "plan", PROMPT, *options, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    plan = json.loads(done.stdout)
    return plan["total_seconds"], plan["ram"]


def made(options: Sequence[str]) -> tuple[float, int]:
    """Seconds from start to exit, and bytes at the peak."""
    with tempfile.TemporaryDirectory() as folder:
        output = str(Path(folder) / "made.mp4")
        begin = time.perf_counter()
        process = subprocess.Popen(
            [*_COMMAND, "generate", PROMPT, *options, "--quiet", "-o", output],
            stdout=subprocess.DEVNULL,
            env={**os.environ, "XDG_CACHE_HOME": folder},
        )
        _, status, usage = os.wait4(process.pid, 0)
        taken = time.perf_counter() - begin
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"generate {shlex.join(options)} ended with {process.returncode}")
    return taken, usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def measure(case: str, rounds: int) -> dict[str, Any]:
    """Medians of some rounds, plan and video in turn."""
    options = shlex.split(case)
    plans, videos = [], []
    for _ in range(rounds):
        plans.append(planned(options))
        videos.append(made(options))
    told, took = (
        {"seconds": median(one[0] for one in found), "bytes": median(one[1] for one in found)}
        for found in (plans, videos)
    )
    return {"case": case, "planned": told, "measured": took}


def table(rows: Sequence[dict[str, Any]]) -> str:
    """In markdown: planned over measured beside both."""
    lines = [
        "| video | planned, s | took, s | ratio | planned, MB | peak, MB | ratio |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        told, took = row["planned"], row["measured"]
        cells = [f"`{row['case']}`"]
        for name, unit in (("seconds", 1.0), ("bytes", 1e6)):
            cells += [f"{told[name] / unit:.0f}", f"{took[name] / unit:.0f}"]
            cells.append(f"{told[name] / took[name]:.2f}")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Plan, make, compare."""
    parser = argparse.ArgumentParser(description="Plans beside what is then measured.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cases", nargs="+", default=CASES, metavar="OPTIONS")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results"))
    options = parser.parse_args(arguments)
    rows = []
    for case in options.cases:
        rows.append(measure(case, options.rounds))
        print(table(rows[-1:]).splitlines()[-1], file=sys.stderr)
    machine = describe("cpu")
    options.output.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"machine": machine, "rounds": options.rounds, "rows": rows}, indent=2)
    (options.output / "planning.json").write_text(text + "\n", encoding="utf-8")
    print(table(rows), in_words(machine), sep="\n\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
