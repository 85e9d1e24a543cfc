"""The quality table of the shipped model, as JSON and markdown; `lingen evaluate` does the same.

    python benchmarks/quality.py
    python benchmarks/quality.py --clips 8 --long-clips 0 --steps 4

Clips are generated from held-out prompts and judged from their pixels; real renders of the same
scenes are judged beside them. Writes quality.json and quality.md.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from machine import describe

from lingen_models.pipeline import TextToVideo
from lingen_plugins.registry import collect
from lingen_training.evaluate import evaluate, markdown_table


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, write, and print the table."""
    variant = collect().model_variants["lingen-mini"]
    parser = argparse.ArgumentParser(description="Measure how well a model follows prompts.")
    parser.add_argument("--weights", type=Path, help="a folder, in place of the shipped weights")
    parser.add_argument("--clips", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--long-clips", type=int, default=20)
    parser.add_argument("--long-seconds", type=float, default=60.0)
    parser.add_argument("--steps", type=int, default=variant.steps)
    parser.add_argument("--guidance", type=float, default=variant.guidance)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results"))
    options = parser.parse_args(arguments)
    assert variant.weights is not None
    files = variant.weights.files()
    if options.weights is not None:
        files = {part: options.weights / path.name for part, path in files.items()}
    pipe = TextToVideo.load(
        files["denoiser"], files["autoencoder"], [files["text_encoder"]], device=options.device
    )
    machine = describe(options.device)
    result = evaluate(
        pipe,
        clips=options.clips,
        seconds=options.seconds,
        long_clips=options.long_clips,
        long_seconds=options.long_seconds,
        steps=options.steps,
        guidance=options.guidance,
        size=variant.size,
        seed=options.seed,
        report=lambda line: print(line, file=sys.stderr),
    )
    result["machine"] = machine
    options.output.mkdir(parents=True, exist_ok=True)
    text = json.dumps(result, indent=2) + "\n"
    (options.output / "quality.json").write_text(text, encoding="utf-8")
    (options.output / "quality.md").write_text(markdown_table(result) + "\n", encoding="utf-8")
    print(markdown_table(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
