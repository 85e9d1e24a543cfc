"""Writes H.264 mp4 in constant memory, with exact timing and right colors (media.md 1.2)."""

from __future__ import annotations

import functools
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any, Self

import av
import numpy as np
from av.container import Flags, OutputContainer
from av.packet import Packet
from av.video.reformatter import ColorRange, Interpolation, VideoReformatter
from av.video.stream import VideoStream

from lingen_cli.errors import BugError, InvalidOptionError, NotAvailableError
from lingen_cli.files.write_errors import write_error, write_errors
from lingen_cli.media.colors import BT709, Colors
from lingen_cli.media.metadata import clean_tag
from lingen_cli.media.tracks.packets import TimedPacket

CODEC = "libx264"
PRESETS = (
    "ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow",
)  # fmt: skip
CRF_RANGE = (1, 51)  # 0 is lossless, which needs a profile that few players have
PIXEL_FORMAT = "yuv420p"
MAX_SIDE = 8192
_THREADS = 4
_FRAGMENT = 500_000  # microseconds
BITEXACT: Any = Flags.bitexact.value  # no version strings: the same run gives the same bytes


def check_encoder(*, width: int, height: int, fps: Fraction, crf: int, preset: str) -> None:
    """Everything about these settings that can be known before a frame exists.

    Raises InvalidOptionError (2) for a value out of range, NotAvailableError (69) without the
    encoder.
    """
    for name, side in (("width", width), ("height", height)):
        if not 2 <= side <= MAX_SIDE or side % 2:
            raise InvalidOptionError(f"{name} must be even and from 2 to {MAX_SIDE}, not {side}")
    if not Fraction(1, 60) <= fps <= 1000 or fps.numerator > 10**6:
        raise InvalidOptionError(f"fps must be from 1/60 to 1000, not {fps}")
    if preset not in PRESETS:
        raise InvalidOptionError(f"preset must be one of {', '.join(PRESETS)}, not {preset!r}")
    if not CRF_RANGE[0] <= crf <= CRF_RANGE[1]:
        raise InvalidOptionError(f"crf must be from {CRF_RANGE[0]} to {CRF_RANGE[1]}, not {crf}")
    check_option_names({"crf": str(crf), "preset": preset})


def check_option_names(options: Mapping[str, str]) -> None:
    """FFmpeg ignores names it does not know, so they are looked up here. Raises like
    `check_encoder`."""
    try:
        supported = av.CodecContext.create(CODEC, "w").supported_options
    except av.codec.codec.UnknownCodecError as error:
        raise NotAvailableError(f"the {CODEC} encoder is not available in this PyAV") from error
    known = {option.name for option in (*supported.generic, *supported.private)}
    for name in sorted(set(options) - known):
        raise InvalidOptionError(f"unknown {CODEC} option: {name}")


