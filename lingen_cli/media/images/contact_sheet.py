"""A whole video at one glance: a grid of frames with their times."""

import math
from collections.abc import Sequence

import numpy as np

from lingen_cli.media.images.orientation import Image

_GAP = 4
_BACKGROUND, _INK = 24, 230
_GLYPHS = {  # 3 x 5, a row per group
    "0": "111 101 101 101 111", "1": "010 110 010 010 111", "2": "111 001 111 100 111",
    "3": "111 001 111 001 111", "4": "101 101 111 001 001", "5": "111 100 111 001 111",
    "6": "111 100 111 101 111", "7": "111 001 010 010 010", "8": "111 101 111 101 111",
    "9": "111 101 111 001 111", ".": "000 000 000 000 010", ":": "000 010 000 010 000",
    "s": "011 100 010 001 110",
}  # fmt: skip
_GLYPH_HEIGHT = 5


def sheet_times(duration: float, count: int) -> list[float]:
    """The middles of `count` equal parts of `duration` seconds."""
    return [(index + 0.5) * duration / count for index in range(count)]


def contact_sheet(
    frames: Sequence[Image], times: Sequence[float] | None = None, *, columns: int | None = None
) -> Image:
    """uint8 (H, W, 3): the frames (h, w, 3) in reading order, each with its time in seconds below
    it.

    Cells are as large as the largest frame; smaller ones stand centred. Raises ValueError without
    frames or with another number of times.
    """
    if not frames:
        raise ValueError("a contact sheet needs at least one frame")
    if times is not None and len(times) != len(frames):
        raise ValueError(f"{len(times)} times for {len(frames)} frames")
    height, width = max(f.shape[0] for f in frames), max(f.shape[1] for f in frames)
    columns = columns or grid_columns(len(frames), width / height)
    rows = -(-len(frames) // columns)
    scale = max(1, width // 96)
    footer = (_GLYPH_HEIGHT + 2) * scale if times is not None else 0
    cell = (height + footer + _GAP, width + _GAP)
    sheet = np.full((rows * cell[0] + _GAP, columns * cell[1] + _GAP, 3), _BACKGROUND, np.uint8)
    for index, frame in enumerate(frames):
        top = _GAP + index // columns * cell[0]
        left = _GAP + index % columns * cell[1]
        y, x = top + (height - frame.shape[0]) // 2, left + (width - frame.shape[1]) // 2
        sheet[y : y + frame.shape[0], x : x + frame.shape[1]] = frame
        if times is not None:
            label = _label(times[index])[:, : width // scale].repeat(scale, 0).repeat(scale, 1)
            y = top + height + scale
            sheet[y : y + label.shape[0], left : left + label.shape[1]] = label[..., None]
    return sheet


def grid_columns(count: int, aspect: float) -> int:
    """Columns for `count` frames of that aspect (width / height): about 16:9, few empty cells."""
    ideal = math.sqrt(count * 16 / 9 / aspect)
    near = range(max(1, math.floor(ideal) - 1), math.ceil(ideal) + 2)
    return min(near, key=lambda columns: (-count % columns, abs(columns - ideal)))


def _label(seconds: float) -> np.ndarray[tuple[int, int], np.dtype[np.uint8]]:
    """(5, n) image of `7.5s` or `1:07.5`."""
    minutes, rest = divmod(round(seconds, 1), 60)
    text = f"{int(minutes)}:{rest:04.1f}" if minutes else f"{rest:.1f}s"
    columns = ["".join(f"{_GLYPHS[c].split()[row]}0" for c in text) for row in range(_GLYPH_HEIGHT)]
    bits = np.array([[bit == "1" for bit in row] for row in columns])
    return np.where(bits, _INK, _BACKGROUND).astype(np.uint8)
