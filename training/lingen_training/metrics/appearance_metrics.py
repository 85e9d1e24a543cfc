"""Sharpness, and drift of color and sharpness from the begin of a video to its end."""

from __future__ import annotations

import math

import numpy as np

from lingen_training.metrics.clip_windows import mean_of
from lingen_training.metrics.frame_statistics import Array, mean_gradient, mean_lab
from lingen_training.metrics.seen_frame import SeenFrame

END_SECONDS = 5.0
_FLOOR = 1e-3
"""Levels per pixel: a plain image has no edges that could drift."""


class Appearance:
    """`sharpness`: the mean gradient. `color_drift` and `sharpness_drift`: the last 5 s against the
    first 5 s, or the second half against the first in less than 10 s."""

    def __init__(self) -> None:
        self._gradients: list[float] = []
        self._colors: list[Array] = []

    def see(self, frame: SeenFrame) -> None:
        """Measure a frame."""
        self._gradients.append(mean_gradient(frame.levels))
        self._colors.append(mean_lab(frame.levels))

    def clip_scores(self, clips: list[range]) -> dict[str, list[float | None]]:
        """Score each clip."""
        return {"sharpness": [mean_of([self._gradients[at] for at in clip]) for clip in clips]}

    def video_scores(self, rate: float) -> dict[str, float | None]:
        """Drift of the whole video."""
        count = len(self._colors)
        end = min(max(1, round(END_SECONDS * rate)), count // 2)
        if not end:
            return {"color_drift": None, "sharpness_drift": None}
        first, last = np.mean(self._colors[:end], 0), np.mean(self._colors[-end:], 0)
        before = np.mean(self._gradients[:end]) + _FLOOR
        after = np.mean(self._gradients[-end:]) + _FLOOR
        return {
            "color_drift": float(np.linalg.norm(last - first)),
            "sharpness_drift": abs(math.log2(after / before)),
        }
