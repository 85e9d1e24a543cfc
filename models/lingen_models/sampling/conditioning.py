"""Inputs that steer what is sampled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from lingen_models.sampling.layout import Layout


@dataclass(frozen=True)
class Conditioning:
    """Prompt, images and layout of one sampled part of a video.

    A pipeline raises ValueError, or NotImplementedError if it never can, for what it cannot use.
    """

    prompt: str
    first_frame: Tensor | None = None
    """Image that a new video begins with, uint8 (H, W, 3)."""
    last_frame: Tensor | None = None
    """Image that the part ends in, uint8 (H, W, 3)."""
    layout: Layout | None = None
    """Places of the objects, in frames from the begin of the video."""
    fade: tuple[str, int] | None = None
    """Prompt of the part before, and the latent frames in which it gives way to this one's."""
    video: Tensor | None = None
    """Frames that those of a new video are made from, one for each, uint8 (T, H, W, 3)."""
    fresh: bool = False
    """True for a cut: the latent frames before are not seen."""
