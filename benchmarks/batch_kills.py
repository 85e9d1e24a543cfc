"""A batch with bad lines that is killed again and again: is every good job done exactly once?

    python benchmarks/batch_kills.py
    python benchmarks/batch_kills.py --jobs 12 --bad 2 --kills 1 --weights FOLDER

Writes batch_kills.json; exits with 1 when a video is missing, was made twice, or the exit code of
the last run does not say that some jobs failed.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from measuring import LINGEN, options_parser, write_result

BAD = ({"prompt": ""}, {"prompt": "a ball", "stepz": 3}, {"command": "extend", "video": "no.mp4"})


def write_list(path: Path, jobs: int, bad: int, common: dict[str, Any], rng: random.Random) -> None:
    """`jobs` lines, of which `bad` at random places cannot be made."""
    wrong = set(rng.sample(range(jobs), bad))
    with path.open("w", encoding="utf-8") as file:
        for number in range(jobs):
            good = {"prompt": f"a red ball {number}"} | common
            line = BAD[number % len(BAD)] if number in wrong else good
            file.write(json.dumps(line) + "\n")


def run(folder: Path, kill_after: int | None) -> tuple[int, list[dict[str, Any]]]:
    """Run the batch, or kill it after so many jobs; its exit code and its `job` events."""
    process = subprocess.Popen(
        [*LINGEN, "batch", "jobs.jsonl", "--keep-going", "--json"],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    with process:
        assert process.stdout is not None
        found = []
        for text in process.stdout:
            event = json.loads(text)
            if event["event"] == "job":
                found.append(event)
            made = sum(one["status"] == "done" for one in found)
            if kill_after is not None and made >= kill_after and event["event"] == "progress":
                process.kill()
                break
        process.stdout.read()
    return process.returncode, found


def main(arguments: Sequence[str] | None = None) -> int:
    """Write a list, kill, finish, count."""
    parser = options_parser(__doc__)
    parser.add_argument("--jobs", type=int, default=200)
    parser.add_argument("--bad", type=int, default=20)
    parser.add_argument("--kills", type=int, default=2)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    rng = random.Random(options.seed)
    common: dict[str, Any] = {"frames": 9, "steps": 1, "size": 64}
    if options.weights is not None:
        common["weights"] = str(options.weights.absolute())
    good = options.jobs - options.bad
    times: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_list(folder / "jobs.jsonl", options.jobs, options.bad, common, rng)
        codes = []
        for turn in range(options.kills + 1):
            share = good // (options.kills + 2)
            code, events = run(folder, share if turn < options.kills else None)
            codes.append(code)
            times.update(event["output"] for event in events if event["status"] == "done")
        videos = sorted(path.name for path in (folder / "jobs").glob("*.mp4"))
        left = [path.name for path in (folder / "jobs").iterdir() if path.suffix != ".mp4"]
    result = {
        "good": good,
        "videos": len(videos),
        "told as made once": sum(count == 1 for count in times.values()),
        "made twice": sum(count > 1 for count in times.values()),
        "left behind": len(left),
        "exit_codes": codes,
    }
    write_result(options.output, "batch_kills", result)
    wrong = len(videos) != good or result["made twice"] or left or codes[-1] != int(options.bad > 0)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
