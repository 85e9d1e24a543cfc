"""Opens files that nobody has vouched for (media.md 0.4, 2.1, 2.2).

A video file can be a playlist, a pipe, a device or a bomb. Three guards keep libav from opening
anything but the one regular file it was handed: a list of formats without playlists, no protocols
at all, and a refusal of nested opens. Of its 500 decoders only those in use are ever opened.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO, NoReturn, Protocol

import av
from av.container import InputContainer
from av.packet import Packet
from av.stream import Disposition
from av.video.stream import VideoStream

from lingen_cli.errors import BadDataError, LingenError, MissingInputError
from lingen_cli.files.numbered import images_at
from lingen_cli.files.open_file import open_file
from lingen_cli.files.printable import printable
from lingen_cli.files.tar_members import InputFile
from lingen_cli.media.mp4_index import IndexBombError, check_index

MAX_PIXELS = 8192 * 4320  # per frame: 8K UHD
FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,flv,ogg,asf,ivf,nut,gif,"
    "mxf,dv,yuv4mpegpipe,apng,h264,hevc"
)
IMAGE_DECODERS = (
    *("h264", "hevc", "libdav1d", "av1", "vp8", "vp9", "mpeg1video", "mpeg2video", "mpeg4"),
    *("msmpeg4v2", "msmpeg4", "wmv1", "wmv2", "wmv3", "vc1", "flv", "h263", "vp6", "vp6f"),
    *("theora", "mjpeg", "prores", "dnxhd", "cfhd", "dvvideo", "ffv1", "huffyuv", "ffvhuff"),
    *("utvideo", "rawvideo", "v210", "png", "qtrle", "gif", "apng"),
)
"""Decoders of libav for images, by its names; no other is reached by any file."""
SOUND_DECODERS = (
    *("aac", "aac_latm", "mp3float", "mp3", "mp2float", "mp2", "ac3", "eac3", "dca", "opus"),
    *("libopus", "vorbis", "flac", "alac", "wmav1", "wmav2", "wmapro", "amrnb", "amrwb"),
    *("speex", "nellymoser", "truehd", "adpcm_ima_wav", "adpcm_ima_qt", "adpcm_ms", "adpcm_swf"),
    *("pcm_alaw", "pcm_mulaw", "pcm_bluray", "pcm_dvd", "pcm_u8", "pcm_s8"),
    *(f"pcm_{kind}{end}" for kind in ("s16", "s24", "s32", "f32", "f64") for end in ("le", "be")),
)
TEXT_DECODERS = ("subrip", "srt", "ass", "ssa", "webvtt", "mov_text", "text")
DECODERS = ",".join((*IMAGE_DECODERS, *SOUND_DECODERS, *TEXT_DECODERS))
_PROBE_BYTES = 16 << 20
_THREADS = 2  # frame threads hold frames: four cost 75 MB more at 4K
_STARTS = (  # Matroska, AVI, Ogg, FLV, GIF, IVF, NUT, ASF, MPEG
    *(b"\x1aE\xdf\xa3", b"RIFF", b"OggS", b"FLV", b"GIF8", b"DKIF", b"nut/"),
    *(b"0&\xb2u", b"\0\0\1\xba"),
)
_MP4_BOXES = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"moof", b"styp")
_TS_PACKET = 188
_ANY_TAGS: dict[str, Any] = (
    {"metadata_errors": "replace"} if int(av.__version__.partition(".")[0]) < 19 else {}
)
"""For tags that are no UTF-8: PyAV 19 has no such argument, and `tags_of` replaces their bytes."""


class _Ratio(Protocol):
    @property
    def numerator(self) -> int: ...

    @property
    def denominator(self) -> int: ...


def fraction(ratio: _Ratio | None) -> Fraction | None:
    """Return a rate or a time base of libav, None where it has none.

    PyAV 18 has a Fraction or None; PyAV 19 has numbers of its own, which are false where libav has
    none, and whose products are rounded.
    """
    return Fraction(ratio.numerator, ratio.denominator) if ratio else None


def tags_of(metadata: Mapping[str, str]) -> dict[str, str]:
    """Return tags as text that can be encoded: bytes that are no UTF-8 become U+FFFD."""
    return {_readable(key): _readable(text) for key, text in metadata.items()}


def _readable(text: str) -> str:
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


@dataclass(frozen=True, kw_only=True)
class InputVideo:
    """An open video: `stream` is its largest video stream, cover art aside."""

    path: InputFile
    container: InputContainer
    stream: VideoStream


@contextmanager
def open_video(path: InputFile) -> Iterator[InputVideo]:
    """An untrusted local video. Reads this one file only: no network, no other file, no device.

    Raises, beside what `open_file` raises, BadDataError (65): not a video, damaged, without a
    video stream, frames above `MAX_PIXELS`. Errors of libav inside the `with` block that mean
    damaged data become BadDataError as well.
    """
    if isinstance(path, Path) and os.path.isdir(path) and images_at(path):
        raise MissingInputError(
            "a folder of images is read by `lingen show` and `lingen rerun` alone; to make a "
            f"video of it: lingen rerun {shlex.quote(printable(path))} -o x.mp4"
        )
    with open_file(path) as file:
        container = _open_container(file, path)
        try:
            yield InputVideo(path=path, container=container, stream=_image_stream(container, path))
        except LingenError:
            raise
        except (av.FFmpegError, MemoryError, OverflowError) as error:
            raise BadDataError(f"damaged video: {printable(path)}") from error
        finally:
            container.close()


def packets_of(container: InputContainer, *streams: Any) -> Iterator[Packet[Any]]:
    """Yield the packets of some streams, or of all, in the order of the file; damage ends them."""
    packets = container.demux(*streams)
    while True:
        try:
            packet = next(packets)
        except (StopIteration, av.FFmpegError, IndexError):  # the last: a stream that comes late
            return
        yield packet


class _NamelessFile:
    """What libav may see of the file: bytes, but no name to draw conclusions from."""

    name = "input"

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def read(self, size: int) -> bytes:
        return self._file.read(size)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        try:
            return self._file.seek(offset, whence)
        except (OSError, ValueError):  # before its begin: damaged, and PyAV would print it
            return -1

    def tell(self) -> int:
        return self._file.tell()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True


def _refuse_nested(url: str, flags: int, options: Any) -> NoReturn:
    raise PermissionError(f"refused to open {url!r} from inside a video")


def _open_container(file: BinaryIO, path: InputFile) -> InputContainer:
    start = file.read(192)
    try:
        check_index(file)
        container: InputContainer = av.open(
            _NamelessFile(file),
            "r",
            options={"max_pixels": str(MAX_PIXELS), "probesize": str(_PROBE_BYTES)},
            container_options={
                "format_whitelist": FORMATS,
                "protocol_whitelist": "none",
                "codec_whitelist": DECODERS,
            },
            io_open=_refuse_nested,
            buffer_size=1 << 18,
            **_ANY_TAGS,
        )
        return container
    except IndexBombError as error:
        raise BadDataError(f"not a video ({error}): {printable(path)}") from error
    except MemoryError as error:
        raise BadDataError(f"video needs too much memory: {printable(path)}") from error
    except (av.FFmpegError, OSError, ValueError, UnicodeError) as error:
        shown = printable(path)
        if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
            way = f"make a GIF of it first: magick {shlex.quote(shown)} x.gif"
            raise BadDataError(f"animated WebP cannot be read: {shown}; {way}") from error
        hint = " (or damaged header)" if _looks_like_video(start) else ""
        way = f"if a player plays it, make an mp4 of it first: ffmpeg -i {shlex.quote(shown)} x.mp4"
        raise BadDataError(f"not a supported video file{hint}: {shown}; {way}") from error


def _looks_like_video(start: bytes) -> bool:
    transport = start[:1] == b"G" == start[_TS_PACKET : _TS_PACKET + 1]
    return start.startswith(_STARTS) or start[4:8] in _MP4_BOXES or transport


def _image_stream(container: InputContainer, path: InputFile) -> VideoStream:
    streams = [
        stream
        for stream in container.streams.video
        if stream.codec_context is not None and not stream.disposition & Disposition.attached_pic
    ]
    if not streams:
        raise BadDataError(f"file has no video stream: {printable(path)}")
    stream = max(streams, key=lambda stream: stream.width * stream.height)
    if (codec := stream.codec_context.codec).name not in IMAGE_DECODERS:
        shown = printable(path)
        raise BadDataError(
            f"lingen decodes no {codec.canonical_name} video: {shown}; make an mp4 of it first: "
            f"ffmpeg -i {shlex.quote(shown)} x.mp4"
        )
    size = f"{stream.width}x{stream.height}"
    if stream.width <= 0 or stream.height <= 0:
        raise BadDataError(f"video has no readable frame size: {printable(path)}")
    if stream.width * stream.height > MAX_PIXELS:
        raise BadDataError(f"frame size {size} is above the limit: {printable(path)}")
    for other in container.streams:
        if other.codec_context is not None:
            other.codec_context.options = {"codec_whitelist": DECODERS}
    stream.codec_context.options = {"codec_whitelist": DECODERS, "max_pixels": str(MAX_PIXELS)}
    stream.thread_type = "AUTO"
    stream.codec_context.thread_count = _THREADS
    return stream