class VideoWriter:
    """H.264 yuv420p mp4: bt709 converted and tagged, faststart, exact frame rate, duration and
    frame count.

        with VideoWriter(tmp, width=128, height=128, fps=Fraction(16)) as writer:
            for chunk in pipe.decode(latents, frames):
                writer.write(chunk)          # uint8 (T, H, W, 3), RGB
        verify_video(tmp, frames=writer.frames, width=128, height=128, fps=Fraction(16))

    `path` is a temporary name (errors name `target` instead, where given): a run that is
    interrupted leaves a file there that plays but is too short, so publish it only after `close`
    returned and it was verified. The same frames and settings give the same bytes on one machine
    type with one version. Frames of another size, `source`, are scaled. `headers` numbers the
    parameter sets, and `colors` are the video's, so that it can follow another one in its track.
    Into a `sink` with a method `write` goes a fragmented mp4, half a second at a time; then `path`
    is but a name. `sound` adds a track to the container, and its packets go in beside the images.
    Raises like `check_encoder`; DiskFullError and other WriteFailedErrors
    (74) while writing and closing; BugError (70) for frames of another shape or type, and for none
    at all.
    """

    def __init__(
        self,
        path: Path,
        *,
        width: int,
        height: int,
        fps: Fraction,
        metadata: Mapping[str, str] | None = None,
        crf: int = 18,
        preset: str = "medium",
        target: Path | None = None,
        source: tuple[int, int] | None = None,
        headers: int = 0,
        colors: Colors = BT709,
        sink: Any = None,
        sound: Callable[[OutputContainer], Iterator[TimedPacket]] | None = None,
    ) -> None:
        check_encoder(width=width, height=height, fps=fps, crf=crf, preset=preset)
        self._source = source or (width, height)
        self._colors = colors
        self.path, self.width, self.height, self.fps = path, width, height, fps
        self._target = target or path
        self.frames = 0
        self._closed = False
        self._reformatter = VideoReformatter()
        self._container = self._open_container(metadata or {}, sink, with_sound=sound is not None)
        parameters = {"sps-id": str(headers)} | repeatable()
        pairs = ":".join(f"{name}={value}" for name, value in parameters.items())
        options = {"crf": str(crf), "preset": preset, "x264-params": pairs}
        self._stream = self._add_stream(options)
        self._sound = iter(()) if sound is None else sound(self._container)
        self._next_sound = next(self._sound, None)
        self._start()

    def write(self, frames: Any) -> None:
        """Encode a batch: uint8 (T, H, W, 3) RGB, a numpy array or anything with `__array__`; T may
        be 0."""
        if self._closed:
            raise BugError("a frame was written to a video that is closed")
        batch = np.asarray(frames)
        if batch.dtype != np.uint8:
            raise BugError(f"frames are {batch.dtype}, the video takes uint8")
        width, height = self._source
        if batch.ndim != 4 or batch.shape[1:] != (height, width, 3):
            expected = f"(T, {height}, {width}, 3)"
            raise BugError(f"frames have shape {batch.shape}, the video takes {expected}")
        for image in batch:
            self._encode(np.ascontiguousarray(image))

    def close(self) -> None:
        """Finish the file. Raises BugError when no frame was written."""
        if self._closed:
            return
        if not self.frames:
            self._abandon()
            raise BugError(f"no frames were written to {self._target.name}")
        try:
            with write_errors(self._target):
                self._mux(self._stream.encode(None))
                self._mux_sound(None)
                self._container.close()
        finally:
            self._abandon()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        if kind is None:
            self.close()
        else:
            self._abandon()

    def _abandon(self) -> None:
        """Let go of the file, whatever state it is in (a full disk raises again at every close)."""
        self._closed = True
        with suppress(av.FFmpegError, OSError):
            self._container.close()

    def _open_container(
        self, metadata: Mapping[str, str], sink: Any, *, with_sound: bool
    ) -> OutputContainer:
        scale = str(timescale(self.fps))
        options = {"video_track_timescale": scale, "movie_timescale": scale}
        if sink is None:
            options["movflags"] = "+faststart"
        else:
            options["movflags"] = "+empty_moov+default_base_moof"
            if with_sound:  # else what AAC needs before its beginning would shift one to the other
                options["movflags"] += "+delay_moov"
            options |= {"frag_duration": f"{_FRAGMENT}", "flush_packets": "1"}
        container = av.open(
            # the prefix keeps libav from reading a name as a URL
            f"file:{self.path}" if sink is None else sink,
            "w",
            format="mp4",
            container_options=options,
        )
        container.flags |= BITEXACT
        for key, value in metadata.items():
            container.metadata[key] = clean_tag(value)
        return container

    def _add_stream(self, options: dict[str, str]) -> VideoStream:
        stream = self._container.add_stream(CODEC, rate=self.fps, options=options)
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = self.width, self.height, PIXEL_FORMAT
        context = stream.codec_context
        context.time_base = 1 / self.fps
        # x264's bytes depend on the thread count, so it is a constant; PyAV's default (slices) is
        # bigger and slower.
        context.thread_type, context.thread_count = "FRAME", _THREADS
        context.color_primaries, context.color_trc = self._colors.primaries, self._colors.trc
        context.colorspace, context.color_range = self._colors.space, self._colors.range
        return stream

    def _start(self) -> None:
        """Open the encoder and the file now, not at the first frame, after hours of work."""
        try:
            self._container.start_encoding()
        except OSError as error:
            raise write_error(error, self._target) from error
        except av.ExternalError as error:
            # The settings were checked: what libx264 lacks then is memory, or room for its threads.
            raise MemoryError(f"the {CODEC} encoder could not begin") from error
        except av.FFmpegError as error:
            message = f"the {CODEC} encoder is not available ({error.strerror})"
            raise NotAvailableError(message) from error

    def _encode(self, image: np.ndarray[Any, np.dtype[np.uint8]]) -> None:
        rgb = av.VideoFrame.from_ndarray(image, format="rgb24")
        frame = self._reformatter.reformat(
            rgb,
            width=self.width,
            height=self.height,
            format=PIXEL_FORMAT,
            interpolation=Interpolation.BICUBIC,
            dst_colorspace=self._colors.matrix(self.height),
            dst_color_range=ColorRange.MPEG,
            threads=1,  # more only wait for each other at these sizes
        )
        frame.pts, frame.time_base = self.frames, 1 / self.fps
        with write_errors(self._target):
            self._mux(self._stream.encode(frame))
        self.frames += 1

    def _mux(self, packets: Sequence[Packet[Any]]) -> None:
        """Write packets of images, each behind the sound before it."""
        for packet in packets:
            if packet.dts is not None:
                self._mux_sound(packet.dts * packet.time_base)
            self._container.mux(packet)

    def _mux_sound(self, until: Fraction | None) -> None:
        """Write the sound up to a moment, in seconds, or what is left of it."""
        while (one := self._next_sound) is not None and (until is None or one.moment <= until):
            self._container.mux(one.packet)
            self._next_sound = next(self._sound, None)


@functools.cache
def repeatable() -> dict[str, str]:
    """x264 parameters without which the same frames do not always give the same bytes.

    With AVX-512, x264's macroblock tree differed from run to run at most sizes: up to 13 of 14
    files of 176x96 and 320x176 pixels. With less than that, all were one.
    """
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return {}
    try:
        avx2 = " avx2 " in Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        avx2 = False
    return {"asm": "AVX2" if avx2 else "SSE4.2"}  # one gives the bytes of the other


def timescale(fps: Fraction) -> int:
    """Ticks per second in which every frame begins on a whole tick: at least 10,000, a multiple of
    the numerator."""
    return fps.numerator * -(-10_000 // fps.numerator)
