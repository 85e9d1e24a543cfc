"""Finds what a new video can take over of an old one beside its frames, before work begins."""

from __future__ import annotations

import io
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, Self

import av
from av.container import InputContainer
from av.packet import Packet
from av.stream import Discard, Disposition, Stream
from av.video.stream import VideoStream

from lingen_cli.errors import LingenError
from lingen_cli.files.tar_members import InputFile
from lingen_cli.media.metadata import clean_tag
from lingen_cli.media.open import (
    SOUND_DECODERS,
    InputVideo,
    fraction,
    open_video,
    packets_of,
    tags_of,
)

COPIED_CODECS = frozenset(
    {"aac", "mp3", "ac3", "eac3", "opus", "flac", "alac", "vorbis", "mp2", "dts"}
)
"""Codecs of sound that an mp4 can hold as it is, and players know there."""
TEXT_CODECS = frozenset({"subrip", "ass", "ssa", "webvtt", "mov_text", "text"})
KEPT_TAGS = (
    *("title", "artist", "album", "album_artist", "composer", "genre", "date", "copyright"),
    *("description", "synopsis", "show", "episode_id", "network", "location", "creation_time"),
)
"""Tags that mp4 has a place for; the recipe has the place of the comment."""
JUMP = Fraction(1, 10)
"""Seconds by which a packet may seem to begin before the one before it: times are rounded."""
_PROBED_PACKETS = 4
_MAX_CHAPTERS = 1000
_NAMES = {"audio": "sound", "subtitle": "subtitles", "video": "video", "data": "data"}

Chapter = tuple[Fraction, Fraction, str]
"""Begin and end in seconds, and a title."""
How = Literal["copy", "aac", "opus", "mov_text", "subrip"]


class TracksError(ValueError):
    """Packets of sound or subtitles that the mp4 refuses after all."""


@dataclass(frozen=True, kw_only=True)
class Track:
    """A track of sound or subtitles that is taken over; `index` is its number in the old file."""

    index: int
    kind: Literal["audio", "subtitle"]
    how: How
    tags: Mapping[str, str]
    """Its language and its title."""
    disposition: int


