"""Runs that are killed at random moments, and go on: is the video always the same, and never half?

    python benchmarks/kills.py
    python benchmarks/kills.py --kills 3 --weights FOLDER --size 64

One run is left alone; its bytes are what all others must end in. Each of the others is killed
(SIGKILL) at a random moment, found to have left a whole video or none, and given again as it was.
Writes kills.json; exits with 1 when one differs.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from measuring import LINGEN, options_parser, write_result

PROMPT = "a red ball moves right on green grass"


class Runs:
    """The same `lingen generate` again and again, in a folder."""

    def __init__(self, folder: Path, options: Sequence[str]) -> None:
        self.folder = folder
        self._options = options
        self._environment = os.environ | {"LINGEN_JOURNAL_SECONDS": "0"}

    def start(self, name: str) -> subprocess.Popen[str]:
        """A process that makes the video `name` and tells its events."""
        return subprocess.Popen(
            [*LINGEN, "generate", PROMPT, "--seed", "1", *self._options, "--json", "-o", name],
            cwd=self.folder,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def finish(self, name: str) -> tuple[int, bool]:
        """Run to the end: the exit code, and whether it went on with an earlier one."""
        process = self.start(name)
        out, _ = process.communicate()
        events = [json.loads(line)["event"] for line in out.splitlines()]
        return process.returncode, "resume" in events

    def kill(self, name: str, moment: float) -> None:
        """Begin, and kill it after `moment` seconds."""
        process = self.start(name)
        try:
            process.communicate(timeout=moment)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()


def measure(folder: Path, options: Sequence[str], kills: int, seed: int) -> Counter[str]:
    """Count what became of `kills` runs; the keys are what went well and what went wrong."""
    runs = Runs(folder, options)
    began = time.monotonic()
    code, _ = runs.finish("whole.mp4")
    length = time.monotonic() - began
    if code:
        raise SystemExit(f"the run without a kill ended with {code}")
    whole = (folder / "whole.mp4").read_bytes()
    rng = random.Random(seed)
    count: Counter[str] = Counter()
    for number in range(kills):
        name = f"{number}.mp4"
        path = folder / name
        runs.kill(name, rng.uniform(0, length))
        if path.exists():
            count["finished before the kill" if path.read_bytes() == whole else "half"] += 1
            runs.finish(name)  # it has nothing to do but to tidy up
        else:
            code, resumed = runs.finish(name)
            same = code == 0 and path.read_bytes() == whole
            count["went on" if resumed else "began anew"] += 1
            count["equal" if same else "different"] += 1
        if list(folder.glob(".*.lingen")):
            count["left a work folder"] += 1
        path.unlink(missing_ok=True)
        print(f"{number + 1}/{kills}: {dict(count)}", file=sys.stderr)
    return count


def main(arguments: Sequence[str] | None = None) -> int:
    """Kill, resume, compare, write."""
    parser = options_parser(__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=4.0, help="of the video")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    settings = ["--seconds", f"{options.seconds}", "--size", f"{options.size}"]
    settings += ["--steps", f"{options.steps}"]
    if options.weights is not None:
        settings += ["--weights", str(options.weights.absolute())]
    with tempfile.TemporaryDirectory() as folder:
        count = measure(Path(folder), settings, options.kills, options.seed)
    write_result(options.output, "kills", {"kills": options.kills, **count})
    return 1 if count["half"] or count["different"] or count["left a work folder"] else 0


if __name__ == "__main__":
    sys.exit(main())
