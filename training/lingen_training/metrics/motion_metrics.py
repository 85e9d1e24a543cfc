"""Flickering, smoothness and amount of motion, from the pixels alone."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from lingen_training.metrics.clip_windows import mean_of
from lingen_training.metrics.frame_statistics import Array
from lingen_training.metrics.optical_flow import middle_flow
from lingen_training.metrics.seen_frame import SHORT_SIDE, Observer, SeenFrame

FLOW_RATE = 8.0
"""Pairs per second whose flow VBench's dynamic degree looks at."""
FLOW_SHARE = 0.05
FLOW_THRESHOLD = 6.0
"""Pixels between two of those frames above which much moves, at a short side of 256."""
_LEVELS = 255.0
_Small = tuple[int, Tensor]
"""Number of a frame, and its pixels at a short side of 256."""


class Flickering(Observer):
    """`temporal_flickering`: (255 - mean absolute error) / 255 of neighboring frames (VBench)."""

    def __init__(self) -> None:
        self._before: Array | None = None
        self._errors: list[float] = []
        """Of each frame against the next."""

    def see(self, frame: SeenFrame) -> None:
        """Compare with the frame before."""
        levels = frame.pixels.astype(np.int16)
        if self._before is not None:
            self._errors.append(float(np.abs(levels - self._before).mean()))
        self._before = levels

    def clip_scores(self, clips: list[range]) -> dict[str, list[float | None]]:
        """Score each clip."""
        errors = [self._errors[clip.start : clip.stop - 1] for clip in clips]
        return {"temporal_flickering": [_likeness(mean_of(one)) for one in errors]}


class FlowMetrics(Observer):
    """`interpolation_smoothness`: odd frames against the middle of their neighbors, which is found
    by optical flow. `flow_dynamic_degree`, `top_flow`: how far the fastest 5% of the pixels go.

    After VBench's motion smoothness and dynamic degree, which use the networks AMT and RAFT.
    """

    def __init__(self, rate: float, *, smoothness: bool = True, dynamics: bool = True) -> None:
        self._smoothness, self._dynamics = smoothness, dynamics
        self._step = max(1, round(rate / FLOW_RATE))
        self._last: list[_Small] = []
        self._sampled: _Small | None = None
        self._errors: dict[int, float] = {}
        self._flows: list[float] = []
        """Of each sampled frame to the next one."""
        self._found: tuple[int, int, Tensor, Tensor] | None = None

    def see(self, frame: SeenFrame) -> None:
        """Compare with the frames before."""
        now = (frame.index, frame.small)
        if self._smoothness:
            if frame.index >= 2 and frame.index % 2 == 0:
                middle = self._flow(self._last[0], now)[1]
                error = (middle.clamp(0, _LEVELS) - self._last[1][1]).abs().mean()
                self._errors[frame.index - 1] = float(error)
            self._last = [*self._last, now][-2:]
        if self._dynamics and frame.index % self._step == 0:
            if self._sampled is not None:
                flow = self._flow(self._sampled, now)[0]
                self._flows.append(top_flow(flow) * SHORT_SIDE / min(flow.shape[-2:]))
            self._sampled = now

    def clip_scores(self, clips: list[range]) -> dict[str, list[float | None]]:
        """Score each clip."""
        scores: dict[str, list[float | None]] = {}
        if self._smoothness:
            found = [
                [self._errors[at] for at in clip[1:-1] if at in self._errors] for clip in clips
            ]
            scores["interpolation_smoothness"] = [_likeness(mean_of(one)) for one in found]
        if self._dynamics:
            flows = [self._flows_in(clip) for clip in clips]
            scores["flow_dynamic_degree"] = [_much_moves(one) for one in flows]
            scores["top_flow"] = [mean_of(one) for one in flows]
        return scores

    def _flow(self, first: _Small, second: _Small) -> tuple[Tensor, Tensor]:
        """Flow and middle of two frames; at 16 frames per second both metrics ask for the same."""
        pair = (first[0], second[0])
        if self._found is None or self._found[:2] != pair:
            with torch.inference_mode():
                self._found = (*pair, *middle_flow(first[1], second[1]))
        return self._found[2:]

    def _flows_in(self, clip: range) -> list[float]:
        """Flows between two sampled frames that both are in a clip."""
        first = -(-clip.start // self._step)
        return self._flows[first : (clip.stop - 1) // self._step]


def top_flow(flow: Tensor) -> float:
    """Mean length of the longest 5% of the vectors of a flow (1, 2, h, w), in pixels."""
    lengths = flow.square().sum(1).sqrt().flatten()
    return float(lengths.topk(max(1, int(lengths.numel() * FLOW_SHARE))).values.mean())


def _much_moves(flows: list[float]) -> float | None:
    """1 where a quarter of the sampled frames move on by more than the threshold (VBench), else 0;
    None without two frames."""
    if not flows:
        return None
    enough = max(1, round(4 * (len(flows) + 1) / 16))
    return float(sum(one > FLOW_THRESHOLD for one in flows) >= enough)


def _likeness(error: float | None) -> float | None:
    return None if error is None else (_LEVELS - error) / _LEVELS
