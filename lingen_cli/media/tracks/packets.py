"""Packets of sound and subtitles on their way from one video into another."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from math import ceil
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.audio.fifo import AudioFifo
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.packet import Packet
from av.stream import Stream

from lingen_cli.media.open import InputVideo, open_video
from lingen_cli.media.tracks.inspect import JUMP, Track, moment_of, side_packets, start_of

_MILLISECOND = Fraction(1, 1000)
AAC_RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000)
_OPUS_RATES = (48000, 24000, 16000, 12000, 8000)
BITS_PER_CHANNEL = 96_000
_MOST_CHANNELS = 8
_SILENCE = 48_000
"""Samples of silence that are made at a time."""
_ASS_HEADER = (
    b"[Script Info]\nScriptType: v4.00+\n\n[V4+ Styles]\nFormat: Name, Fontname, Fontsize, "
    b"PrimaryColour, SecondaryColour, OutlineColour, BackColour, Bold, Italic, Underline, "
    b"StrikeOut, ScaleX, ScaleY, Spacing, Angle, BorderStyle, Outline, Shadow, Alignment, "
    b"MarginL, MarginR, MarginV, Encoding\nStyle: Default,Arial,16,&Hffffff,&Hffffff,&H0,&H0,"
    b"0,0,0,0,100,100,0,0,1,1,0,2,10,10,10,1\n\n[Events]\nFormat: Layer, Start, End, Style, "
    b"Name, MarginL, MarginR, MarginV, Effect, Text\n"
)
"""Style that libav describes mp4 subtitles with: white at the bottom."""


@dataclass(frozen=True)
class TimedPacket:
    """A packet that is ready for its stream, and the second at which it belongs there."""

    moment: Fraction
    packet: Packet[Any]


def handed_on(packets: Iterable[Packet[Any]], target: Stream) -> Iterator[TimedPacket]:
    """Yield packets for the stream `target`; those without data or a time are left out."""
    for packet in packets:
        moment = moment_of(packet)
        if packet.size and moment is not None:
            packet.stream = target
            yield TimedPacket(moment, packet)


class TrackWriter:
    """Takes one track over into `container`, up to `end` seconds after the first image."""

    def __init__(self, path: Path, track: Track, container: OutputContainer, end: Fraction) -> None:
        self._path, self._track, self._end = path, track, end
        with open_video(path) as video:
            self._target = self._add(container, video.container.streams[track.index])
        self._target.metadata.update(track.tags)
        self._target.disposition = track.disposition

    def packets(self) -> Iterator[TimedPacket]:
        """Yield the packets in the order of time."""
        makers = {
            "copy": self._copied,
            "aac": self._encoded,
            "opus": self._encoded,
            "mov_text": self._texts,
            "subrip": self._texts,
        }
        with open_video(self._path) as video:
            start = start_of(video.stream)
            yield from handed_on(makers[self._track.how](video, start), self._target)

    def _add(self, container: OutputContainer, source: Stream) -> Any:
        if self._track.how == "copy":
            return container.add_stream_from_template(source, opaque=True)
        if self._track.how in ("mov_text", "subrip"):
            stream: Any = container.add_stream(self._track.how)
            stream.codec_context.subtitle_header = _ASS_HEADER
            stream.time_base = _MILLISECOND
            return stream
        assert isinstance(source, AudioStream)
        context = source.codec_context
        opus = self._track.how == "opus"
        rates = _OPUS_RATES if opus else AAC_RATES
        rate = context.sample_rate if context.sample_rate in rates else 48_000
        layout = context.layout.name
        if not 1 <= context.layout.nb_channels <= _MOST_CHANNELS or "channels" in layout:
            layout = "mono" if context.layout.nb_channels == 1 else "stereo"
        stream = container.add_stream("libopus" if opus else "aac", rate=rate, layout=layout)
        stream.codec_context.bit_rate = BITS_PER_CHANNEL * stream.codec_context.channels
        stream.codec_context.thread_count = 1  # the same run gives the same bytes
        stream.time_base = Fraction(1, rate)
        return stream

    def _copied(self, video: InputVideo, start: Fraction) -> Iterator[Packet[Any]]:
        """Packets as they are; those in their own past are left out."""
        last: Fraction | None = None
        dts, length = 0, Fraction(0)
        rate = getattr(self._target.codec_context, "sample_rate", 0) or 1000
        for packet in side_packets(video, {self._track.index}):
            base = packet.time_base
            moment = moment_of(packet)
            if moment is None:  # it follows the one before
                moment = start if last is None else last + length
                packet.pts = packet.dts = round(moment / base)
            if moment - start >= self._end:
                if moment - start >= self._end + 1:
                    return
                continue
            if last is not None and moment < last - JUMP:
                continue
            shift = round(start / base)
            earliest = packet.dts - shift if last is None else dts + ceil(1 / (rate * base))
            wanted = (packet.dts if packet.dts is not None else packet.pts) - shift
            shown = wanted if packet.pts is None else packet.pts - shift
            dts = max(wanted, earliest)
            packet.dts, packet.pts = dts, max(shown, dts)
            last = moment if last is None else max(last, moment)
            length = (packet.duration or 0) * base
            _keep_whole(packet)
            yield packet

    def _texts(self, video: InputVideo, start: Fraction) -> Iterator[Packet[Any]]:
        """The same lines as plain text."""
        last = -1
        for packet in side_packets(video, {self._track.index}):
            moment = moment_of(packet)
            if moment is None or not Fraction(0) <= moment - start < self._end:
                continue
            data = _text_of(packet)
            if data is None:
                continue
            if self._track.how == "subrip":
                data = data[2 : 2 + int.from_bytes(data[:2], "big")]
            time = round((moment - start) / _MILLISECOND)
            if time <= last:
                continue
            last = time
            line = Packet(data)
            line.time_base = _MILLISECOND
            line.pts = line.dts = time
            length = (packet.duration or 0) * packet.time_base
            length = min(length or Fraction(2), self._end - (moment - start))
            line.duration = max(1, round(length / _MILLISECOND))
            yield line

    def _encoded(self, video: InputVideo, start: Fraction) -> Iterator[Packet[Any]]:
        """The same sound, encoded: gaps become silence, what is in its own past is cut out."""
        context = self._target.codec_context
        context.open(strict=False)
        rate = context.sample_rate
        fifo, position = AudioFifo(), 0
        most = round(self._end * rate)
        resampler = AudioResampler(format="fltp", layout=context.layout, rate=rate)
        source = video.container.streams[self._track.index]
        for frame in self._decoded(video, source):
            if position >= most:
                break
            assert frame.pts is not None and frame.time_base
            begin = round((frame.pts * frame.time_base - start) * rate)
            if begin >= most:
                break
            frame.pts = None
            for piece in resampler.resample(frame):
                samples = piece.to_ndarray()
                if abs(begin - position) < JUMP * rate and position:
                    begin = position
                while position < begin:
                    count = min(_SILENCE, begin - position)
                    silence = np.zeros((samples.shape[0], count), np.float32)
                    position += _push(fifo, silence, context, position)
                    yield from self._full(fifo, context)
                samples = samples[:, max(0, position - begin) : max(0, most - begin)]
                if samples.shape[1]:
                    position += _push(fifo, samples, context, position)
                begin = position
            yield from self._full(fifo, context)
        if position:
            for piece in resampler.resample(None):
                samples = piece.to_ndarray()[:, : max(0, most - position)]
                if samples.shape[1]:
                    position += _push(fifo, samples, context, position)
            yield from self._full(fifo, context)
            rest = fifo.read(0, partial=True)
            yield from context.encode(rest) if rest is not None else ()
            yield from context.encode(None)

    def _full(self, fifo: AudioFifo, context: Any) -> Iterator[Packet[Any]]:
        while (frame := fifo.read(context.frame_size)) is not None:
            yield from context.encode(frame)

    def _decoded(self, video: InputVideo, source: Stream) -> Iterator[AudioFrame]:
        for packet in side_packets(video, {source.index}):
            try:
                frames = packet.decode()
            except (av.FFmpegError, MemoryError):
                continue
            for frame in frames:
                if frame.pts is not None:
                    yield frame


def _keep_whole(packet: Packet[Any]) -> None:
    """Let a packet be heard to its end.

    The libav of PyAV 19 reads and writes how much of the last one is not, in rounded times, so that
    a copy of a copy would be shorter.
    """
    if packet.has_sidedata("skip_samples"):
        skipped = packet.get_sidedata("skip_samples")
        at_begin = bytes(skipped)[:4]
        skipped.update(at_begin.ljust(10, b"\0"))
        packet.set_sidedata(skipped)


def _push(fifo: AudioFifo, samples: Any, context: Any, position: int) -> int:
    frame = AudioFrame.from_ndarray(
        np.ascontiguousarray(samples, np.float32), format="fltp", layout=context.layout.name
    )
    frame.sample_rate, frame.time_base = context.sample_rate, Fraction(1, context.sample_rate)
    frame.pts = position
    fifo.write(frame)
    return int(samples.shape[1])


def _text_of(packet: Packet[Any]) -> bytes | None:
    """A line of subtitles as mp4 holds it; None where it says nothing or is damaged."""
    if packet.stream.codec_context.codec.canonical_name == "mov_text":
        data = bytes(packet)
        return data if int.from_bytes(data[:2], "big") else None
    try:
        rects: Any = packet.decode()
    except (av.FFmpegError, UnicodeError):
        return None
    texts = [_plain(rect.dialogue.decode("utf-8", "replace")) for rect in rects]
    text = "\n".join(one for one in texts if one).encode()[:0xFFFF].decode("utf-8", "ignore")
    return len(text.encode()).to_bytes(2, "big") + text.encode() if text else None


def _plain(text: str) -> str:
    """ASS text without its marks: `{\\i1}you{\\i0}` is `you`."""
    return re.sub(r"\{[^}]*\}", "", text).strip()
