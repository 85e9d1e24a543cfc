"""`lingen check`: how a video changes over its length."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lingen_cli.commands.options import Videos
from lingen_cli.errors import CheckFailedError, InvalidOptionError, NotAvailableError
from lingen_cli.files.printable import printable
from lingen_cli.terminal import console

if TYPE_CHECKING:
    from lingen_cli.media.drift import Report, Series

_MOST_FRAMES = 9600
"""Frames that are looked at; longer videos are looked at less often."""
_RATE = 16.0


def check(
    videos: Videos,
    max_drift: Annotated[
        float | None, typer.Option(min=0, help="End with exit code 1 when it drifts more.")
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(help="Draw color, sharpness and motion over time, as a PNG.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a JSON object per video instead of a table.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the file named with --plot.")
    ] = False,
) -> None:
    """Measure drift, freezes, loops and seams from the pixels of videos.

    Objects are not looked at: one that vanishes or falls apart is not found here.
    """
    from dataclasses import asdict

    from lingen_cli.media.drift import judge
    from lingen_cli.terminal.each_file import for_each

    if max_drift is not None and max_drift != max_drift:
        raise InvalidOptionError("--max-drift must be a number, not nan")
    if plot is not None:
        from importlib.util import find_spec

        if len(videos) > 1:
            raise InvalidOptionError("--plot is for one video")
        if plot.suffix.lower() != ".png":
            raise InvalidOptionError(f"--plot writes PNG, the name must end in .png: {plot.name!r}")
        if find_spec("matplotlib") is None:
            raise NotAvailableError("--plot needs matplotlib: pip install 'lingen[plots]'")

    def one(video: Path) -> None:
        series = _look(video)
        report = judge(series)
        if plot is not None:
            _draw(series, report, plot, f"{video.name}: drift {report.drift:.2f}", overwrite)
            console.note(f"lingen: drawn in {plot}")
        passed = max_drift is None or report.drift <= max_drift
        if as_json:
            facts = {"path": str(video), "passed": passed, **asdict(report)}
            console.result(json.dumps(facts))
        else:
            console.result(_table(report, video if len(videos) > 1 else None))
        if not passed:
            raise CheckFailedError(f"drift {report.drift:.2f} is above {max_drift:g}: {video}")

    for_each(videos, one)


def _look(path: Path) -> Series:
    import numpy as np

    from lingen_cli.media.drift import BOX, look
    from lingen_cli.media.probe import video_info
    from lingen_cli.media.reader import frames_at

    info = video_info(path)
    own = float(info.fps or _RATE)
    seconds = info.duration or (info.frames or 1) / own
    rate = min(own, _RATE, _MOST_FRAMES / max(seconds, 1e-6))
    count = max(1, int(seconds * rate + 1e-6))
    times = (np.arange(count) + 0.5 * min(1.0, rate / own)) / rate
    return look(frames_at(path, times.tolist(), box=BOX), times)


def _table(report: Report, named: Path | None) -> str:
    """Put what was measured into words, under the name of the video where there are several."""
    from lingen_cli.terminal.tables import columns

    rows = [] if named is None else [("file", printable(named))]
    rows += [
        ("drift", f"{report.drift:.2f}"),
        ("color drift", f"{report.color_drift:.2f} Delta E, first to last 15%"),
        ("sharpness", f"x{report.sharpness_ratio:.2f}, first to last 15%"),
        ("motion", f"{report.motion[0]:.1f} then {report.motion[1]:.1f} levels per second"),
        ("freezes", _some([f"{a:.1f} to {b:.1f} s" for a, b in report.freezes])),
        ("seams", _some([f"{at:.2f} s (x{ratio:.1f})" for at, ratio in report.seams])),
        ("loop", "none" if report.loop is None else f"every {report.loop:.2f} s"),
        ("objects", "not looked at: one that vanishes or falls apart is not found here"),
    ]
    return columns(rows)


def _some(found: list[str]) -> str:
    """The first eight of what was found, and how many more there are."""
    more = f" and {len(found) - 8} more" if len(found) > 8 else ""
    return (", ".join(found[:8]) or "none") + more


def _draw(series: Series, report: Report, path: Path, title: str, overwrite: bool) -> None:
    from matplotlib.figure import Figure

    from lingen_cli.files.work_folder import WorkFolder

    figure = Figure(figsize=(9, 6), layout="constrained")
    color, sharpness, change = figure.subplots(3, 1, sharex=True)
    distance = ((series.color - series.color[0]) ** 2).sum(-1) ** 0.5
    color.plot(series.times, distance, linewidth=0.9)
    color.set(ylabel="color, Delta E\nfrom the first frame", title=title.replace("$", r"\$"))
    sharpness.plot(series.times, series.sharpness, linewidth=0.9)
    sharpness.set(ylabel="sharpness\n(levels per pixel)")
    change.plot(series.times, series.change, linewidth=0.9)
    change.set(ylabel="change\n(levels)", xlabel="seconds")
    for begin, end in report.freezes:
        change.axvspan(begin, end, alpha=0.2, color="tab:blue")
    for at, _ in report.seams:
        change.axvline(at, alpha=0.6, color="tab:red", linewidth=0.8)
    with WorkFolder(path, overwrite=overwrite) as work:
        temporary = work.temporary(".png")
        figure.savefig(temporary, dpi=120)
        work.publish(temporary)
