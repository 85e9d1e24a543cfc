"""Seconds per sampling step for growing lengths, LinGen beside its DiT twin, and a real minute.

    python benchmarks/speed.py
    python benchmarks/speed.py --lengths 4,10 --repeats 1 --no-minute

The twin is the same network with full attention in place of the MATE block (paper.md 1.8). Both
have random weights, which take the same time as trained ones; the minute is made with the shipped.
One process measures both in turn, so that a busy machine slows both down; each figure is a median.
Writes speed.json, speed.md and, with matplotlib, speed.png.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from machine import describe, in_words

from lingen_models.config import PRESETS
from lingen_models.lingen import LinGen
from lingen_models.pipeline import TextToVideo
from lingen_models.precision import compute_dtype
from lingen_models.sampling import TextFeatures, sample_latents

FPS = 16
WORDS = 12
PROMPT = "a red ball bounces on green grass"
NAMES = {"mate": "LinGen", "attention": "DiT twin"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, write, and print the table."""
    options = parse(arguments)
    if options.threads:
        torch.set_num_threads(options.threads)
    lengths = [float(length) for length in options.lengths.split(",")]
    machine = describe(options.device)
    rows = measure(options.preset, lengths, options.size, options.repeats, options.device)
    result: dict[str, Any] = {
        "machine": machine,
        "preset": options.preset,
        "size": options.size,
        "repeats": options.repeats,
        "steps": rows,
        "exponents": {mixer: exponent(rows, mixer) for mixer in NAMES},
        "cost_60_s_over_10_s": cost_ratio(rows, 60.0, 10.0),
        "minute": None,
    }
    if options.minute:
        result["minute"] = real_minute(options.weights, options.device)
    write(options.output, result)
    print(table(result))
    return 0


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Time LinGen beside its DiT twin.")
    parser.add_argument("--lengths", default="4,10,17,34,60", help="seconds of video")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--size", type=int, default=128, help="pixels per side")
    parser.add_argument("--preset", default="mini", choices=list(PRESETS))
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--threads", type=int, default=0, help="0: as many as torch takes")
    parser.add_argument("--weights", type=Path, help="for the minute, in place of the shipped ones")
    parser.add_argument("--minute", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results"))
    return parser.parse_args(arguments)


def measure(
    preset: str, lengths: Sequence[float], size: int, repeats: int, device: str
) -> list[dict[str, Any]]:
    """One row per length: tokens, and the median seconds of one guided step of both networks."""
    networks = {mixer: build(preset, mixer, device) for mixer in NAMES}
    times: dict[tuple[float, str], list[float]] = {}
    for repeat in range(repeats + 1):  # the first round warms up
        for length in lengths:
            for mixer, network in networks.items():
                seconds = timed(partial(step, network, length, size, device), device)
                if repeat:
                    times.setdefault((length, mixer), []).append(seconds)
    config = PRESETS[preset]
    side = size // TextToVideo.space_stride
    tokens_per_frame = (side // config.patch[1]) * (side // config.patch[2])
    return [
        {
            "video_seconds": length,
            "latent_frames": latent_frames(length),
            "tokens": latent_frames(length) * tokens_per_frame,
            "step_seconds": {m: statistics.median(times[length, m]) for m in NAMES},
            "all_step_seconds": {m: times[length, m] for m in NAMES},
        }
        for length in lengths
    ]


def build(preset: str, mixer: str, device: str) -> LinGen:
    """A network with random weights, in the dtype of the device."""
    torch.manual_seed(0)
    config = replace(PRESETS[preset], mixer=mixer)  # type: ignore[arg-type]
    network = LinGen(config).to(device, compute_dtype(device)).eval()
    return network.requires_grad_(False)


def latent_frames(video_seconds: float) -> int:
    """The first frame alone, then groups of eight (paper.md 1.4)."""
    return 1 + math.ceil((round(video_seconds * FPS) - 1) / TextToVideo.time_stride)


@torch.inference_mode()
def step(network: LinGen, video_seconds: float, size: int, device: str) -> None:
    """One step of the real sampling loop, with guidance: a batch of two."""
    side = size // TextToVideo.space_stride
    shape = (1, network.config.latent_channels, latent_frames(video_seconds), side, side)
    dtype = network.patch_in.weight.dtype
    text = TextFeatures(
        tuple(
            torch.zeros(1, WORDS, d, dtype=dtype, device=device) for d in network.config.text_dims
        ),
        tuple(
            torch.ones(1, WORDS, dtype=torch.bool, device=device) for _ in network.config.text_dims
        ),
    )
    noise = torch.zeros(shape, device=device)
    sample_latents(network, noise, text, text, times=torch.tensor([0.0, 1.0]), guidance=3.0)


def timed(work: Callable[[], None], device: str) -> float:
    """Wall seconds of `work`."""
    if device != "cpu":
        torch.cuda.synchronize()
    start = time.perf_counter()
    work()
    if device != "cpu":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def exponent(rows: Sequence[dict[str, Any]], mixer: str) -> float | None:
    """p of seconds ~ tokens^p, by least squares of the logarithms; None for a single length."""
    points = [(math.log(row["tokens"]), math.log(row["step_seconds"][mixer])) for row in rows]
    if len({x for x, _ in points}) < 2:
        return None
    return statistics.linear_regression(*zip(*points, strict=True)).slope


def cost_ratio(
    rows: Sequence[dict[str, Any]], long: float, short: float
) -> dict[str, float] | None:
    """Sampling cost per second of video at `long` over that at `short`; None where not measured."""
    by_length = {row["video_seconds"]: row["step_seconds"] for row in rows}
    if long not in by_length or short not in by_length:
        return None
    return {m: by_length[long][m] / long / (by_length[short][m] / short) for m in NAMES}


def real_minute(weights: Path | None, device: str) -> dict[str, Any]:
    """`lingen generate --minutes 1` as a process of its own: wall seconds, and those of each phase.

    Raises RuntimeError with the message of lingen when it fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        events = Path(folder) / "events"
        command = [sys.executable, "-m", "lingen_cli", "generate", PROMPT, "--minutes", "1"]
        command += ["--seed", "1", "--device", device, "--quiet", "--events", str(events)]
        command += ["-o", str(Path(folder) / "minute.mp4")]
        if weights is not None:
            command += ["--weights", str(weights.absolute())]
        start = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        wall = time.perf_counter() - start
        if done.returncode:
            raise RuntimeError(f"the minute failed: {done.stderr.strip()}")
        lines = [json.loads(line) for line in events.read_text(encoding="utf-8").splitlines()]
    starts = [(e["phase"], e["ts"]) for e in lines if e.get("done") == 0 and "phase" in e]
    starts.append(("end", lines[-1]["ts"]))
    phases = {name: round(after - now, 2) for (name, now), (_, after) in pairwise(starts)}
    steps = max(event["total"] for event in lines if event.get("phase") == "sample")
    return {"wall_seconds": round(wall, 2), "phases": phases, "sampling_steps": steps}


def table(result: dict[str, Any]) -> str:
    """The result as markdown."""
    lines = [
        f"`{result['preset']}` at {result['size']}x{result['size']}, one sampling step with "
        f"guidance (batch 2), median of {result['repeats']}. {in_words(result['machine'])}.",
        "",
        "| video | tokens | LinGen, s | DiT twin, s | twin / LinGen |",
        "|---|---|---|---|---|",
    ]
    for row in result["steps"]:
        ours, twin = row["step_seconds"]["mate"], row["step_seconds"]["attention"]
        lines.append(
            f"| {row['video_seconds']:g} s | {row['tokens']:,} | {ours:.3f} | {twin:.3f} | "
            f"{twin / ours:.2f} |"
        )
    lines += ["", "| | LinGen | DiT twin |", "|---|---|---|"]
    lines.append(row_of("exponent of the tokens", result["exponents"]))
    lines.append(row_of("cost per second of video, 60 s over 10 s", result["cost_60_s_over_10_s"]))
    minute = result["minute"]
    if minute is not None:
        phases = ", ".join(f"{name} {seconds:g} s" for name, seconds in minute["phases"].items())
        lines += [
            "",
            f"One minute with `lingen generate`, {minute['sampling_steps']} steps, from start to "
            f"exit: **{minute['wall_seconds']:g} s** ({phases}).",
        ]
    return "\n".join(lines)


def row_of(name: str, values: dict[str, float | None] | None) -> str:
    """A line of the second table; what was not measured is a dash."""
    found = [None if values is None else values[mixer] for mixer in NAMES]
    return f"| {name} | " + " | ".join("-" if v is None else f"{v:.2f}" for v in found) + " |"


def write(folder: Path, result: dict[str, Any]) -> None:
    """speed.json, speed.md and, where matplotlib is installed, speed.png."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "speed.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    (folder / "speed.md").write_text(table(result) + "\n", encoding="utf-8")
    if importlib.util.find_spec("matplotlib") is None:
        return
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    axis = figure.subplots()
    for mixer, name in NAMES.items():
        power = result["exponents"][mixer]
        label = name if power is None else f"{name}, tokens^{power:.2f}"
        seconds = [row["step_seconds"][mixer] for row in result["steps"]]
        axis.plot([row["tokens"] for row in result["steps"]], seconds, marker="o", label=label)
    axis.set(xscale="log", yscale="log", xlabel="tokens", ylabel="seconds per sampling step")
    axis.set_title(f"{result['preset']}, {result['size']}x{result['size']} pixels")
    axis.grid(which="both", alpha=0.3)
    axis.legend()
    figure.savefig(folder / "speed.png", dpi=150)


if __name__ == "__main__":
    sys.exit(main())
