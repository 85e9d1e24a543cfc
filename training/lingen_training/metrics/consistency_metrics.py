"""Consistency of features inside clips and from clip to clip, and their likeness to a prompt."""

from __future__ import annotations

from collections import deque
from typing import Protocol

import torch
from torch import Tensor

from lingen_training.metrics.clip_windows import mean_of
from lingen_training.metrics.seen_frame import SeenFrame

_BATCH = 16


class ImageEncoder(Protocol):
    """A network for images."""

    def prepare(self, image: Tensor) -> Tensor:
        """An image (1, 3, h, w), 0..255 -> (1, 3, H, W) as the network takes it."""

    def features(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, D), of length 1."""


class FeatureMetrics:
    """`NAME_consistency`, `NAME_consistency_across_clips` and, with the features of a prompt (D,),
    `clip_score`. Frames go through the network in batches; memory does not grow with the length.

    Args:
        name: `subject` or `background`.
        encoder: the network.
        length: frames of a clip; 0: the whole video is one.
        consistency: False gives the score of the prompt alone.
        prompt: features of the prompt.
    """

    def __init__(
        self,
        name: str,
        encoder: ImageEncoder,
        length: int,
        *,
        consistency: bool = True,
        prompt: Tensor | None = None,
    ) -> None:
        self._name, self._encoder, self._length = name, encoder, length
        self._consistency, self._prompt = consistency, prompt
        self._waiting: list[Tensor] = []
        self._recent: deque[Tensor] = deque(maxlen=length)
        self._inside: list[float | None] = []
        self._clip = _Chain()
        self._across = _Chain()
        """Of the first frames of all clips that have ended."""
        self._scores: list[float] = []

    def see(self, frame: SeenFrame) -> None:
        """Take in a frame."""
        self._waiting.append(self._encoder.prepare(frame.tensor))
        if len(self._waiting) == _BATCH:
            self._encode()

    def clip_scores(self, clips: list[range]) -> dict[str, list[float | None]]:
        """Score each clip."""
        self._encode()
        scores: dict[str, list[float | None]] = {}
        if self._consistency:
            if len(self._inside) < len(clips):
                self._end_last_clip()
            scores[f"{self._name}_consistency"] = self._inside
        if self._prompt is not None:
            scores["clip_score"] = [mean_of(self._scores[clip.start : clip.stop]) for clip in clips]
        return scores

    def video_scores(self, rate: float) -> dict[str, float | None]:
        """Consistency of the first frames of all clips; `clip_scores` comes first."""
        if not self._consistency:
            return {}
        return {f"{self._name}_consistency_across_clips": self._across.mean()}

    def _encode(self) -> None:
        if not self._waiting:
            return
        for one in self._encoder.features(torch.cat(self._waiting)):
            self._recent.append(one)
            if self._prompt is not None:
                self._scores.append(100 * max(0.0, float(one @ self._prompt)))
            if self._consistency:
                self._add(one)
        self._waiting.clear()

    def _add(self, features: Tensor) -> None:
        self._clip.add(features)
        if self._clip.count == self._length:
            self._end_clip()

    def _end_last_clip(self) -> None:
        """End the clip for which too few frames are left: it begins inside the one before."""
        if self._inside:
            self._clip = _Chain()
            for one in self._recent:
                self._clip.add(one)
        self._end_clip()

    def _end_clip(self) -> None:
        self._inside.append(self._clip.mean())
        self._across.add(self._clip.first)
        self._clip = _Chain()


class _Chain:
    """VBench's consistency: the mean, over all but the first, of the cosines with the first and
    with the one before, neither below 0."""

    def __init__(self) -> None:
        self.count = 0
        self.first = self._before = torch.zeros(0)
        self._sum = 0.0

    def add(self, features: Tensor) -> None:
        """Take in features (D,) of length 1."""
        if not self.count:
            self.first = features
        else:
            cosines = (max(0.0, float(features @ one)) for one in (self.first, self._before))
            self._sum += sum(cosines) / 2
        self.count += 1
        self._before = features

    def mean(self) -> float | None:
        """The consistency, None of fewer than two."""
        return self._sum / (self.count - 1) if self.count > 1 else None
