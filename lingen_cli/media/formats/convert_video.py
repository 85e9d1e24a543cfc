"""From a finished, verified mp4 to the format that the name of the output asks for."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from itertools import chain
from pathlib import Path

import av
from av.container import OutputContainer
from av.video.frame import VideoFrame

from lingen_cli.files.write_errors import write_error
from lingen_cli.media.formats.animations import write_gif, write_sheet
from lingen_cli.media.formats.numbered_images import write_images
from lingen_cli.media.metadata import clean_tag
from lingen_cli.media.open import open_video
from lingen_cli.media.reader import frames_at
from lingen_cli.media.tracks.inspect import Track, Tracks
from lingen_cli.media.tracks.packets import TimedPacket, TrackWriter, handed_on
from lingen_cli.media.writer import BITEXACT

_VP9 = {"crf": "20", "b": "0", "deadline": "good", "cpu-used": "2"}


@dataclass(frozen=True, kw_only=True)
class Source:
    """A finished video: an mp4, its width and height, its rate, its frames, the tags that it gets,
    and the pattern of the names of its frames, where they become images."""

    path: Path
    size: tuple[int, int]
    rate: Fraction
    frames: int
    tags: Mapping[str, str]
    pattern: str | None = None


@dataclass(frozen=True, kw_only=True)
class Format:
    """An output format. `copies`: its packets are those of the mp4; `write` returns what is left
    out, in a few words each."""

    write: Callable[[Source, Path], list[str]]
    copies: bool = False


def convert(source: Source, kind: Format, path: Path, target: Path) -> list[str]:
    """Write `source` to `path`, an empty file or folder, in a format.

    Returns what the format cannot hold. Raises WriteFailedError (74), which names `target`.
    """
    try:
        return kind.write(source, path)
    except (OSError, av.FFmpegError) as error:
        plain = error if isinstance(error, OSError) else OSError(None, str(error))
        raise write_error(plain, target) from error


def _kept(track: Track, codec: str, name: str) -> Track | None:
    """A track as the container of this name can hold it; None where it cannot."""
    if track.kind == "subtitle":
        return {"mov": track, "matroska": replace(track, how="subrip")}.get(name)
    if name == "webm" and codec not in ("opus", "vorbis"):
        return replace(track, how="opus")
    return track


def _contained(name: str, source: Source, path: Path) -> list[str]:
    """Write images, sound and subtitles into the container of this name."""
    images = _as_vp9 if name == "webm" else _copied
    tracks = Tracks.of(source.path)
    with open_video(source.path) as video:
        streams = video.container.streams
        contexts = {one.index: one.codec_context for one in streams}
        codecs = {at: one.codec.canonical_name if one else "" for at, one in contexts.items()}
        chapters = video.container.chapters()
    lost = []
    container = av.open(f"file:{path}", "w", format=name)
    try:
        container.flags |= BITEXACT
        for key, value in source.tags.items():
            container.metadata[key] = clean_tag(value)
        container.set_chapters(chapters)
        found = [images(source, container)]
        for track in tracks.kept:
            wanted = _kept(track, codecs[track.index], name)
            if wanted is None:
                lost.append(f"{name} holds no subtitles of this kind")
                continue
            until = source.frames / source.rate
            found.append(TrackWriter(source.path, wanted, container, until).packets())
        for one in heapq.merge(*found, key=lambda one: one.moment):
            container.mux(one.packet)
        container.close()
    finally:
        with suppress(av.FFmpegError, OSError):
            container.close()
    return lost


def _copied(source: Source, container: OutputContainer) -> Iterator[TimedPacket]:
    with open_video(source.path) as video:
        stream = container.add_stream_from_template(video.stream, opaque=True)
        stream.time_base = 1 / source.rate

    def packets() -> Iterator[TimedPacket]:
        with open_video(source.path) as video:
            yield from handed_on(video.container.demux(video.stream), stream)

    return packets()


def _as_vp9(source: Source, container: OutputContainer) -> Iterator[TimedPacket]:
    stream = container.add_stream("libvpx-vp9", rate=source.rate, options=_VP9)
    with open_video(source.path) as video:
        old, new = video.stream.codec_context, stream.codec_context
        new.width, new.height, new.pix_fmt = old.width, old.height, "yuv420p"
        new.color_range, new.colorspace = old.color_range, old.colorspace
        new.color_primaries, new.color_trc = old.color_primaries, old.color_trc
        new.thread_count = 1  # the same run gives the same bytes

    def packets() -> Iterator[TimedPacket]:
        for frame in chain(_frames(source), [None]):
            yield from handed_on(stream.encode(frame), stream)

    return packets()


def _frames(source: Source) -> Iterator[VideoFrame]:
    with open_video(source.path) as video:
        for number, frame in enumerate(video.container.decode(video.stream)):
            frame.pts, frame.time_base = number, 1 / source.rate
            yield frame


def _gif(source: Source, path: Path) -> list[str]:
    write_gif(lambda: _frames(source), source.rate, source.size, path)
    return _no_tracks(source, "a GIF holds")


def _no_tracks(source: Source, what_holds: str) -> list[str]:
    kinds = Tracks.of(source.path).kinds
    return [f"{what_holds} no sound and no subtitles"] if kinds else []


def _png(source: Source, path: Path) -> list[str]:
    write_sheet(source.path, float(source.frames / source.rate), source.frames, source.tags, path)
    return _no_tracks(source, "an image holds")


def _numbered(source: Source, path: Path) -> list[str]:
    assert source.pattern is not None
    times = ((number + 0.5) / float(source.rate) for number in range(source.frames))
    write_images(frames_at(source.path, times, box=source.size), source.tags, path, source.pattern)
    return _no_tracks(source, "images hold")


NUMBERED = Format(write=_numbered)
"""Every frame as a PNG, in a folder."""
FORMATS: dict[str, Format] = {
    ".mov": Format(write=partial(_contained, "mov"), copies=True),
    ".mkv": Format(write=partial(_contained, "matroska"), copies=True),
    ".webm": Format(write=partial(_contained, "webm")),
    ".gif": Format(write=_gif),
    ".png": Format(write=_png),
}
"""Suffix of an output -> how it is written, for those that are not mp4."""
