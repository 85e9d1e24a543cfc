"""What a video file says about itself."""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from lingen_cli.media.frames import first_frame
from lingen_cli.media.open import InputVideo, open_video
from lingen_cli.media.orientation import orientation_of

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
