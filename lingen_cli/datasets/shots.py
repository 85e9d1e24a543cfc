"""Cuts, fades and dissolves between the shots of a video, found in its frames as they come.

A cut is a change that stands out from the changes around it, and that lasts: steady motion, however
fast, changes every frame alike, and a flash goes back to what was there. A dissolve changes colors
that were steady for half a second before it and are steady, but others, after it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from lingen_cli.media.images.orientation import Image

_SIDE = 32
"""Pixels of a side of the small frames that are compared."""
_AROUND = 8
"""Frames on either side with which a cut is compared, and which are steady beside a dissolve."""
_HALF = 12
"""Half of the longest dissolve."""
_PAST = _HALF + _AROUND
DELAY = _HALF + _PAST
"""Frames after which a frame is judged."""
# Mean absolute differences of the small frames, in levels of 255.
_TWITCH = 0.25
_SUDDEN, _SUDDEN_IN_COLOR = 12.0, 3.0
_OTHER_COLORS, _SAME_COLORS = 25.0, 4.0
_STANDS_OUT = 3.0
"""Times the mean of the changes around that a cut is at least, and twice those beside it."""
_BLENDED = 0.2
"""Share of the difference between both ends by which a frame amid a dissolve may differ from their
blend."""
_DARK, _BRIGHT, _FLAT = 16.0, 239.0, 4.0


@dataclass(frozen=True)
class Judged:
    """Facts about a frame: it `begins` a shot; it is `blank`, or between two shots, and belongs to
    none; it `moves`: it is not what the last frame that did shows, but for the noise of codecs."""

    begins: bool
    blank: bool
    moves: bool


@dataclass(frozen=True)
class _Seen:
    """A small frame: its pixels, those of each color in order, and how far both are from those of
    the frame before."""

    pixels: np.ndarray[tuple[int, ...], np.dtype[np.float32]]
    colors: np.ndarray[tuple[int, ...], np.dtype[np.float32]]
    change: float
    color_change: float
    blank: bool


class ShotDetector:
    """Judges the frames of a video, each when `DELAY` more have come."""

    def __init__(self) -> None:
        self._seen: deque[_Seen] = deque()
        self._at = 0
        """Index in `_seen` of the frame that is judged next."""
        self._image: Image | None = None
        self._repeats = 0
        """Frames in which it has been shown again."""
        self._was_blank = False
        self._moved: _Seen | None = None
        """The last frame that moves."""
        self._dissolve: tuple[_Seen, _Seen] | None = None
        """The frames before and after one that is under way."""
        self._left = 0
        """Frames until it is over."""

    def push(self, image: Image) -> Judged | None:
        """Take the next frame, uint8 (h, w, 3), and judge the one `DELAY` before it.

        A frame that is shown again should be the same object again: that is quick.
        """
        self._repeats = self._repeats + 1 if image is self._image else 0
        if self._repeats > DELAY + _PAST and self._at < len(self._seen) - 1:
            return Judged(False, self._was_blank, False)  # all that is compared are the same
        self._seen.append(self._look(image))
        if len(self._seen) - self._at <= DELAY:
            return None
        return self._judge()

    def finish(self) -> Iterator[Judged]:
        """Judge the frames that are left."""
        while self._at < len(self._seen):
            yield self._judge()

    def _look(self, image: Image) -> _Seen:
        import numpy as np
        import PIL.Image

        before = self._seen[-1] if self._seen else None
        if before is not None and image is self._image:
            return _Seen(before.pixels, before.colors, 0.0, 0.0, before.blank)
        self._image = image
        small = PIL.Image.fromarray(np.ascontiguousarray(image))
        side = (_SIDE, _SIDE)
        pixels = np.asarray(small.resize(side, PIL.Image.Resampling.BOX), dtype=np.float32)
        colors = np.sort(pixels.reshape(-1, 3), axis=0)
        mean = float(pixels.mean())
        flat = float(pixels.std()) < _FLAT and (mean < _DARK or mean > _BRIGHT)
        if before is None:
            return _Seen(pixels, colors, 0.0, 0.0, flat)
        change, color_change = _far(pixels, before.pixels), _far(colors, before.colors)
        return _Seen(pixels, colors, change, color_change, flat)

    def _judge(self) -> Judged:
        at = self._at
        here = self._seen[at]
        begins, blank = self._is_cut(at), here.blank and (self._was_blank or self._fades(at))
        if self._left == 0 and self._is_dissolve(at + _HALF):
            self._dissolve = (self._seen[at], self._seen[at + 2 * _HALF])
            self._left = 2 * _HALF
        elif self._dissolve is not None:
            before, after = (_far(here.colors, end.colors) for end in self._dissolve)
            self._left -= 1
            if min(before, after) > _SAME_COLORS and self._left:
                blank = True
            elif after < before:
                begins, self._dissolve = True, None
            if self._left == 0:
                self._dissolve = None
        elif self._left:
            self._left -= 1
        begins = (begins or self._was_blank) and not blank
        self._was_blank = blank
        self._at += 1
        if self._at > _PAST:
            self._seen.popleft()
            self._at -= 1
        moves = self._moved is None or _far(here.pixels, self._moved.pixels) > _TWITCH
        if moves:
            self._moved = here
        return Judged(begins, blank, moves)

    def _fades(self, at: int) -> bool:
        """Tell whether the colors before a blank frame were others: where all that moves has left a
        white scene, they were not."""
        before = self._seen[max(0, at - _AROUND)]
        return at == 0 or _far(self._seen[at].colors, before.colors) >= _OTHER_COLORS

    def _is_cut(self, at: int) -> bool:
        """Tell whether the change to a frame is sudden, stands out, and lasts."""
        here = self._seen[at]
        if at == 0 or not (
            here.change >= _SUDDEN
            or (here.change >= _SUDDEN / 4 and here.color_change >= _SUDDEN_IN_COLOR)
        ):
            return False
        near = range(max(1, at - _AROUND), min(len(self._seen), at + _AROUND + 1))
        # Repeated frames say nothing about motion: a video of 8 per second repeats each one.
        before = [c for i in near if i < at and (c := self._seen[i].change) > _TWITCH]
        after = [c for i in near if i > at and (c := self._seen[i].change) > _TWITCH]
        around = before + after
        if around and here.change < _STANDS_OUT * sum(around) / len(around):
            return False
        beside = [*before[-1:], *after[:1]]
        if beside and here.change < 2 * max(beside):
            return False
        earlier = [self._seen[i] for i in range(max(0, at - 2), at)]
        later = [self._seen[i] for i in range(at, min(len(self._seen), at + 3))]
        lasting = min(_far(one.pixels, other.pixels) for one in earlier for other in later)
        return lasting >= here.change / 2

    def _is_dissolve(self, at: int) -> bool:
        """Tell whether a frame is amid a change between two lots of steady colors, and a blend of
        what is before and after: what moves or grows is no blend."""
        if at < _PAST or at + _PAST >= len(self._seen):
            return False
        if self._seen[at - _HALF].colors is self._seen[at + _HALF].colors:
            return False
        marks = [self._seen[at + step].colors for step in (-_PAST, -_HALF, _HALF, _PAST)]
        if _far(marks[1], marks[2]) < _OTHER_COLORS:
            return False
        if max(_far(marks[0], marks[1]), _far(marks[2], marks[3])) > _SAME_COLORS:
            return False
        before, here, after = (self._seen[at + step].pixels for step in (-_HALF, 0, _HALF))
        way = after - before
        share = float(((here - before) * way).sum() / (way * way).sum())
        if _far(here, before + share * way) > _BLENDED * _far(before, after):
            return False
        return not any(self._is_cut(one) for one in range(at - _HALF, at + _HALF + 1))


def _far(
    one: np.ndarray[tuple[int, ...], np.dtype[np.float32]],
    other: np.ndarray[tuple[int, ...], np.dtype[np.float32]],
) -> float:
    """Mean absolute difference. Of sorted colors it is how far a histogram must be moved to be the
    other."""
    return float(abs(one - other).mean())
