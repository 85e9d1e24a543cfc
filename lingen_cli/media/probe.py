"""Size, rate, length and encoding of a video file, whoever made it (media.md 2)."""

import hashlib
import os
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
from av.container import InputContainer

from lingen_cli.errors import BadDataError
from lingen_cli.files.open_file import open_file
from lingen_cli.media.avc_headers import AvcHeaders, HeaderError
from lingen_cli.media.images.orientation import UPRIGHT, Orientation, orientation_of
from lingen_cli.media.open import InputVideo, open_video
from lingen_cli.media.reader import first_frame
from lingen_cli.media.writer import PIXEL_FORMAT

_PART = 1 << 20  # bytes at either end that tell one file from another
_LOOK_BACK = (4.0, 30.0, 240.0)  # seconds before the end at which its last packets are looked for
_SLACK = 0.5  # seconds by which a container may say more than there is
_NEARLY = Fraction(1, 100)
_COMMON_RATE = 25
_MAX_RATE = 120
_MICROSECONDS = 1_000_000  # libav's unit for the duration of a container


@dataclass(frozen=True, kw_only=True)
class VideoInfo:
    """`width` and `height` are as seen, after `rotation` (degrees clockwise); None: unknown."""

    width: int
    height: int
    fps: Fraction | None
    frames: int | None
    duration: float | None
    rotation: int
    codec: str


def video_info(path: Path) -> VideoInfo:
    """Decodes one frame. Raises like `open_video`, and BadDataError (65) without any frame."""
    with open_video(path) as video:
        stream = video.stream
        orientation = orientation_of(first_frame(video))
        size = (stream.width, stream.height)
        width, height = size[::-1] if orientation.swap else size
        return VideoInfo(
            width=width,
            height=height,
            fps=stream.average_rate or stream.guessed_rate,
            frames=stream.frames or None,
            duration=duration(video),
            rotation=orientation.degrees,
            codec=stream.codec_context.name,
        )


def duration(video: InputVideo) -> float | None:
    """Seconds, from the picture stream or else from the container."""
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
    is shorter than it says.
    """

    path: Path
    width: int
    height: int
    rate: Fraction
    frames: int
    headers: int
    why_not: str
    missing: float


def examine(path: Path) -> ForeignVideo:
    """Read the header, the first frame and the last packets. Raises like `open_video`."""
    with open_video(path) as video:
        orientation = orientation_of(first_frame(video))
        width, height = _seen_size(video, orientation)
        rate = frame_rate(video)
        said = duration(video)
        why_not = _why_not(video, upright=orientation == UPRIGHT)
        headers = 0 if why_not else AvcHeaders.parse(_extradata(video)).free_number()
    end = _end(path, said, rate)
    missing = 0.0 if said is None else said - float(end)
    return ForeignVideo(
        path=path,
        width=width,
        height=height,
        rate=rate,
        frames=max(1, round(end * rate)),
        headers=headers,
        why_not=why_not,
        missing=missing if missing > max(_SLACK, 2 / float(rate)) else 0.0,
    )


def end_is_whole(path: Path, begin: float) -> bool:
    """Tell whether every packet decodes from the key frame before `begin` (seconds) to the end."""
    try:
        with open_video(path) as video:
            base = video.stream.time_base
            offset = (video.stream.start_time or 0) + int(begin / (base or 1))
            video.container.seek(offset, stream=video.stream, backward=True)
            for _ in video.container.decode(video.stream):
                pass
    except BadDataError:
        return False
    return True


def seen_size(path: Path) -> tuple[int, int]:
    """Width and height as seen, in square pixels. Raises like `open_video`."""
    with open_video(path) as video:
        return _seen_size(video, orientation_of(first_frame(video)))


def fingerprint(path: Path) -> str:
    """SHA-256 of the size and of the first and the last MiB: quick even for hours of video."""
    with open_file(path) as file:
        size = os.fstat(file.fileno()).st_size
        digest = hashlib.sha256(str(size).encode())
        digest.update(file.read(_PART))
        file.seek(max(0, size - _PART))
        digest.update(file.read(_PART))
    return digest.hexdigest()


def frame_rate(video: InputVideo) -> Fraction:
    """Frames per second of a constant rate; for a varying one, of the grid it is put on."""
    average, guessed = video.stream.average_rate, video.stream.guessed_rate
    for rate in (average, guessed):
        if rate and guessed and 1 <= rate <= _MAX_RATE and abs(rate / guessed - 1) < _NEARLY:
            return Fraction(rate).limit_denominator(1001)
    if average and 1 <= average <= _MAX_RATE:
        return Fraction(round(average))
    return Fraction(_COMMON_RATE)


def _seen_size(video: InputVideo, orientation: Orientation) -> tuple[int, int]:
    stream = video.stream
    shape = stream.sample_aspect_ratio or Fraction(1)
    size = (max(1, round(stream.width * shape)), stream.height)
    return size[::-1] if orientation.swap else size


def _why_not(video: InputVideo, upright: bool) -> str:
    """Why new packets cannot follow those of this stream, or an empty text."""
    stream, context = video.stream, video.stream.codec_context
    if context.name != "h264":
        return f"its codec is {context.name}"
    if context.pix_fmt != PIXEL_FORMAT:
        return f"its pixels are {context.pix_fmt}"
    if not upright:
        return "it is turned"
    if stream.width % 2 or stream.height % 2:
        return "its size is odd"
    if stream.sample_aspect_ratio not in (None, 0, 1):
        return "its pixels are not square"
    try:
        AvcHeaders.parse(_extradata(video)).free_number()
    except HeaderError as error:
        return str(error)
    return ""


def _extradata(video: InputVideo) -> bytes:
    return bytes(video.stream.codec_context.extradata or b"")


def _end(path: Path, said: float | None, rate: Fraction) -> Fraction:
    """When the last frame ends, in seconds from the first, by the packets that are there."""
    for back in _LOOK_BACK:
        if said is None or said <= back:
            break
        with open_video(path) as video:
            found = _last(video, said - back)
        if found is not None:
            return found + 1 / rate
    with open_video(path) as video:
        found = _last(video, None)
    return (found or Fraction(0)) + 1 / rate


def _last(video: InputVideo, begin: float | None) -> Fraction | None:
    """The latest moment of a packet after `begin` (None: of all), None where there is none."""
    stream = video.stream
    assert stream.time_base is not None
    start = stream.start_time or 0
    if begin is not None:
        try:
            offset = start + int(begin / stream.time_base)
            video.container.seek(offset, stream=stream, backward=True)
        except av.FFmpegError:
            return None
    moments = [moment for moment in _moments(video.container, video) if moment is not None]
    return (max(moments) - start) * stream.time_base if moments else None


def _moments(container: InputContainer, video: InputVideo) -> list[int | None]:
    found: list[int | None] = []
    packets = container.demux(video.stream)
    while True:
        try:
            packet = next(packets)
        except (StopIteration, IndexError, av.FFmpegError):
            return found
        if packet.size and not packet.is_corrupt:
            found.append(packet.pts if packet.pts is not None else packet.dts)
