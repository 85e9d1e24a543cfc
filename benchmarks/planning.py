"""What `lingen plan` says, and what `lingen generate` then takes: time, and memory at its peak.

    python benchmarks/planning.py
    python benchmarks/planning.py --rounds 1 --output planning

Every case is planned and then made, each in a process of its own, in several rounds. Writes
planning.json and planning.md.
"""

from __future__ import annotations

import json
import shlex
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from lingen_training.markdown_table import table_of
from measuring import lingen, options_parser, write_result

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


def planned(options: Sequence[str]) -> tuple[float, int]:
    """Seconds and bytes that the plan says."""
    plan = json.loads(lingen("plan", PROMPT, *options, "--json").out)
    return plan["total_seconds"], plan["ram"]


def made(options: Sequence[str]) -> tuple[float, int]:
    """Seconds from start to exit, and bytes at the peak."""
    with tempfile.TemporaryDirectory() as folder:
        command = ("generate", PROMPT, *options, "--quiet", "-o", Path(folder) / "made.mp4")
        run = lingen(*command, environment={"XDG_CACHE_HOME": folder})
    return run.seconds, run.peak_bytes


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
    lines = []
    for row in rows:
        told, took = row["planned"], row["measured"]
        cells = [f"`{row['case']}`"]
        for name, unit in (("seconds", 1.0), ("bytes", 1e6)):
            cells += [f"{told[name] / unit:.0f}", f"{took[name] / unit:.0f}"]
            cells.append(f"{told[name] / took[name]:.2f}")
        lines.append(cells)
    head = ("video", "planned, s", "took, s", "ratio", "planned, MB", "peak, MB", "ratio")
    return table_of(head, lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Plan, make, compare."""
    parser = options_parser(__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cases", nargs="+", default=CASES, metavar="OPTIONS")
    options = parser.parse_args(arguments)
    rows = []
    for case in options.cases:
        rows.append(measure(case, options.rounds))
        print(table(rows[-1:]).splitlines()[-1], file=sys.stderr)
    from lingen_training.bench.machine import describe, in_words  # torch, once all is measured

    machine = describe("cpu")
    result = {"machine": machine, "rounds": options.rounds, "rows": rows}
    write_result(options.output, "planning", result, table(rows))
    print(f"\n{in_words(machine)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
