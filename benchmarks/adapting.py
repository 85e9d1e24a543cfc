"""How fast networks learn longer clips: their losses, step by step, on the same batches and noise.

    python benchmarks/adapting.py lingen-mini=runs/long dit-mini=runs/long-dit -o adapting

Each folder is of a training by the recipe short-to-long (docs/ablation.md); the first is the
measure. Prints a table in markdown and writes OUTPUT.json and OUTPUT.png.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from lingen_training.markdown_table import table_of
from lingen_training.optimization.stage_logs import read_log

Losses = Mapping[str, Mapping[int, float]]
"""By model, by step: the mean loss of the steps since the one before."""


def read_losses(folders: Mapping[str, Path], stage: str) -> Losses:
    """The logs of `stage`, at the steps that all have. Raises ValueError where there are none."""
    logs = {
        name: {
            int(record["step"]): record["loss"] for record in read_log(folder / f"{stage}.jsonl")
        }
        for name, folder in folders.items()
    }
    steps = sorted(set.intersection(*(set(log) for log in logs.values())))
    if not steps:
        raise ValueError(f"no step of {stage} that all of {', '.join(folders)} have")
    return {name: {step: log[step] for step in steps} for name, log in logs.items()}


def table(losses: Losses) -> str:
    """Steps in rows; the loss of each model, and the others' over the first one's."""
    first, *others = losses
    head = [f"loss of {name}" for name in losses] + [f"{name} / {first}" for name in others]
    rows = []
    for step, reference in losses[first].items():
        cells = [f"{log[step]:.3f}" for log in losses.values()]
        cells += [f"{losses[name][step] / reference:.2f}" for name in others]
        rows.append([str(step), *cells])
    return table_of(["steps", *head], rows)


def draw(losses: Losses, path: Path) -> None:
    """Loss over the steps, a line for each model."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 3.5), layout="constrained")
    panel = figure.subplots()
    for name, log in losses.items():
        panel.plot(list(log), list(log.values()), marker=".", label=name)
    panel.set(xlabel="steps on longer clips", ylabel="loss")
    panel.legend()
    figure.savefig(path, dpi=120)


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="+", metavar="NAME=FOLDER")
    parser.add_argument("--stage", default="long")
    parser.add_argument("-o", "--output", type=Path, default=Path("adapting"))
    options = parser.parse_args(arguments)
    folders = {one.partition("=")[0]: Path(one.partition("=")[2]) for one in options.folders}
    losses = read_losses(folders, options.stage)
    print(table(losses))
    options.output.with_suffix(".json").write_text(json.dumps(losses, indent=2) + "\n")
    draw(losses, options.output.with_suffix(".png"))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
