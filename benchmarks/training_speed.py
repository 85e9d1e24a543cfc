"""Tokens per second of training on a CPU, of this checkout beside another one.

    git worktree add ../before c55622d
    python benchmarks/training_speed.py --beside ../before --rounds 3

Both train the mini model on clips of four seconds at 128 x 128 pixels, in turn, each in processes
of its own, with everything that a step has: drawing clips and captions, forward, backward and the
optimizer. Medians are printed. With --shares, the share of each kind of operation in a step of one
process follows.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

_ROOT = Path(__file__).parent.parent
_TOKENS = 7 * 9 * 64
_WARM = 5
"""Steps before the clock starts."""

_RECIPE = """
name = "speed"
[autoencoder]
steps = 1
[model]
preset = "mini"
[[stage]]
name = "clips"
steps = {steps}
learning_rate = 1e-4
warmup = 1
{more}
[[stage.source]]
size = 128
latent_frames = 9
batch = 7
clips = 8
"""

_TRAIN = """
import json, sys, time
from pathlib import Path
try:
    import lingen_training.optimization.loop as loop
    from lingen_training.trainer import train
except ModuleNotFoundError:  # a checkout before these packages
    import lingen_training.loop as loop
    from lingen_training.run import train
if __name__ == "__main__":
    folder, weights, log = Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3])
    step = loop.MasterWeights.step
    def timed(self, *args, **kwargs):
        norm = step(self, *args, **kwargs)
        with open(log, "a") as file:
            file.write(f"{time.monotonic()}\\n")
        return norm
    loop.MasterWeights.step = timed
    train(folder / "recipe.toml", folder / "out", start_from=weights, report=lambda line: None)
"""


def tokens_per_second(checkout: Path, steps: int, batches: int) -> float:
    """Train in a fresh folder with the code of `checkout`; `batches` in a step, 0 where it does not
    know them."""
    packages = [
        checkout,
        *(checkout / name for name in ("models", "playground", "plugins", "training")),
    ]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        more = f"batches = {batches}" if batches else ""
        (folder / "recipe.toml").write_text(_RECIPE.format(steps=steps, more=more))
        (folder / "train.py").write_text(_TRAIN)
        weights = checkout / "models/lingen_models/weights/lingen-mini"
        subprocess.run(
            [sys.executable, folder / "train.py", folder, weights, folder / "times"],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(map(str, packages))},
            check=True,
        )
        times = [float(line) for line in (folder / "times").read_text().split()]
    seconds = statistics.median(
        b - a for a, b in zip(times[_WARM:], times[_WARM + 1 :], strict=False)
    )
    return _TOKENS * max(1, batches) / seconds


def shares(steps: int = 3) -> dict[str, float]:
    """Share of the time of a step, of one process, by kind of operation."""
    import torch
    from torch.profiler import ProfilerActivity, profile

    from lingen_models.network_config import PRESETS, WordsConfig
    from lingen_models.networks.denoiser import LinGen
    from lingen_models.networks.word_encoder import WordEncoder
    from lingen_models.precision import compute_dtype
    from lingen_training.optimization.optimizer import MasterWeights
    from lingen_training.stages.pair import Pair

    torch.manual_seed(0)
    pair = Pair(LinGen(PRESETS["mini"]), WordEncoder(WordsConfig(words=("red", "ball"))))
    weights = MasterWeights(
        pair,
        learning_rate=1e-4,
        weight_decay=0.01,
        ema=0.99,
        compute_dtype=compute_dtype("cpu"),
    )
    latents, times = torch.randn(7, 16, 9, 16, 16), torch.rand(7, 9)

    def step() -> None:
        features, masks = pair.read(["red ball"] * 7)
        pair.denoiser(latents, times, features, masks, 0).float().square().mean().backward()
        weights.step(1e-4)

    step()
    with profile(activities=[ProfilerActivity.CPU]) as found:
        for _ in range(steps):
            step()
    kinds: dict[str, float] = {}
    for row in found.key_averages():
        kind = next((k for k, names in _KINDS.items() if any(n in row.key for n in names)), "other")
        kinds[kind] = kinds.get(kind, 0.0) + row.self_cpu_time_total
    total = sum(kinds.values())
    return {kind: time / total for kind, time in sorted(kinds.items(), key=lambda one: -one[1])}


_KINDS = {
    "matrix products": ("aten::mm", "aten::addmm"),
    "batched products": ("aten::bmm", "aten::baddbmm"),
    "copies and joins": ("aten::copy_", "aten::cat", "aten::fill_", "index", "aten::clone"),
    "norms and softmax": ("norm", "softmax"),
    "elementwise": (
        "mul",
        "add",
        "sub",
        "div",
        "pow",
        "exp",
        "silu",
        "gelu",
        "where",
        "lerp",
        "sum",
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--beside", type=Path, help="another checkout, to be measured in turn")
    parser.add_argument("--batches", type=int, default=4, help="batches in a step of this checkout")
    parser.add_argument("--beside-batches", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=15)
    parser.add_argument("--shares", action="store_true")
    args = parser.parse_args()
    found: dict[str, list[float]] = {}
    for _ in range(args.rounds):
        found.setdefault("this", []).append(tokens_per_second(_ROOT, args.steps, args.batches))
        if args.beside:
            rate = tokens_per_second(args.beside.resolve(), args.steps, args.beside_batches)
            found.setdefault("beside", []).append(rate)
    medians = {name: statistics.median(rates) for name, rates in found.items()}
    for name, rates in found.items():
        print(
            f"{name}: {medians[name]:.0f} tokens/s ({', '.join(f'{rate:.0f}' for rate in rates)})"
        )
    if args.beside:
        print(f"ratio: {medians['this'] / medians['beside']:.2f}")
    if args.shares:
        print(json.dumps({kind: round(share, 3) for kind, share in shares().items()}, indent=1))


if __name__ == "__main__":
    main()
