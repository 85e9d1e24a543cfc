"""Size, rate, length and encoding of a video file, whoever made it (media.md 2)."""

import hashlib
import os
import shlex
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av

from lingen_cli.errors import BadDataError
from lingen_cli.files.open_file import open_file
from lingen_cli.files.printable import printable
from lingen_cli.files.tar_members import InputFile
from lingen_cli.media.avc_headers import AvcHeaders, HeaderError
from lingen_cli.media.images.orientation import UPRIGHT, Orientation, orientation_of
from lingen_cli.media.open import InputVideo, fraction, open_video, packets_of
from lingen_cli.media.reader import first_frame
from lingen_cli.media.writer import PIXEL_FORMAT

_PART = 1 << 20  # bytes at either end that tell one file from another
_LOOK_BACK = (4.0, 30.0, 240.0)  # seconds before the end at which its last packets are looked for
_SLACK = 0.5  # seconds by which a container may say more than there is
_NEARLY = Fraction(1, 100)
_COMMON_RATE = 25
MAX_RATE = 240
"""Frames per second of a video that lingen goes on with, as of one that it makes."""
_EASY_RATE = 30
"""Grids up to this rate are taken for varying ones, however much finer they are."""
_MANY_FRAMES = 1_000_000
_FRAMES_PER_PACKET = 100
_MICROSECONDS = 1_000_000  # libav's unit for the duration of a container


@dataclass(frozen=True, kw_only=True)
class VideoInfo:
    """`width` and `height` are as seen, after `rotation` (degrees clockwise); None: unknown, or
    without sound."""

    width: int
    height: int
    fps: Fraction | None
    frames: int | None
    duration: float | None
    rotation: int
    codec: str
    sound: str | None = None
    """Codec, rate and channels of the first track of sound."""


def video_info(path: InputFile) -> VideoInfo:
    """Decodes one frame. Raises like `open_video`, and BadDataError (65) without any frame."""
    with open_video(path) as video:
        stream = video.stream
        orientation = orientation_of(first_frame(video))
        size = (stream.width, stream.height)
        width, height = size[::-1] if orientation.swap else size
        return VideoInfo(
            width=width,
            height=height,
            fps=fraction(stream.average_rate or stream.guessed_rate),
            frames=stream.frames or None,
            duration=duration(video),
            rotation=orientation.degrees,
            codec=stream.codec_context.name,
            sound=_sound(video),
        )


def _sound(video: InputVideo) -> str | None:
    track = next(iter(video.container.streams.audio), None)
    context = None if track is None else track.codec_context
    if context is None:
        return None
    return f"{context.codec.canonical_name}, {context.sample_rate} Hz, {context.layout.name}"


def duration(video: InputVideo) -> float | None:
    """Seconds, from the video stream or else from the container."""
    stream = video.stream
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    whole = video.container.duration
    return whole / _MICROSECONDS if whole and whole > 0 else None


@dataclass(frozen=True, kw_only=True)
class ForeignVideo:
    """`width` and `height` are as seen, in square pixels; `frames` are those at `rate`.

    `headers` is a free number for parameter sets beside those of the file, whose packets can be
    copied, or 0 where they cannot, and `why_not` says why. `missing` is how many seconds the file
    is shorter than it says. `other_rate` says why `rate` is not its own, if it is not.
    """

    path: Path
    width: int
    height: int
    rate: Fraction
    frames: int
    headers: int
    why_not: str
    missing: float
    other_rate: str


def examine(path: Path) -> ForeignVideo:
    """Read the header, the first frame and the last packets.

    Raises like `open_video`, and BadDataError (65) for few images that are to last for days.
    """
    with open_video(path) as video:
        orientation = orientation_of(first_frame(video))
        width, height = _seen_size(video, orientation)
        rate, other_rate = frame_rate(video)
        said = duration(video)
        of_all = not video.stream.duration
        headers, why_not = _free_headers(video, upright=orientation == UPRIGHT)
        if other_rate and not why_not:
            headers, why_not = 0, "its images are timed anew"
    end = _end(path, said, rate)
    missing = 0.0 if said is None else said - float(end)
    if said is not None and missing > _SLACK and of_all:  # then what is longer may be the sound
        missing = said - _end_of_all(path, float(end))
    frames = max(1, round(end * rate))
    if frames > _MANY_FRAMES and frames > _FRAMES_PER_PACKET * (packets := _packets(path)):
        raise BadDataError(
            f"{packets} images in {float(end):.0f} s would be {frames} frames; cut it first, "
            f"such as: ffmpeg -i {shlex.quote(printable(path))} -t 60 cut.mp4"
        )
    return ForeignVideo(
        path=path,
        width=width,
        height=height,
        rate=rate,
        frames=frames,
        headers=headers,
        why_not=why_not,
        missing=missing if missing > max(_SLACK, 2 / float(rate)) else 0.0,
        other_rate=other_rate,
    )


def end_is_whole(path: Path, begin: float) -> bool:
    """Tell whether every image decodes from the key frame before `begin` (seconds) to the end.

    A decoder may drop a damaged one in silence.
    """
    sent: set[int | None] = set()
    shown: list[int | None] = []
    try:
        with open_video(path) as video:
            base = video.stream.time_base
            offset = (video.stream.start_time or 0) + int(begin / (base or 1))
            video.container.seek(offset, stream=video.stream, backward=True)
            for packet in video.container.demux(video.stream):
                if packet.size:
                    sent.add(packet.pts)
                shown += [frame.pts for frame in packet.decode()]
    except BadDataError:
        return False
    if not sent and begin > 0:  # no index of key frames leads there
        return end_is_whole(path, 0.0)
    # Images before the first that is shown belong to the key frame before.
    first = shown[0] if shown else None
    return first is not None and {at for at in sent if at is None or at >= first} == set(shown)


