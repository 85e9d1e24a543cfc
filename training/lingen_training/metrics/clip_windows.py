"""Clips of a long video, cut as VBench-Long cuts them."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

CLIP_SECONDS = 2.0


def clip_length(rate: float, seconds: float) -> int:
    """Frames of a clip at `rate` frames per second; VBench-Long drops what is behind the point."""
    return max(2, int(int(rate) * seconds))


def clip_windows(frames: int, length: int) -> list[range]:
    """Frame numbers of each clip of `length` frames.

    The last clip is as long as the others: it begins inside the one before. A video shorter than a
    clip is one clip.
    """
    if frames <= length:
        return [range(frames)]
    begins = list(range(0, frames - length + 1, length))
    if frames % length:
        begins.append(frames - length)
    return [range(begin, begin + length) for begin in begins]


def mean_of(scores: Sequence[float | None]) -> float | None:
    """Mean of the scores that there are, None without any."""
    known = [one for one in scores if one is not None]
    return fmean(known) if known else None
