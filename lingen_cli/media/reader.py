"""Decoded RGB frames of an untrusted video at chosen times, in constant memory (media.md 2)."""

from collections.abc import Callable, Iterable, Iterator, Sequence

import av
from av.video.frame import VideoFrame
from av.video.reformatter import (
    ColorPrimaries,
    ColorRange,
    ColorTrc,
    Interpolation,
    VideoReformatter,
)

from lingen_cli.errors import BadDataError
from lingen_cli.files.printable import printable
from lingen_cli.files.tar_members import InputFile
from lingen_cli.media.colors import matrix_of
from lingen_cli.media.images.orientation import Image, Orientation, orientation_of
from lingen_cli.media.images.resize import Fit
from lingen_cli.media.open import MAX_PIXELS, InputVideo, open_video, packets_of

MAX_DAMAGED = 64  # packets that may fail to decode
_SEEK_SECONDS = 8.0  # nearer frames are reached sooner by decoding on
_HDR = frozenset({ColorTrc.SMPTE2084, ColorTrc.ARIB_STD_B67})


def frames_at(
    path: InputFile,
    times: Iterable[float],
    *,
    box: tuple[int, int] | None = None,
    fit: Fit | None = None,
    on_damage: Callable[[int], None] = lambda count: None,
) -> Iterator[Image]:
    """Yield the frames on screen at each of `times` (ascending, seconds from the start), upright,
    uint8 (h, w, 3).

    Every image is scaled down to fit `box` (width, height) in its right proportions, or brought
    to one size by `fit`; one of the two is given. Yields one image per time; a time past the end
    gives the last frame. Damaged packets are stepped over; `on_damage` hears at last how many.
    Raises like `open_video`, and BadDataError (65) when too many are damaged or nothing can be
    decoded.
    """
    with open_video(path) as video:
        reader = _Reader(video)
        scaler = _Scaler(box, fit)
        for time in times:
            yield scaler.image(reader.frame_at(time))
        if reader.damaged:
            on_damage(reader.damaged)


def resampled(
    path: InputFile,
    rate: int,
    stretch: tuple[float, float],
    fits: Sequence[Fit],
    *,
    on_damage: Callable[[int], None] = lambda count: None,
) -> Iterator[tuple[Image, ...]]:
    """Yield the frames on screen `rate` times a second, upright, each brought to size by every one
    of `fits`, from one second to before another; no more where the video ends.

    A frame that is shown again is the same object again. Damage is met, and told, as by
    `frames_at`. Raises like it.
    """
    begin, end = stretch
    with open_video(path) as video:
        reader = _Reader(video)
        scalers = [_Scaler(None, fit) for fit in fits]
        shown: VideoFrame | None = None
        images: tuple[Image, ...] = ()
        number = 0
        while (time := begin + number / rate) < end - 1e-6:
            frame = reader.frame_at(time)
            if reader.is_over(time):
                break
            if frame is not shown:
                shown, images = frame, tuple(scaler.image(frame) for scaler in scalers)
            yield images
            number += 1
        if reader.damaged:
            on_damage(reader.damaged)


def every_frame(
    path: InputFile, *, on_damage: Callable[[int], None] = lambda count: None
) -> Iterator[Image]:
    """Yield all frames in order, upright, uint8 (h, w, 3), in the size of the first.

    Damage is met, and told, as by `frames_at`. Raises like it.
    """
    with open_video(path) as video:
        reader = _Reader(video)
        scaler = _Scaler((MAX_PIXELS, MAX_PIXELS), None)
        sized = False
        for frame in reader.frames():
            image = scaler.image(frame)
            if not sized:
                size = (image.shape[1], image.shape[0])
                scaler = _Scaler(None, Fit(name="stretch", seen=size, size=size))
                sized = True
            yield image
        if not sized:
            raise BadDataError(f"video has no readable frame: {printable(path)}")
        if reader.damaged:
            on_damage(reader.damaged)


def first_frame(video: InputVideo) -> VideoFrame:
    """The first frame that decodes. Raises BadDataError (65)."""
    return _Reader(video).frame_at(0.0)


