"""Changes of a video over its length, from its pixels alone: drift, freezes, loops, seams.

Everything is measured on small frames, so that an hour fits in memory. The drift figures compare
the first with the last 15% of the frames (the share that long-video papers report).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from lingen_training.metrics.frame_statistics import Array, mean_gradient, mean_lab

BOX = (160, 160)
"""Frames are scaled to fit this before anything is measured."""
END = 0.15
FREEZE_CHANGE = 0.15
"""Mean absolute change per frame, in 8-bit levels, below which nothing moves."""
FREEZE_SECONDS = 0.5
SEAM_RATIO = 4.0
SEAM_LEVELS = 4.0
"""A seam is a change this many times what is usual around it, and at least this many levels."""
LOOP_SECONDS = 1.0
LOOP_SHARE = 0.15
"""A loop repeats itself to within this share of how much frames differ at other distances."""
SHARPNESS_WEIGHT = 10.0
_THUMB = 16
_LOOP_FRAMES = 1200
_SEAM_REACH = 12


@dataclass(frozen=True)
class Series:
    """One number per looked-at frame. `times` in seconds; `color` (n, 3) mean CIE L*a*b*;
    `sharpness` the mean gradient in levels per pixel; `change` from the frame before, in 8-bit
    levels, 0 for the first; `thumbs` (n, 768) tiny images for the search for loops."""

    times: Array
    color: Array
    sharpness: Array
    change: Array
    thumbs: Array


@dataclass(frozen=True)
class Report:
    """`drift` is the larger of `color_drift` (CIE76 Delta E) and ten times the doublings or
    halvings of sharpness. `motion` is the mean change per second at the two ends, in levels.
    `freezes` and `seams` in seconds; `loop` is the period of the closest repetition, if any."""

    drift: float
    color_drift: float
    sharpness_ratio: float
    motion: tuple[float, float]
    freezes: tuple[tuple[float, float], ...]
    seams: tuple[tuple[float, float], ...]
    """Time, and how many times the usual change it is."""
    loop: float | None


def look(frames: Iterable[Array], times: Array) -> Series:
    """Measure uint8 (h, w, 3) frames shown at `times`."""
    color, sharpness, change, thumbs = [], [], [], []
    before: Array | None = None
    for frame in frames:
        levels = frame.astype(np.float32)
        color.append(mean_lab(levels))
        sharpness.append(mean_gradient(levels))
        change.append(0.0 if before is None else float(np.abs(levels - before).mean()))
        thumbs.append(_thumb(levels))
        before = levels
    return Series(
        times=np.asarray(times)[: len(color)],
        color=np.asarray(color),
        sharpness=np.asarray(sharpness),
        change=np.asarray(change),
        thumbs=np.asarray(thumbs, dtype=np.float32),
    )


def judge(series: Series) -> Report:
    """The figures of a whole video."""
    count = len(series.times)
    end = max(1, round(END * count))
    first, last = slice(0, end), slice(count - end, count)
    color = float(np.linalg.norm(series.color[last].mean(0) - series.color[first].mean(0)))
    floor = 1e-3  # a plain image has no edges that could drift
    sharp = [float(series.sharpness[part].mean()) + floor for part in (first, last)]
    ratio = sharp[1] / sharp[0]
    rate = _rate(series.times)
    moves = series.change[1:] if count > 1 else series.change
    motion = (float(moves[:end].mean() * rate), float(moves[-end:].mean() * rate))
    return Report(
        drift=max(color, SHARPNESS_WEIGHT * abs(math.log2(ratio))),
        color_drift=color,
        sharpness_ratio=ratio,
        motion=motion,
        freezes=tuple(_freezes(series)),
        seams=tuple(_seams(series)),
        loop=_loop(series),
    )


def _freezes(series: Series) -> list[tuple[float, float]]:
    """Stretches of at least half a second in which nothing moves."""
    still = np.concatenate(([False], series.change[1:] < FREEZE_CHANGE, [False]))
    edges = np.flatnonzero(np.diff(still))  # where stillness begins, and ends, by turns
    spans = series.times[edges].reshape(-1, 2).tolist()
    return [(begin, end) for begin, end in spans if end - begin >= FREEZE_SECONDS]


def _seams(series: Series) -> list[tuple[float, float]]:
    """Moments at which far more changes than around them."""
    found = []
    change = series.change
    for index in range(1, len(change)):
        around = np.concatenate(
            (
                change[max(1, index - _SEAM_REACH) : index],
                change[index + 1 : index + 1 + _SEAM_REACH],
            )
        )
        usual = float(np.median(around)) if len(around) else 0.0
        if change[index] >= SEAM_LEVELS and change[index] > SEAM_RATIO * max(usual, FREEZE_CHANGE):
            ratio = float(change[index]) / max(usual, FREEZE_CHANGE)
            found.append((float(series.times[index]), ratio))
    return found


def _loop(series: Series) -> float | None:
    """The period after which the image comes back for the rest of the video, if there is one."""
    step = -(-len(series.times) // _LOOP_FRAMES)
    thumbs, rate = series.thumbs[::step], _rate(series.times) / step
    shortest, longest = math.ceil(LOOP_SECONDS * rate), len(thumbs) // 2
    if longest < max(2, shortest) or series.change.mean() < FREEZE_CHANGE:
        return None
    lags = np.arange(1, longest + 1)
    apart = np.array([np.abs(thumbs[lag:] - thumbs[:-lag]).mean() for lag in lags])
    usual = float(np.median(apart))
    closest = [lag for lag in lags if lag >= shortest and apart[lag - 1] < LOOP_SHARE * usual]
    return float(closest[0] / rate) if closest else None


def _rate(times: Array) -> float:
    return float((len(times) - 1) / (times[-1] - times[0])) if len(times) > 1 else 1.0


def _thumb(levels: Array) -> Array:
    """(h, w, 3) -> 16 x 16 block means, flat."""
    height, width = (min(side, _THUMB) for side in levels.shape[:2])
    rows = np.add.reduceat(levels, np.arange(height) * levels.shape[0] // height, axis=0)
    cells = np.add.reduceat(rows, np.arange(width) * levels.shape[1] // width, axis=1)
    small: Array = cells / (levels.shape[0] * levels.shape[1] / (height * width))
    return small.reshape(-1)