@dataclass(frozen=True, kw_only=True)
class Tracks:
    """Everything that is taken over from `path`, and a few words on each thing that is not."""

    path: Path
    kept: tuple[Track, ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    chapters: tuple[Chapter, ...] = ()
    changed: tuple[str, ...] = ()

    @classmethod
    def of(cls, path: Path) -> Self:
        """Read a video's streams, and the times of all its sound. Raises as `open_video`."""
        with open_video(path) as video:
            found = [_track(video, stream) for stream in _others(video)]
            container = video.container
            tracks = cls(
                path=path,
                kept=tuple(track for track, _ in found if track is not None),
                tags=_tags(container),
                chapters=_chapters(container),
                changed=tuple(said for _, said in found if said),
            )
        return tracks._with_checked_times()

    @property
    def kinds(self) -> list[str]:
        """Kinds of the tracks, as libav names them, in their order."""
        return [track.kind for track in self.kept]

    def without(self, index: int | None) -> Tracks:
        """The same without one track."""
        return replace(self, kept=tuple(one for one in self.kept if one.index != index))

    def _with_checked_times(self) -> Self:
        """The same, and what is said of sound whose times jump back; empty tracks are left out."""
        wanted = {track.index for track in self.kept if track.kind == "audio"}
        if not wanted:
            return self
        last: dict[int, Fraction] = {}
        jumps: dict[int, Fraction] = {}
        with open_video(self.path) as video:
            first = start_of(video.stream)
            for packet in side_packets(video, wanted):
                moment = moment_of(packet)
                if moment is None:
                    continue
                before = last.get(packet.stream_index, moment)
                if moment < before - JUMP:
                    jumps.setdefault(packet.stream_index, before - first)
                last[packet.stream_index] = max(before, moment)
        said = [
            f"the times of sound {index} jump back at {float(at):.1f} s: what is in its own past "
            "is cut out"
            for index, at in sorted(jumps.items())
        ]
        said += [f"sound {index} is left out: it is empty" for index in sorted(wanted - set(last))]
        kept = tuple(one for one in self.kept if one.kind != "audio" or one.index in last)
        return replace(self, kept=kept, changed=(*self.changed, *said))


def side_packets(video: InputVideo, wanted: set[int]) -> Any:
    """Yield the packets of some streams in the order of the file; damage ends them."""
    container = video.container
    for stream in container.streams:
        stream.discard = Discard.default if stream.index in wanted else Discard.all
    streams = [stream for stream in container.streams if stream.index in wanted]
    for packet in packets_of(container, streams):
        if packet.size and not packet.is_corrupt:
            yield packet


def moment_of(packet: Packet[Any]) -> Fraction | None:
    """When a packet is decoded, or else shown, in seconds of the file."""
    time = packet.dts if packet.dts is not None else packet.pts
    return time * packet.time_base if time is not None and packet.time_base else None


def start_of(stream: Stream) -> Fraction:
    """When a stream begins, in seconds of the file."""
    return (stream.start_time or 0) * (stream.time_base or Fraction(1))


def _others(video: InputVideo) -> list[Stream]:
    """All streams but the images, and the hidden text track of an mp4 with chapters."""
    chapters = bool(video.container.chapters())
    return [
        stream
        for stream in video.container.streams
        if stream.index != video.stream.index and not (stream.type == "data" and chapters)
    ]


def _track(video: InputVideo, stream: Stream) -> tuple[Track | None, str]:
    """The track, None where it cannot be kept, and what a user should know of it."""
    name = f"{_NAMES.get(stream.type, stream.type)} {stream.index}"
    context = stream.codec_context
    codec = None if context is None else context.codec.canonical_name
    if isinstance(stream, VideoStream):
        cover = bool(stream.disposition & Disposition.attached_pic)
        return None, f"the cover image {stream.index} is left out" if cover else (
            f"{name} is left out: one video track is kept"
        )
    if stream.type not in ("audio", "subtitle"):
        return None, f"{name} is left out"
    if codec is None:
        return None, f"{name} is left out: its codec is not known"
    kind: Literal["audio", "subtitle"] = "audio" if stream.type == "audio" else "subtitle"
    how: How = "copy"
    said = ""
    if kind == "subtitle":
        if codec not in TEXT_CODECS:
            return None, f"{name} ({codec}) are left out: they are images, not text"
        how = "mov_text"
    elif codec not in COPIED_CODECS or not _fits(video.path, stream.index):
        if not context.is_decoder or not getattr(context, "sample_rate", 0):
            return None, f"{name} ({codec}) is left out: an mp4 cannot hold it"
        if context.codec.name not in SOUND_DECODERS:
            return None, f"{name} ({codec}) is left out: lingen does not decode it"
        how, said = "aac", f"{name} is encoded again: {codec} becomes AAC"
    own = tags_of(stream.metadata)
    tags = {key: clean_tag(own[key]) for key in ("title",) if key in own}
    if stream.language:
        tags["language"] = stream.language
    track = Track(
        index=stream.index, kind=kind, how=how, tags=tags, disposition=int(stream.disposition)
    )
    return track, said


def _fits(path: InputFile, index: int) -> bool:
    """Try the first packets of a track in an mp4 that nobody keeps."""
    try:
        with open_video(path) as video:
            source = video.container.streams[index]
            with av.open(io.BytesIO(), "w", format="mp4") as container:
                copy = container.add_stream_from_template(source, opaque=True)
                for number, packet in enumerate(side_packets(video, {index})):
                    if number == _PROBED_PACKETS:
                        break
                    packet.stream = copy
                    packet.pts = packet.dts = number * max(1, packet.duration or 1)
                    container.mux(packet)
    except (LingenError, av.FFmpegError, OSError, ValueError):
        return False
    return True


def _tags(container: InputContainer) -> dict[str, str]:
    """Tags that go into an mp4; somebody's comment becomes the description."""
    found = {key.lower(): text for key, text in tags_of(container.metadata).items()}
    tags = {key: clean_tag(found[key]) for key in KEPT_TAGS if found.get(key)}
    comment = found.get("comment", "")
    if comment and not comment.startswith('{"lingen"'):
        tags.setdefault("description", clean_tag(comment))
    return tags


def _chapters(container: InputContainer) -> tuple[Chapter, ...]:
    found = []
    for one in container.chapters()[:_MAX_CHAPTERS]:
        with suppress(KeyError, TypeError):
            base = fraction(one["time_base"]) or Fraction(1)
            title = clean_tag(tags_of(one["metadata"]).get("title", ""))
            found.append((one["start"] * base, one["end"] * base, title))
    return tuple(found)
