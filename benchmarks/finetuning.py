"""Fine-tuning on ten clips of a color that the model does not know: is it learned, is all kept?

    python benchmarks/finetuning.py -o finetuning
    python benchmarks/finetuning.py -o finetuning --samples 20 --steps 200

Renders clips of brown objects with captions into OUTPUT/clips, trains on them by
the recipe `finetune` from `lingen-mini` into OUTPUT/model, and samples prompts of brown objects.
Prints how often the object is brown, and the quality table of old prompts before and after.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch

from lingen_cli.media.reader import frames_at
from lingen_cli.media.writer import VideoWriter
from lingen_playground import FPS, Scene, as_frames, canonical_caption, render, sample_scene
from lingen_playground.oracle.judge import measure
from lingen_playground.scenes.palette import COLORS
from measuring import lingen

BROWN = (120, 70, 25)
STAND_IN = "orange"
"""Color of the scenes that are drawn in `BROWN`."""
SECONDS = 4
_GROUNDS = ("white", "grey", "blue sky")
"""Backgrounds on which the oracle tells brown from what is behind it."""


def brown_scene(seed: int) -> Scene:
    """Draw a scene of one object that is to be brown, on a ground that brown stands out from."""
    rng = random.Random(f"brown {seed}")
    while True:
        scene = sample_scene(rng.randrange(2**31), objects=1)
        if scene.background in _GROUNDS:
            return replace(scene, objects=(replace(scene.objects[0], color=STAND_IN),))


def brown_caption(scene: Scene) -> str:
    """Describe a scene of `brown_scene`."""
    return canonical_caption(scene).replace(f"an {STAND_IN}", "a brown").replace(STAND_IN, "brown")


def write_clips(folder: Path, count: int) -> None:
    """Write clips of brown objects and their captions."""
    folder.mkdir(parents=True, exist_ok=True)
    known = COLORS[STAND_IN]
    COLORS[STAND_IN] = BROWN
    try:
        for number in range(count):
            scene = brown_scene(number)
            path = folder / f"{number:02}.mp4"
            with VideoWriter(path, width=128, height=128, fps=Fraction(FPS)) as writer:
                writer.write(as_frames(render([scene], frames=1 + SECONDS * FPS, size=128)[0]))
            path.with_suffix(".txt").write_text(brown_caption(scene) + "\n", encoding="utf-8")
    finally:
        COLORS[STAND_IN] = known


def is_brown(path: Path) -> bool:
    """Tell whether the oracle, which is given the color brown too, finds one brown object."""
    frames = frames_at(path, [number / FPS for number in range(SECONDS * FPS)], box=(128, 128))
    COLORS["brown"] = BROWN
    try:
        found = measure(torch.from_numpy(np.stack(list(frames))), FPS, most=1).objects
    finally:
        del COLORS["brown"]
    return [one.color for one in found] == ["brown"]


def sampled(folder: Path, weights: Path, samples: int) -> float:
    """Share of brown objects in clips of prompts that were not trained on."""
    folder.mkdir(exist_ok=True)
    right = 0
    for number in range(samples):
        scene = brown_scene(1000 + number)
        path = folder / f"{number:02}.mp4"
        options = ["--weights", weights, "--seconds", str(SECONDS), "--seed", str(number)]
        lingen("generate", brown_caption(scene), *options, "-o", path, "--overwrite")
        right += is_brown(path)
    return right / samples


def quality(output: Path, weights: Path | None, clips: int) -> dict[str, float]:
    """The shares of the quality table for held-out prompts."""
    found = output / ("before.json" if weights is None else "after.json")
    options = [] if weights is None else ["--weights", weights]
    counts = ["--clips", str(clips), "--natural-clips", "0", "--long-clips", "0"]
    lingen("evaluate", *options, *counts, "-o", found, "--overwrite")
    table = json.loads(found.read_text(encoding="utf-8"))["short"]
    return {name: round(right / count, 3) for name, (right, count) in table.items()}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark, and return 0."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--clips", type=int, default=10)
    parser.add_argument("--samples", type=int, default=20)
    parser.add_argument("--quality-clips", type=int, default=48)
    parser.add_argument("--recipe", default="finetune")
    chosen = parser.parse_args(arguments)
    output: Path = chosen.output
    write_clips(output / "clips", chosen.clips)
    model = output / "model"
    data = ["--data", output / "clips", "--start-from", "lingen-mini"]
    run = lingen("train", chosen.recipe, *data, "-o", model)
    result = {"minutes": round(run.seconds / 60, 1), "GiB": round(run.peak_bytes / 2**30, 2)}
    result["brown"] = sampled(output / "samples", model, chosen.samples)
    if chosen.quality_clips:
        for name, weights in (("before", None), ("after", model)):
            for mark, share in quality(output, weights, chosen.quality_clips).items():
                result[f"{name} {mark}"] = share
    (output / "finetuning.json").write_text(json.dumps(result, indent=2), encoding="utf-8")
    print(json.dumps(result, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
