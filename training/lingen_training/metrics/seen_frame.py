"""A frame of a video, in the sizes in which metrics look at it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from lingen_training.metrics.frame_statistics import Array

SHORT_SIDE = 256
"""Flow, sharpness and color are measured on frames no larger than this; VBench gives the threshold
of its dynamic degree for this size."""


@dataclass(frozen=True)
class SeenFrame:
    """Frame `index` of a video: `pixels` are uint8 RGB (h, w, 3)."""

    index: int
    pixels: np.ndarray[Any, Any]

    @property
    def tensor(self) -> Tensor:
        """(1, 3, h, w), float32, 0..255."""
        return torch.from_numpy(self.pixels.copy()).permute(2, 0, 1)[None].float()

    @cached_property
    def small(self) -> Tensor:
        """(1, 3, h, w), 0..255, scaled down to a short side of `SHORT_SIDE` where it is larger."""
        height, width = self.pixels.shape[:2]
        scale = SHORT_SIDE / min(height, width)
        if scale >= 1:
            return self.tensor
        size = (max(1, round(height * scale)), max(1, round(width * scale)))
        return F.interpolate(self.tensor, size, mode="bilinear", antialias=True)

    @cached_property
    def levels(self) -> Array:
        """`small` as (h, w, 3)."""
        levels: Array = self.small[0].permute(1, 2, 0).numpy()
        return levels


class Observer(Protocol):
    """A metric, or several of one kind, that looks at each frame of a video once, in order."""

    def see(self, frame: SeenFrame) -> None:
        """Take in the next frame."""

    def clip_scores(self, clips: list[range]) -> dict[str, list[float | None]]:
        """Scores of each clip, by metric, after the last frame."""

    def video_scores(self, rate: float) -> dict[str, float | None]:
        """Scores that are of the whole video and no mean over its clips, after the last frame; by
        default none."""
        return {}
