"""Joins H.264 segments by copying their packets: nothing is decoded, nothing is lost."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import av
from av.video.stream import VideoStream

from lingen_cli.media.metadata import clean_tag
from lingen_cli.media.open import open_video
from lingen_cli.media.write_errors import write_error
from lingen_cli.media.writer import BITEXACT, timescale


class CannotJoinError(ValueError):
    """Segments that differ in codec, size, encoder headers or time grid."""


def join(
    segments: Sequence[Path],
    path: Path,
    *,
    fps: Fraction,
    metadata: Mapping[str, str],
    target: Path,
) -> int:
    """Write the packets of `segments`, one after the other, to `path`; returns their number.

    Frame k begins at k / fps. Raises CannotJoinError before anything is written when a segment has
    gaps, or other headers than the last one, which lingen has just encoded; WriteFailedError (74).
    """
    wanted = _headers(segments[-1])
    moments: list[int] = []
    for segment in segments:
        if _headers(segment) != wanted:
            raise CannotJoinError(f"{segment} has other encoder settings")
        moments += _moments(segment, fps, len(moments))
    # Packets are decoded in their order in the file, each soon enough for the most delayed one.
    delay = max(place - moment for place, moment in enumerate(moments))
    scale = str(timescale(fps))
    options = {
        "movflags": "+faststart",
        "video_track_timescale": scale,
        "movie_timescale": scale,
        "write_btrt": "0",  # a bit rate that would be the first segment's alone
    }
    container = av.open(f"file:{path}", "w", format="mp4", container_options=options)
    try:
        container.flags |= BITEXACT
        for key, value in metadata.items():
            container.metadata[key] = clean_tag(value)
        stream: VideoStream | None = None
        place = 0
        for segment in segments:
            with open_video(segment) as video:
                if stream is None:
                    stream = container.add_stream_from_template(video.stream, opaque=True)
                    stream.time_base = 1 / fps
                for packet in video.container.demux(video.stream):
                    if packet.dts is None or packet.pts is None:
                        continue
                    packet.time_base = 1 / fps
                    packet.pts, packet.dts, packet.duration = moments[place], place - delay, 1
                    packet.stream = stream
                    container.mux(packet)
                    place += 1
        container.close()
    except OSError as error:
        raise write_error(error, target) from error
    finally:
        with suppress(av.FFmpegError, OSError):  # a full disk raises again at every close
            container.close()
    return len(moments)


def _headers(path: Path) -> tuple[object, ...]:
    with open_video(path) as video:
        context = video.stream.codec_context
        return (context.name, context.width, context.height, context.pix_fmt, context.extradata)


def _moments(path: Path, fps: Fraction, base: int) -> list[int]:
    """The frame numbers of a segment's packets in the order of decoding, from `base` on."""
    with open_video(path) as video:
        found = []
        for packet in video.container.demux(video.stream):
            if packet.dts is None or packet.pts is None:
                continue
            assert packet.time_base is not None
            moment = packet.pts * packet.time_base * fps
            if moment.denominator != 1:
                raise CannotJoinError(f"{path} has frames off the grid of {fps} per second")
            found.append(base + int(moment))
    if sorted(found) != list(range(base, base + len(found))):
        raise CannotJoinError(f"{path} has gaps between its frames")
    return found
