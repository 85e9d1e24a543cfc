"""Turns frames the right way up by their display matrix, as players do (media.md 2.1, 2.6)."""

import gc
from dataclasses import dataclass
from typing import Any

import numpy as np
from av.sidedata.sidedata import Type
from av.video.frame import VideoFrame

Image = np.ndarray[Any, np.dtype[np.uint8]]


@dataclass(frozen=True)
class Orientation:
    """First the axes are exchanged, where `swap` says so, then the result is mirrored."""

    swap: bool = False
    mirror_x: bool = False
    mirror_y: bool = False

    def apply(self, image: Image) -> Image:
        """The stored image (H, W, 3) as it is to be seen."""
        if self.swap:
            image = image.swapaxes(0, 1)
        if self.mirror_x:
            image = image[:, ::-1]
        if self.mirror_y:
            image = image[::-1]
        return np.ascontiguousarray(image)

    @property
    def degrees(self) -> int:
        """Clockwise turn, 0 to 270; a mirrored image counts as the turn without its mirror."""
        if self.swap:
            return 90 if self.mirror_x else 270
        return 180 if self.mirror_y else 0


UPRIGHT = Orientation()
_MOST_WAITING = 1 << 27
_waiting = 0
"""Bytes of frames that were asked for their side data. In PyAV 18.1 the two refer to each other, so
that such a frame waits for the garbage collector, whose look at all of a process takes as long as
decoding a short video."""


def orientation_of(frame: VideoFrame) -> Orientation:
    """Ask the first frame only: touching the side data of every frame would keep them alive."""
    try:
        parts: Any = frame.side_data
        part = parts.get(Type.DISPLAYMATRIX)
        matrix = None if part is None else bytes(part)
        del parts, part
    except ValueError:  # PyAV 18.1 has no name for some newer kinds, EXIF for one
        return _from_degrees(frame.rotation)
    finally:
        _let_go(frame.width * frame.height * 4)
    return UPRIGHT if matrix is None else _from_matrix(matrix)


def _let_go(size: int) -> None:
    """Collect garbage, once frames with so many bytes may wait for it."""
    global _waiting
    _waiting += size
    if _waiting > _MOST_WAITING:
        gc.collect()
        _waiting = 0


def _from_matrix(matrix: bytes) -> Orientation:
    """FFmpeg's 3x3 int32 with rows (a, b, .), (c, d, .): x' = a x + c y, y' = b x + d y."""
    (a, b), (c, d) = np.frombuffer(matrix, np.int32).reshape(3, 3)[:2, :2].astype(float)
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return Orientation(mirror_x=bool(a < 0), mirror_y=bool(d < 0))
    return Orientation(swap=True, mirror_x=bool(c < 0), mirror_y=bool(b < 0))


def _from_degrees(counterclockwise: int) -> Orientation:
    turn = counterclockwise % 360
    return {
        90: Orientation(swap=True, mirror_y=True),
        180: Orientation(mirror_x=True, mirror_y=True),
        270: Orientation(swap=True, mirror_x=True),
    }.get(turn, UPRIGHT)