def seen_size(path: Path) -> tuple[int, int]:
    """Width and height as seen, in square pixels. Raises like `open_video`."""
    with open_video(path) as video:
        return _seen_size(video, orientation_of(first_frame(video)))


def fingerprint(path: InputFile) -> str:
    """SHA-256 of the size and of the first and the last MiB: quick even for hours of video."""
    with open_file(path) as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        digest = hashlib.sha256(str(size).encode())
        digest.update(file.read(_PART))
        file.seek(max(0, size - _PART))
        digest.update(file.read(_PART))
    return digest.hexdigest()


def frame_rate(video: InputVideo) -> tuple[Fraction, str]:
    """Frames per second of a constant rate; else of the grid that the images are put on, and
    why."""
    stream = video.stream
    average, guessed = fraction(stream.average_rate), fraction(stream.guessed_rate)
    for own in (average, guessed):
        if own and guessed and own >= 1 and abs(own / guessed - 1) < _NEARLY:
            rate = own = own.limit_denominator(1001)
            while rate > MAX_RATE:
                rate /= 2
            if rate == own:
                return rate, ""
            some = f"{own / rate} images become one"
            return rate, f"its {float(own):g} per second are more than {MAX_RATE}: {some}"
    rate = Fraction(_COMMON_RATE)
    if average and 1 <= average <= MAX_RATE:
        rate = Fraction(round(average))
        if guessed and average < guessed <= max(Fraction(_EASY_RATE), 2 * average):
            rate = guessed.limit_denominator(1001)
    return rate, f"they come at no constant rate, or at less than one per second: {rate} are shown"


def _seen_size(video: InputVideo, orientation: Orientation) -> tuple[int, int]:
    stream = video.stream
    shape = stream.sample_aspect_ratio or Fraction(1)
    size = (max(1, round(stream.width * shape)), stream.height)
    return size[::-1] if orientation.swap else size


def _free_headers(video: InputVideo, upright: bool) -> tuple[int, str]:
    """A free number for the headers of new packets; 0 where they cannot follow those of this
    stream, and why."""
    stream, context = video.stream, video.stream.codec_context
    if context.name != "h264":
        return 0, f"its codec is {context.name}"
    if context.pix_fmt != PIXEL_FORMAT:
        return 0, f"its pixels are {context.pix_fmt}"
    if not upright:
        return 0, "it is turned"
    if stream.width % 2 or stream.height % 2:
        return 0, "its size is odd"
    if stream.sample_aspect_ratio not in (None, 0, 1):
        return 0, "its pixels are not square"
    try:
        return AvcHeaders.parse(bytes(context.extradata or b"")).free_number(), ""
    except HeaderError as error:
        return 0, str(error)


def _end(path: Path, said: float | None, rate: Fraction) -> Fraction:
    """When the last frame ends, in seconds from the first, by the packets that are there."""
    for back in _LOOK_BACK:
        if said is None or said <= back:
            break
        with open_video(path) as video:
            found = _last(video, said - back, rate)
        if found is not None:
            return found
    with open_video(path) as video:
        return _last(video, None, rate) or 1 / rate


def _last(video: InputVideo, begin: float | None, rate: Fraction) -> Fraction | None:
    """When the last frame ends among the packets after `begin` (None: of all), None without any.

    It lasts a frame of `rate`, or longer where its packet says so: slides, time lapses.
    """
    stream = video.stream
    assert stream.time_base
    start = stream.start_time or 0
    if begin is not None:
        try:
            offset = start + int(begin / stream.time_base)
            video.container.seek(offset, stream=stream, backward=True)
        except av.FFmpegError:
            return None
    last = max(_moments(video), default=None)
    if last is None:
        return None
    moment, length = ((ticks * stream.time_base) for ticks in last)
    return (
        moment - start * stream.time_base + (length if length * rate >= 2 - _NEARLY else 1 / rate)
    )


def _moments(video: InputVideo) -> Iterator[tuple[int, int]]:
    """Yield the times and lengths of all packets, in ticks of the stream; damage ends them.

    Packets without a time, as in a raw stream, follow one another at its rate.
    """
    rate, base = fraction(video.stream.guessed_rate), fraction(video.stream.time_base)
    step = 1 / ((rate or _COMMON_RATE) * (base or Fraction(1)))
    count = 0
    for packet in packets_of(video.container, video.stream):
        if packet.size and not packet.is_corrupt:
            moment = packet.pts if packet.pts is not None else packet.dts
            yield round(count * step) if moment is None else moment, packet.duration or 0
            count += 1


def _end_of_all(path: Path, begin: float) -> float:
    """When the last packet of any stream ends, in seconds from the first image."""
    with open_video(path) as video:
        stream, container = video.stream, video.container
        start = float((stream.start_time or 0) * (stream.time_base or 1))
        last = 0.0
        with suppress(av.FFmpegError):
            container.seek(int((begin + start) * _MICROSECONDS), backward=True)
        for packet in packets_of(container):
            time = packet.pts if packet.pts is not None else packet.dts
            if packet.size and time is not None and packet.time_base:
                last = max(last, float((time + (packet.duration or 0)) * packet.time_base) - start)
        return last


def _packets(path: Path) -> int:
    with open_video(path) as video:
        return sum(1 for _ in _moments(video))
