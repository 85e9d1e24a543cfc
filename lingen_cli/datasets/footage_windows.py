"""Windows of footage: what a stretch of a video is cut into, shot by shot, in the frames of its
targets, with no more frames in memory than two windows have."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lingen_cli.datasets.footage import FPS
from lingen_cli.datasets.prepare_plan import Options, Size, Stretch, Target, frames_of
from lingen_cli.datasets.shots import Judged, ShotDetector
from lingen_cli.errors import LingenError

if TYPE_CHECKING:
    from lingen_cli.media.images.orientation import Image

_MISSED = 0.5
"""Seconds that a file may be shorter than it says."""


@dataclass(frozen=True)
class Window:
    """Frames of a clip of a target, as many as `kept` latent frames stand for. Its `shot` and
    itself begin at these seconds of the file, and `seconds` of it are not in the window before."""

    target: int
    size: Size
    kept: int
    shot: float
    begin: float
    seconds: float
    frames: list[Image]


@dataclass(frozen=True)
class LeftOut:
    """A stretch of a file that is in no clip, in seconds, and why."""

    file: str
    begin: float
    end: float
    why: str


def windows_of(
    stretch: Stretch, file: str, options: Options, time_stride: int, left_out: list[LeftOut]
) -> Iterator[Window]:
    """Yield the windows of a stretch of footage; what is in none is added to `left_out`, under the
    name `file`. Damage ends a stretch, and what is before it is used."""
    clip = stretch.clip
    shots = _Shots(stretch, file, options, time_stride, left_out)
    try:
        if clip.seconds is None:
            yield from _of_image(stretch, options, time_stride)
        else:
            yield from shots.windows()
    except LingenError as error:
        yield from shots.close()
        left_out.append(LeftOut(file, shots.second, stretch.end, str(error)))


def _of_image(stretch: Stretch, options: Options, time_stride: int) -> Iterator[Window]:
    from lingen_cli.media.images.image_files import fit_image, read_image

    clip = stretch.clip
    image = read_image(clip.path)
    for number, target in enumerate(options.targets):
        size = target.size_of(clip.width, clip.height)
        kept = target.length_of(None, time_stride).kept
        frames = [fit_image(image, *size)] * frames_of(kept, time_stride)
        yield Window(number, size, kept, 0.0, 0.0, 0.0, frames)


class _Shots:
    """The shots of a stretch, in which each target gathers windows of its own."""

    def __init__(
        self,
        stretch: Stretch,
        file: str,
        options: Options,
        time_stride: int,
        left_out: list[LeftOut],
    ) -> None:
        self._stretch, self._file = stretch, file
        self._options, self._left_out = options, left_out
        shape = (stretch.clip.width, stretch.clip.height)
        self._targets = [
            _Gathered(number, target, target.size_of(*shape), time_stride)
            for number, target in enumerate(options.targets)
        ]
        self._waiting: deque[tuple[Image, ...]] = deque()
        self._detector = ShotDetector()
        self._pending: list[Window] = []
        """Windows of a shot that is not yet as long as it must be."""
        self._read = self._judged = self._begin = self._blank = 0
        """Frames that came from the file, and that were judged; the first one of the shot; those
        before the present one that belong to none."""

    @property
    def second(self) -> float:
        """Seconds of the file that have been read."""
        return self._second(self._read)

    def windows(self) -> Iterator[Window]:
        """Read the stretch to its end. Raises as `resampled`."""
        from lingen_cli.media.images.resize import Fit
        from lingen_cli.media.reader import resampled

        stretch, clip = self._stretch, self._stretch.clip
        seen = (clip.width, clip.height)
        fits = [Fit(name="crop", seen=seen, size=one.size) for one in self._targets]
        damaged: list[int] = []
        span = (stretch.begin, stretch.end)
        for images in resampled(clip.path, FPS, span, fits, on_damage=damaged.append):
            self._read += 1
            self._waiting.append(images)
            judged = self._detector.push(images[0])
            if judged is not None:
                yield from self._take(judged)
        yield from self.close()
        if damaged:
            self._leave_out(0, self._read, f"{damaged[0]} damaged packets in it")
        if stretch.end - self.second > _MISSED:
            end = LeftOut(self._file, self.second, stretch.end, "the file ends before")
            self._left_out.append(end)

    def close(self) -> Iterator[Window]:
        """Yield what is left of the frames that were read."""
        for judged in self._detector.finish():
            yield from self._take(judged)
        self._end_blank()
        yield from self._end_shot()

    def _take(self, judged: Judged) -> Iterator[Window]:
        images = self._waiting.popleft()
        if self._options.cut and judged.blank:
            if not self._blank:
                yield from self._end_shot()
            self._blank += 1
            self._judged += 1
            return
        self._end_blank()
        if self._options.cut and judged.begins:
            yield from self._end_shot()
        self._judged += 1
        second = self._second(self._judged - 1)
        for gathered, image in zip(self._targets, images, strict=True):
            self._pending += gathered.add(image, judged.moves, second)
        if not self._is_short:
            yield from self._flush()

    def _end_shot(self) -> Iterator[Window]:
        short, still = self._is_short, 0
        for gathered in self._targets:
            self._pending += gathered.finish()
            still, gathered.still = max(still, gathered.still), 0
        if short:
            self._pending = []
            why = f"shots shorter than {self._options.min_seconds:g} s"
            self._leave_out(self._begin, self._judged, why)
        elif still:
            self._leave_out(self._judged - still, self._judged, "stands still")
        yield from self._flush()
        self._begin = self._judged

    def _end_blank(self) -> None:
        self._leave_out(self._judged - self._blank, self._judged, "blank, or between two shots")
        self._begin, self._blank = (self._judged, 0) if self._blank else (self._begin, 0)

    @property
    def _is_short(self) -> bool:
        return (self._judged - self._begin) / FPS < self._options.min_seconds - 1e-6

    def _flush(self) -> Iterator[Window]:
        yield from self._pending
        self._pending = []

    def _leave_out(self, first: int, last: int, why: str) -> None:
        if last > first:
            span = (self._second(first), self._second(last))
            self._left_out.append(LeftOut(self._file, *span, why))

    def _second(self, frame: int) -> float:
        return round(self._stretch.begin + frame / FPS, 4)


class _Gathered:
    """Frames of a shot in the size of a target, until they fill a window.

    Windows follow one another without a gap; the last one of a shot may begin earlier, where half
    of it is new. Where nothing moves, only the first window of a shot is taken.
    """

    def __init__(self, number: int, target: Target, size: Size, time_stride: int) -> None:
        self.number, self.target, self.size = number, target, size
        self.still = 0
        """Frames of the shot that are left out, since nothing moves."""
        self._stride = time_stride
        longest = target.lengths[-1].kept
        self._most, self._step = frames_of(longest, time_stride), self._step_of(longest)
        self._begin()

    def _begin(self) -> None:
        self._held: list[tuple[Image, bool, float]] = []
        """The last frames, whether each moves, and its second."""
        self._used = 0
        """Frames of those that are in a window already."""
        self._any = False
        """The shot has a window."""
        self._shot = 0.0
        """Second with which it begins."""

    def _step_of(self, kept: int) -> int:
        """Frames from one window to the next: a second where windows are single frames."""
        return frames_of(kept, self._stride) if kept > 1 else FPS

    def add(self, image: Image, moves: bool, second: float) -> list[Window]:
        """Take a frame; returns a window when one is full."""
        if not self._held:
            self._shot = second
        self._held.append((image, moves, second))
        if len(self._held) - self._used < self._step:
            return []
        found = self._window(self._used, len(self._held), self.target.lengths[-1].kept)
        del self._held[: -self._most]
        self._used = len(self._held)
        return found

    def finish(self) -> list[Window]:
        """End the shot; returns the windows that are left in it."""
        total, kept = len(self._held), self.target.lengths[-1].kept
        if not self._any:
            kept = self.target.length_of(total, self._stride).kept
        count, step = frames_of(kept, self._stride), self._step_of(kept)
        found: list[Window] = []
        if total and not self._any:
            found += self._window(0, min(step, total), kept)
        while total - self._used >= step:
            found += self._window(self._used, self._used + step, kept)
        if self._any and total - self._used >= step // 2:
            found += self._window(max(0, total - count), total, kept)
        self._begin()
        return found

    def _window(self, at: int, until: int, kept: int) -> list[Window]:
        """The window from `at` on, with all frames before `until` that are in none; an empty list
        where nothing moves in those."""
        new, self._used = self._held[self._used : until], until
        if self._any and not any(moves for _, moves, _ in new):
            self.still += len(new)
            return []
        self._any = True
        count = frames_of(kept, self._stride)
        frames = [image for image, _, _ in self._held[at : at + count]]
        frames += [frames[-1]] * (count - len(frames))
        second, seconds = self._held[at][2], len(new) / FPS
        return [Window(self.number, self.size, kept, self._shot, second, seconds, frames)]