class _Reader:
    """Walks forward through a video, holding the frame on screen and the one after it."""

    def __init__(self, video: InputVideo) -> None:
        self._video = video
        self.damaged = 0
        self._may_seek = True
        stream = video.stream
        self._step = float(1 / (stream.guessed_rate or 25))
        base = stream.time_base
        self._start = float(stream.start_time * base) if stream.start_time and base else 0.0
        self._time = 0.0
        self._restart(0.0)

    def frame_at(self, time: float) -> VideoFrame:
        if self._may_seek and time - self._next_time > _SEEK_SECONDS:
            self._seek(time)
        while self._next is not None and (self._current is None or self._next_time <= time + 1e-6):
            self._advance()
        if self._current is None:
            raise BadDataError(f"video has no readable frame: {printable(self._video.path)}")
        return self._current

    def is_over(self, time: float) -> bool:
        """Tell whether the last frame has been on screen for as long as a frame is."""
        return self._next is None and time > self._time + self._step - 1e-6

    def frames(self) -> Iterator[VideoFrame]:
        """Yield this frame and all after it."""
        while self._next is not None:
            self._advance()
            if self._current is not None:
                yield self._current

    def _restart(self, time: float) -> None:
        self._frames = self._decode()
        self._current: VideoFrame | None = None
        self._next: VideoFrame | None = None
        self._next_time = time - self._step
        self._fetch()

    def _seek(self, time: float) -> None:
        """Jump to the key frame before `time`; never again when that leads backwards or fails."""
        stream, reached = self._video.stream, self._next_time
        if not stream.time_base:
            return
        held = self._current
        try:
            offset = int((time + self._start) / stream.time_base)
            self._video.container.seek(offset, stream=stream, backward=True)
        except av.FFmpegError:  # a damaged index gives a bare -1: "permission denied" in PyAV
            self._may_seek = False
            return
        self._restart(time)
        self._may_seek = self._next is not None and self._next_time > reached
        self._current = held if self._next is None else None

    def _advance(self) -> None:
        self._current, self._time = self._next, self._next_time
        self._fetch()

    def _fetch(self) -> None:
        self._next = next(self._frames, None)
        if self._next is not None:
            moment = self._next.time
            on_grid = self._next_time + self._step
            self._next_time = on_grid if moment is None else moment - self._start
            self._may_seek = self._may_seek and moment is not None

    def _decode(self) -> Iterator[VideoFrame]:
        for packet in packets_of(self._video.container, self._video.stream):
            try:
                frames = packet.decode()
            except (av.FFmpegError, MemoryError) as error:
                self.damaged += 1
                if self.damaged > MAX_DAMAGED:
                    shown = printable(self._video.path)
                    raise BadDataError(f"too many damaged packets: {shown}") from error
                continue
            for frame in frames:
                if frame.width * frame.height > MAX_PIXELS:
                    size = f"{frame.width}x{frame.height}"
                    shown = printable(self._video.path)
                    raise BadDataError(f"frame size {size} is above the limit: {shown}")
                yield frame


class _Scaler:
    """Decoded frame -> upright RGB of the size wanted, colors and size in one pass."""

    def __init__(self, box: tuple[int, int] | None, fit: Fit | None) -> None:
        self._box, self._fit = box, fit
        self._orientation: Orientation | None = None
        self._reformatter = VideoReformatter()

    def image(self, frame: VideoFrame) -> Image:
        if self._orientation is None:
            self._orientation = orientation_of(frame)
        swap = self._orientation.swap
        box = self._fit.scaled if self._fit is not None else self._box
        assert box is not None
        width, height = box[::-1] if swap else box
        if self._fit is None:
            width, height = fit_box(frame.width, frame.height, (width, height))
        tone_mapped = frame.color_trc in _HDR
        source = None
        if frame.colorspace == 2:  # unspecified
            source = matrix_of(frame.height)
        rgb = self._reformatter.reformat(
            frame,
            width=width,
            height=height,
            format="rgb24",
            src_colorspace=source,
            interpolation=Interpolation.BICUBIC,
            dst_color_range=ColorRange.JPEG,
            dst_color_trc=ColorTrc.IEC61966_2_1 if tone_mapped else None,
            dst_color_primaries=ColorPrimaries.BT709 if tone_mapped else None,
            threads=1,
        )
        image = self._orientation.apply(rgb.to_ndarray().astype("uint8", copy=False))
        return image if self._fit is None else self._fit.into(image)


def fit_box(width: int, height: int, box: tuple[int, int]) -> tuple[int, int]:
    """The largest size inside `box` with these proportions, never larger than the original."""
    scale = min(box[0] / width, box[1] / height, 1.0)
    return max(1, round(width * scale)), max(1, round(height * scale))
