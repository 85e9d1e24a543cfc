"""`python -m lingen_training.bench`: as `lingen bench`, where only torch is installed."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from lingen_models.malloc import keep_freed_memory
from lingen_models.network_config import PRESETS
from lingen_training.bench.bench_report import draw, table
from lingen_training.bench.cases import PAPER, chosen
from lingen_training.bench.measure import bench
from lingen_training.bench.step import CLOCKS


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, write bench.json, bench.md and bench.png into a folder, and print the table."""
    parser = argparse.ArgumentParser(
        prog="python -m lingen_training.bench", description="LinGen beside its DiT twin."
    )
    parser.add_argument("--preset", default="mini", choices=[*PRESETS, PAPER])
    parser.add_argument("--lengths", default="4,10,17,34,60", help="seconds of video")
    parser.add_argument("--size", type=int, default=128, help="pixels per side")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--limit", type=float, default=120.0, help="seconds of the longest step")
    parser.add_argument("--clock", default="wall", choices=list(CLOCKS), help="of a CPU")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results"))
    options = parser.parse_args(arguments)
    if options.device == "cpu":
        keep_freed_memory()
    lengths = [float(length) for length in options.lengths.split(",")]
    result = bench(
        options.preset,
        chosen(options.preset, lengths, (options.size, options.size)),
        device=options.device,
        rounds=options.rounds,
        limit=options.limit,
        clock=options.clock,
        report=lambda text: print(text, file=sys.stderr, flush=True),
    )
    folder: Path = options.output
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "bench.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    (folder / "bench.md").write_text(table(result) + "\n", encoding="utf-8")
    draw(result, folder / "bench.png")
    print(table(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
