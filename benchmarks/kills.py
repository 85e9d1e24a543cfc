"""Runs that are killed at random moments, and go on: is the video always the same, and never half?

    python benchmarks/kills.py
    python benchmarks/kills.py --kills 3 --weights FOLDER --size 64

One run is left alone; its bytes are what all others must end in. Each of the others is killed
(SIGKILL) at a random moment, found to have left a whole video or none, and given again as it was.
Writes kills.json; exits with 1 when one differs.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from measuring import LINGEN, options_parser, write_result

PROMPT = "a red ball moves right on green grass"


def run(video: Path, options: Sequence[str], moment: float | None = None) -> tuple[int, bool]:
    """Make `video`, or be killed after `moment` seconds: the exit code, and whether it went on with
    an earlier run."""
    command = [*LINGEN, "generate", PROMPT, "--seed", "1", *options, "--json", "-o", video.name]
    environment = os.environ | {"LINGEN_JOURNAL_SECONDS": "0"}
    with tempfile.TemporaryFile("w+") as out:
        process = subprocess.Popen(
            command, cwd=video.parent, env=environment, stdout=out, stderr=subprocess.DEVNULL
        )
        with suppress(subprocess.TimeoutExpired):
            process.wait(moment)
        process.kill()  # nothing happens where it has ended
        code = process.wait()
        out.seek(0)
        return code, '"resume"' in out.read()


def measure(folder: Path, options: Sequence[str], kills: int, seed: int) -> Counter[str]:
    """Count what became of `kills` runs; the keys are what went well and what went wrong."""
    began = time.monotonic()
    code, _ = run(folder / "whole.mp4", options)
    length = time.monotonic() - began
    if code:
        raise SystemExit(f"the run without a kill ended with {code}")
    whole = (folder / "whole.mp4").read_bytes()
    rng = random.Random(seed)
    count: Counter[str] = Counter()
    for number in range(kills):
        path = folder / f"{number}.mp4"
        run(path, options, rng.uniform(0, length))
        if path.exists():
            count["finished before the kill" if path.read_bytes() == whole else "half"] += 1
            run(path, options)  # it has nothing to do but to tidy up
        else:
            code, resumed = run(path, options)
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
