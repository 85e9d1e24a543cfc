"""Joins H.264 segments by copying their packets: nothing is decoded, nothing is lost."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
from av.container import OutputContainer
from av.video.stream import VideoStream

from lingen_cli.errors import BadDataError
from lingen_cli.files.write_errors import write_error
from lingen_cli.media.avc_headers import AvcHeaders, HeaderError
from lingen_cli.media.metadata import clean_tag
from lingen_cli.media.open import open_video
from lingen_cli.media.tracks.inspect import Chapter, Tracks, TracksError, start_of
from lingen_cli.media.tracks.packets import TimedPacket, TrackWriter
from lingen_cli.media.tracks.sound import EncodedSound, copied_sound
from lingen_cli.media.writer import BITEXACT, timescale

if TYPE_CHECKING:
    from av.container.core import Chapter as LibavChapter

_CHAPTER_TICKS = 1000
_OFF_GRID = Fraction(1, 4)
"""In frames: containers round times, Matroska to milliseconds."""


class CannotJoinError(ValueError):
    """Segments that differ in codec, size, encoder headers or time grid; the message says how."""


def join(
    segments: Sequence[Path],
    path: Path,
    *,
    ends: Sequence[int],
    fps: Fraction,
    metadata: Mapping[str, str],
    target: Path,
    tracks: Tracks | None = None,
    sound: EncodedSound | None = None,
    chapters: Sequence[Chapter] = (),
) -> None:
    """Write the images of `segments`, which end before the frames `ends`, to `path`.

    Frame k begins at k / fps. `tracks` are taken over up to the end of the images, behind `sound`,
    which begins with them. Raises
    CannotJoinError before anything is written when a segment has gaps, or headers that contradict
    another's, and later where the mp4 refuses its packets; TracksError where it refuses those of
    `tracks`; WriteFailedError (74).
    """
    headers = _joined_headers(segments)
    moments: list[int] = []
    for segment, end in zip(segments, ends, strict=True):
        moments += _moments(segment, fps, len(moments))
        if len(moments) != end:
            raise CannotJoinError("it has other frames than expected")
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
        container.set_chapters([_chapter(*one, number) for number, one in enumerate(chapters)])
        images = _add_images(container, segments[0], headers, fps)
        until = len(moments) / fps
        sources = [] if sound is None else [copied_sound(sound, container)]
        if tracks is not None:
            writers = [TrackWriter(tracks.path, one, container, until) for one in tracks.kept]
            sources += [writer.packets() for writer in writers]
        timed = _timed(segments, images, moments, delay, fps)
        for one in heapq.merge(timed, *sources, key=lambda one: one.moment):
            container.mux(one.packet)
        container.close()
    except OSError as error:
        raise write_error(error, target) from error
    except av.FFmpegError as error:
        kind = TracksError if tracks is not None and tracks.kept else CannotJoinError
        raise kind(f"an mp4 cannot hold its packets ({error.strerror})") from error
    finally:
        with suppress(av.FFmpegError, OSError):  # a full disk raises again at every close
            container.close()


def _add_images(
    container: OutputContainer, first: Path, headers: bytes, fps: Fraction
) -> VideoStream:
    with open_video(first) as video:
        stream = container.add_stream_from_template(video.stream, opaque=True)
        stream.codec_context.extradata = headers
        stream.time_base = 1 / fps
        return stream


def _timed(
    segments: Sequence[Path], stream: VideoStream, moments: Sequence[int], delay: int, fps: Fraction
) -> Iterator[TimedPacket]:
    """Yield the packets of all images, with the times that they get."""
    place = 0
    for segment in segments:
        with open_video(segment) as video:
            for packet in video.container.demux(video.stream):
                if not packet.size:
                    continue
                packet.time_base = 1 / fps
                packet.pts, packet.dts, packet.duration = moments[place], place - delay, 1
                packet.stream = stream
                yield TimedPacket((place - delay) / fps, packet)
                place += 1


def _chapter(begin: Fraction, end: Fraction, title: str, number: int) -> LibavChapter:
    ticks: Any = Fraction(1, _CHAPTER_TICKS)  # PyAV 19 takes one, though its stubs say another
    return {
        "id": number,
        "start": round(begin * _CHAPTER_TICKS),
        "end": round(end * _CHAPTER_TICKS),
        "time_base": ticks,
        "metadata": {"title": clean_tag(title)},
    }


def _joined_headers(segments: Sequence[Path]) -> bytes:
    """One record for the track; equal ones stay as they are."""
    found: list[tuple[tuple[object, ...], bytes]] = []
    for segment in segments:
        with open_video(segment) as video:
            context = video.stream.codec_context
            kind = (context.name, context.width, context.height, context.pix_fmt)
            found.append((kind, bytes(context.extradata or b"")))
    kinds, records = {kind for kind, _ in found}, [record for _, record in found]
    if len(kinds) > 1:
        raise CannotJoinError("the parts differ in codec, size or pixels")
    if len(set(records)) == 1:
        return records[0]
    try:
        headers = AvcHeaders.parse(records[0])
        for record in records[1:]:
            headers = headers.joined(AvcHeaders.parse(record))
    except HeaderError as error:
        raise CannotJoinError(str(error)) from error
    return headers.to_bytes()


def _moments(path: Path, fps: Fraction, base: int) -> list[int]:
    """The frame numbers of a segment's packets in the order of decoding, from `base` on."""
    found = []
    try:
        with open_video(path) as video:
            start = start_of(video.stream)
            for packet in video.container.demux(video.stream):
                if not packet.size:
                    continue
                if packet.pts is None or not packet.time_base:
                    raise CannotJoinError("some of its packets have no time")
                moment = (packet.pts * packet.time_base - start) * fps
                if abs(moment - round(moment)) > _OFF_GRID:
                    raise CannotJoinError(f"it has frames off the grid of {fps} per second")
                found.append(base + round(moment))
    except BadDataError as error:
        raise CannotJoinError("some of its packets are damaged") from error
    if sorted(found) != list(range(base, base + len(found))):
        raise CannotJoinError("it has gaps between its frames")
    return found
