"""A minute of video with `lingen generate`, from start to exit, with what each phase took.

    python benchmarks/minute.py
    python benchmarks/minute.py --weights FOLDER

Writes minute.json and minute.md. How a step grows with the length is measured by `lingen bench`.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from lingen_training.bench.machine import describe, in_words
from measuring import lingen, options_parser, write_result

PROMPT = "a red ball bounces on green grass"


def real_minute(weights: Path | None, device: str, options: Sequence[str] = ()) -> dict[str, Any]:
    """`lingen generate --minutes 1` as a process of its own: wall seconds, and those of each phase.

    Raises RuntimeError with the message of lingen when it fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        events = Path(folder) / "events"
        command = ["generate", PROMPT, "--minutes", "1", "--seed", "1", "--device", device]
        command += ["--quiet", "--events", str(events)]
        command += ["-o", str(Path(folder) / "minute.mp4"), *options]
        if weights is not None:
            command += ["--weights", str(weights.absolute())]
        wall = lingen(*command).seconds
        lines = [json.loads(line) for line in events.read_text(encoding="utf-8").splitlines()]
    starts = [(e["phase"], e["ts"]) for e in lines if e.get("done") == 0 and "phase" in e]
    starts.append(("end", lines[-1]["ts"]))
    phases = {name: round(after - now, 2) for (name, now), (_, after) in pairwise(starts)}
    steps = max(event["total"] for event in lines if event.get("phase") == "sample")
    return {"wall_seconds": round(wall, 2), "phases": phases, "sampling_steps": steps}


def in_a_line(result: dict[str, Any]) -> str:
    """The result as markdown."""
    minute = result["minute"]
    phases = ", ".join(f"{name} {seconds:g} s" for name, seconds in minute["phases"].items())
    return (
        f"One minute with `lingen generate`, {minute['sampling_steps']} steps, from start to "
        f"exit: **{minute['wall_seconds']:g} s** ({phases}). {in_words(result['machine'])}."
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, write, and print."""
    parser = options_parser(__doc__)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--weights", type=Path, help="in place of the shipped ones")
    parser.add_argument("options", nargs="*", help="for `lingen generate`, after --")
    options = parser.parse_args(arguments)
    machine = describe(options.device)
    minute = real_minute(options.weights, options.device, options.options)
    result = {"machine": machine, "minute": minute}
    write_result(options.output, "minute", result, in_a_line(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
