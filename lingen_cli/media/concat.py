"""Joins H.264 segments by copying their packets: nothing is decoded, nothing is lost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from lingen_cli.files.write_errors import write_error
from lingen_cli.media.avc_headers import AvcHeaders, HeaderError
from lingen_cli.media.metadata import clean_tag
from lingen_cli.media.open import InputVideo, open_video
from lingen_cli.media.writer import BITEXACT, timescale

if TYPE_CHECKING:
    from av.container.core import Chapter

AUDIO_CODECS = frozenset(
    {"aac", "mp3", "ac3", "eac3", "opus", "flac", "alac", "vorbis", "mp2", "dts"}
)
"""Sound that an mp4 can hold as it is."""
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
    sound: Path | None = None,
    chapters: Sequence[tuple[Fraction, Fraction, str]] = (),
) -> None:
    """Write the pictures of `segments`, which end before the frames `ends`, to `path`.

    Frame k begins at k / fps. The sound of `sound`, where it has any that an mp4 can hold, is kept
    up to the end of the first segment. `chapters` are begin and end in
    seconds, and a title. Raises CannotJoinError before anything is written when a
    segment has gaps, or headers that contradict another's; WriteFailedError (74).
    """
    headers = _joined_headers(segments)
    moments: list[int] = []
    for segment, end in zip(segments, ends, strict=True):
        moments += _moments(segment, fps, len(moments))
        if len(moments) != end:
            raise CannotJoinError(f"{segment} has other frames than expected")
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
        pictures = _add_pictures(container, segments[0], headers, fps)
        place = 0
        for number, segment in enumerate(segments):
            packets: Iterator[Packet[Any] | _Sound] = _pictures(segment)
            if number == 0 and sound is not None:
                packets = _with_sound(container, segment, sound, fps)
            for packet in packets:
                if isinstance(packet, _Sound):
                    container.mux(packet.packet)
                    continue
                packet.time_base = 1 / fps
                packet.pts, packet.dts, packet.duration = moments[place], place - delay, 1
                packet.stream = pictures
                container.mux(packet)
                place += 1
        container.close()
    except OSError as error:
        raise write_error(error, target) from error
    finally:
        with suppress(av.FFmpegError, OSError):  # a full disk raises again at every close
            container.close()


def has_sound(path: Path) -> bool | None:
    """Tell whether `join` keeps the sound of a video; None where there is none."""
    with open_video(path) as video:
        found = video.container.streams.best("audio")
        return None if found is None else found.codec_context.name in AUDIO_CODECS


@dataclass(frozen=True)
class _Sound:
    packet: Packet[Any]


def _add_pictures(
    container: OutputContainer, first: Path, headers: bytes, fps: Fraction
) -> VideoStream:
    with open_video(first) as video:
        stream = container.add_stream_from_template(video.stream, opaque=True)
        stream.codec_context.extradata = headers
        stream.time_base = 1 / fps
        return stream


def _pictures(path: Path) -> Iterator[Packet[Any]]:
    with open_video(path) as video:
        for packet in video.container.demux(video.stream):
            if _is_frame(packet):
                yield packet


def _with_sound(
    container: OutputContainer, path: Path, sound: Path, fps: Fraction
) -> Iterator[Packet[Any] | _Sound]:
    """The pictures of one video and the sound of another (or of the same), in the order of time."""
    with open_video(sound) as video:
        source = video.container.streams.best("audio")
        if not isinstance(source, AudioStream) or source.codec_context.name not in AUDIO_CODECS:
            yield from _pictures(path)
            return
        kept = container.add_stream_from_template(source, opaque=True)
        assert source.time_base is not None
        start = _start(video)
        waiting: Packet[Any] | None = None
        packets = iter(video.container.demux(source))
        for number, picture in enumerate(_pictures(path)):
            yield picture
            while True:
                waiting = waiting or next(packets, None)
                if waiting is None or waiting.pts is None or waiting.dts is None:
                    break
                moment = waiting.dts * source.time_base - start
                if moment > (number + 1) / fps:
                    break
                shift = round(start / source.time_base)
                waiting.pts, waiting.dts = waiting.pts - shift, waiting.dts - shift
                waiting.stream = kept
                yield _Sound(waiting)
                waiting = None


def _chapter(begin: Fraction, end: Fraction, title: str, number: int) -> Chapter:
    return {
        "id": number,
        "start": round(begin * _CHAPTER_TICKS),
        "end": round(end * _CHAPTER_TICKS),
        "time_base": Fraction(1, _CHAPTER_TICKS),
        "metadata": {"title": clean_tag(title)},
    }


def _start(video: InputVideo) -> Fraction:
    stream = video.stream
    return (stream.start_time or 0) * (stream.time_base or Fraction(1))


def _is_frame(packet: Packet[Any]) -> bool:
    return bool(packet.size) and packet.dts is not None and packet.pts is not None


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
    with open_video(path) as video:
        start = _start(video)
        found = []
        for packet in video.container.demux(video.stream):
            if not _is_frame(packet):
                continue
            assert packet.time_base is not None and packet.pts is not None
            moment = (packet.pts * packet.time_base - start) * fps
            if abs(moment - round(moment)) > _OFF_GRID:
                raise CannotJoinError(f"{path} has frames off the grid of {fps} per second")
            found.append(base + round(moment))
    if sorted(found) != list(range(base, base + len(found))):
        raise CannotJoinError(f"{path} has gaps between its frames")
    return found
