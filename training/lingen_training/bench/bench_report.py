"""A result as a table in markdown, and as an image."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lingen_training.bench.cases import LINGEN, PAPER_STEPS, TWIN
from lingen_training.bench.machine import in_words
from lingen_training.bench.shares import OTHER
from lingen_training.markdown_table import table_of

Row = Mapping[str, Any]
COLUMNS = ("ma", "scan", "review", "rms", "tesa", "attention", "text", "ffn", OTHER)


def table(result: Mapping[str, Any]) -> str:
    """Everything that people want to read; the JSON has the rest."""
    rows: Sequence[Row] = result["rows"]
    compared = [row for row in rows if TWIN in row["networks"]]
    variants = [row for row in rows if TWIN not in row["networks"]]
    texts = ", ".join(sorted({f"{row['text_tokens']}" for row in rows}))
    lines = [
        f"`{result['preset']}`, random weights, one sampling step with guidance (the network is "
        f"asked {result['batch']} times), {texts} text tokens per encoder; median of "
        f"{result['rounds']} rounds in turn; clock: {result['clock']}. "
        f"{in_words(result['machine'])}. In each cell: {LINGEN} / {TWIN}; a "
        f"ratio is {TWIN} over {LINGEN}.",
        "",
    ]
    lines.append(_compared(compared))
    if any(_twin_is_faster(row) for row in compared):
        lines += [
            "",
            f"A ratio of times below 1 says that the {TWIN} is faster: full attention is cheap for "
            "short clips, and its cost grows with the square of the length.",
        ]
    if any(result["exponents"].values()):
        found = {
            "exponent of the tokens": result["exponents"],
            "cost per second of video, 60 s over 10 s": result["cost_60_s_over_10_s"],
        }
        cells = [[name, *_pair(values, 1, ".2f")] for name, values in found.items()]
        lines += ["", table_of(("", LINGEN, TWIN), cells)]
    for row in variants:
        lines += ["", *_variants(row)]
    lines += ["", _shares(compared)]
    lines += _untimed(rows)
    return "\n".join(lines)


def _twin_is_faster(row: Row) -> bool:
    seconds = row["step_seconds"]
    return {LINGEN, TWIN} <= set(seconds) and bool(seconds[TWIN] < seconds[LINGEN])


def _untimed(rows: Sequence[Row]) -> list[str]:
    """What was not timed, in a line for each reason."""
    found: dict[str, list[str]] = {}
    for row in rows:
        for name, why in row["untimed"].items():
            took = why["expected_seconds"]
            label = f"{row['name']}, {name}" + ("" if took is None else f" ({took:,.0f} s)")
            found.setdefault(why["reason"], []).append(label)
    return [f"\nNot timed, {reason}: {'; '.join(names)}." for reason, names in found.items()]


def _compared(rows: Sequence[Row]) -> str:
    """LinGen / twin in each cell, and how many times as much the twin has or takes; columns of the
    paper only for its rows."""
    has_paper = any(row["paper_seconds_of_50_steps"] for row in rows)
    head = ["video", "tokens", "TFLOPs", "ratio", "s per step", "ratio", "tokens/s", "memory, MiB"]
    head += ["paper: FLOPs", "paper: time"] if has_paper else []
    lines = []
    for row in rows:
        cells = [str(row["name"]), f"{row['tokens']:,}"]
        cells += [_both(row["flops_total"], 1e12, ",.2f"), _ratio(row["flops_total"])]
        cells += [_both(row["step_seconds"], 1, ".3f"), _ratio(row["step_seconds"])]
        cells += [_both(row["tokens_per_second"], 1, ",.0f")]
        cells += [_both(row["memory_bytes"], 2**20, ",.0f")]
        if has_paper:
            ratio = row["paper_flops_ratio"]
            cells += ["-" if ratio is None else f"{ratio:g}"]
            cells += [_ratio(row["paper_seconds_of_50_steps"])]
        lines.append(cells)
    return table_of(head, lines)


def _variants(row: Row) -> list[str]:
    """LinGen without its parts, one after the other (paper.md 4.4)."""
    head = ["", "TFLOPs", "s per step", f"of {LINGEN}"]
    head += [f"paper, s for {PAPER_STEPS} steps", f"of {LINGEN}"]
    rows = []
    seconds, paper = row["step_seconds"], row["paper_seconds_of_50_steps"]
    for name in row["networks"]:
        cells = [name, f"{row['flops_total'][name] / 1e12:,.2f}"]
        cells += [f"{seconds[name]:.3f}" if name in seconds else "-"]
        rows.append([*cells, _ratio(seconds, name), f"{paper[name]:g}", _ratio(paper, name)])
    title = f"LinGen with a part left out, {row['name']}, {row['tokens']:,} tokens:"
    return [title, "", table_of(head, rows)]


def _shares(rows: Sequence[Row]) -> str:
    """What each part has of the FLOPs and of the time."""
    lines = []
    for row in rows:
        for name in row["networks"]:
            for kind in ("FLOPs", "time"):
                if found := _parts(row, name, kind):
                    cells = [f"{100 * found[c]:.1f}" if found.get(c) else "-" for c in COLUMNS]
                    lines.append([f"{row['name']}, {name}, {kind}", *cells])
    return table_of(("share, %", *COLUMNS), lines)


def _pair(values: Mapping[str, float | None], unit: float, form: str) -> list[str]:
    """A cell for each of both; what was not measured is a dash."""
    found = [values.get(name) for name in (LINGEN, TWIN)]
    return ["-" if value is None else format(value / unit, form) for value in found]


def _both(values: Mapping[str, float | None], unit: float, form: str) -> str:
    """One cell for both."""
    return " / ".join(_pair(values, unit, form))


def _ratio(values: Mapping[str, float], name: str = TWIN) -> str:
    """How many times that of LinGen."""
    if name not in values or LINGEN not in values:
        return "-"
    return f"{values[name] / values[LINGEN]:.2f}"


def draw(result: Mapping[str, Any], path: Path) -> Path | None:
    """Time or, where there is none, FLOPs over tokens, and what the parts of LinGen have of it;
    None without matplotlib."""
    if importlib.util.find_spec("matplotlib") is None:
        return None
    from matplotlib.figure import Figure

    rows = [row for row in result["rows"] if TWIN in row["networks"]]
    kind, unit = "step_seconds", "seconds per step"
    if not any(row[kind] for row in rows):
        kind, unit = "flops_total", "FLOPs per step"
    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for name, patch, points in _lines(rows, kind):
        power = result["exponents"][name] if kind == "step_seconds" else None
        label = name + patch + ("" if power is None else f", tokens^{power:.2f}")
        left.plot(*zip(*points, strict=True), marker="o", label=label)
    left.set(xscale="log", yscale="log", xlabel="tokens", ylabel=unit, title=result["preset"])
    left.grid(which="both", alpha=0.3)
    left.legend(fontsize="small")
    shares = "time" if kind == "step_seconds" else "FLOPs"
    below = [0.0] * len(rows)
    for column in COLUMNS:
        heights = [_parts(row, LINGEN, shares).get(column, 0.0) for row in rows]
        if any(heights):
            right.bar([row["name"] for row in rows], heights, bottom=below, label=column)
            below = [a + b for a, b in zip(below, heights, strict=True)]
    right.set(ylabel=f"share of {LINGEN}'s {shares}")
    right.tick_params(axis="x", rotation=60, labelsize="small")
    right.legend(fontsize="x-small", loc="upper left", bbox_to_anchor=(1, 1))
    figure.savefig(path, dpi=120)
    return path


def _lines(rows: Sequence[Row], kind: str) -> Iterator[tuple[str, str, list[tuple[float, float]]]]:
    """Points of each network, and of each patch where there are several."""
    patches = list(dict.fromkeys(tuple(row["patch"]) for row in rows))
    for name in (LINGEN, TWIN):
        for patch in patches:
            points = sorted(
                (row["tokens"], row[kind][name])
                for row in rows
                if tuple(row["patch"]) == patch and name in row[kind]
            )
            if points:
                label = f", patch {patch[1]}x{patch[2]}" if len(patches) > 1 else ""
                yield name, label, points


def _parts(row: Row, network: str, kind: str) -> Mapping[str, float]:
    """The share of each of `COLUMNS` in the FLOPs or the time of a network; none where that was
    not timed."""
    if kind == "time":
        times: Mapping[str, float] = row["time_shares"].get(network, {})
        return times
    whole = row["flops_total"][network]
    flops = row["flops"][network].items()
    found = {part: count / whole for part, count in flops if part in COLUMNS}
    return found | {OTHER: 1 - sum(found.values())}
