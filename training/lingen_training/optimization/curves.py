"""Loss curves of a training folder as one PNG, beside the .jsonl files that they are drawn from."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path


def read_log(path: Path) -> list[dict[str, float]]:
    """The records of one stage's log; a last line cut off by a kill is left out."""
    records = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            records.append(json.loads(line))
        except ValueError:
            continue
    return records


def draw_curves(folder: Path) -> Path | None:
    """Draw `folder/curves.png`; None where no log has two records yet, and where matplotlib (extra
    `train`) is not installed."""
    logs = {path.stem: read_log(path) for path in sorted(folder.glob("*.jsonl"))}
    logs = {name: records for name, records in logs.items() if len(records) > 1}
    if not logs or importlib.util.find_spec("matplotlib") is None:
        return None
    from matplotlib.figure import Figure

    columns = min(len(logs), 4)
    rows = -(-len(logs) // columns)
    figure = Figure(figsize=(3.5 * columns, 2.5 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis in axes[len(logs) :]:
        axis.set_axis_off()
    for axis, (name, records) in zip(axes, logs.items(), strict=False):
        axis.plot([r["step"] for r in records], [r["loss"] for r in records], linewidth=0.8)
        axis.set(title=name, xlabel="step", ylabel="loss")
        axis.set_yscale("log")
        axis.yaxis.set_major_formatter("{x:g}")
        axis.yaxis.set_minor_formatter("{x:g}")
    path = folder / "curves.png"
    figure.savefig(path, dpi=120)
    return path
