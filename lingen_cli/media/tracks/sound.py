"""Sound that a model made with a video: encoded as AAC, and known again by its packets."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import OutputContainer

from lingen_cli.media.frame_hashes import as_fed
from lingen_cli.media.open import open_video
from lingen_cli.media.tracks.inspect import side_packets
from lingen_cli.media.tracks.packets import (
    AAC_RATES,
    BITS_PER_CHANNEL,
    TimedPacket,
    handed_on,
)
from lingen_cli.media.writer import BITEXACT

_LAYOUTS = {1: "mono", 2: "stereo"}
_OTHER_RATE = 48_000
"""Of what no AAC stream has the rate of."""


@dataclass(frozen=True)
class EncodedSound:
    """An mp4 in memory with one AAC track, and the SHA-256 of its packets."""

    data: bytes
    sha256: str


def encode_sound(samples: np.ndarray[Any, Any], rate: int, seconds: Fraction) -> EncodedSound:
    """Encode float32 (channels, samples) from -1 to 1, one or two channels, at `rate` per second,
    cut to so many seconds or followed by silence. The same samples give the same bytes."""
    layout, count = _LAYOUTS[samples.shape[0]], round(seconds * rate)
    samples = samples[:, :count]
    samples = np.pad(samples, ((0, 0), (0, count - samples.shape[1])))
    if rate not in AAC_RATES:
        resampler = AudioResampler(format="fltp", layout=layout, rate=_OTHER_RATE)
        pieces = [*resampler.resample(_frame(samples, layout, rate, 0)), *resampler.resample(None)]
        samples, rate = np.concatenate([one.to_ndarray() for one in pieces], 1), _OTHER_RATE
    file, digest = io.BytesIO(), hashlib.sha256()
    with av.open(file, "w", format="mp4") as container:
        container.flags |= BITEXACT
        stream = container.add_stream("aac", rate=rate, layout=layout)
        assert isinstance(stream, AudioStream)
        stream.codec_context.bit_rate = BITS_PER_CHANNEL * samples.shape[0]
        stream.codec_context.thread_count = 1
        stream.codec_context.open(strict=False)
        size = stream.codec_context.frame_size
        frames: list[AudioFrame | None] = [
            _frame(samples[:, begin : begin + size], layout, rate, begin)
            for begin in range(0, samples.shape[1], size)
        ]
        for frame in (*frames, None):
            for packet in stream.encode(frame):
                digest.update(as_fed(packet))
                container.mux(packet)
    return EncodedSound(file.getvalue(), digest.hexdigest())


def copied_sound(sound: EncodedSound, container: OutputContainer) -> Iterator[TimedPacket]:
    """Add a track for encoded sound to `container`; the iterator gives its packets."""
    source = av.open(io.BytesIO(sound.data), "r", format="mp4")
    target: Any = container.add_stream_from_template(source.streams.audio[0], opaque=True)

    def packets() -> Iterator[TimedPacket]:
        with source:
            yield from handed_on(source.demux(audio=0), target)

    return packets()


def sound_hashes(path: Path) -> dict[int, str]:
    """Number of each track of sound of a video -> SHA-256 of its packets. Raises as
    `open_video`."""
    with open_video(path) as video:
        sums = {one.index: hashlib.sha256() for one in video.container.streams.audio}
        for packet in side_packets(video, set(sums)) if sums else ():
            sums[packet.stream_index].update(as_fed(packet))
    return {index: digest.hexdigest() for index, digest in sums.items()}


def made_track(path: Path, known: str | None) -> int | None:
    """Number of the track of a video with sound that a model made; None where it is not there.

    `known` is the SHA-256 of its packets. Without one, as in a video whose format has another
    encoding, it is the first track of sound. Raises as `open_video`.
    """
    return next(
        (index for index, digest in sound_hashes(path).items() if known in (None, digest)), None
    )


def _frame(samples: np.ndarray[Any, Any], layout: str, rate: int, begin: int) -> AudioFrame:
    plain = np.ascontiguousarray(samples, np.float32)
    frame = AudioFrame.from_ndarray(plain, format="fltp", layout=layout)
    frame.sample_rate, frame.time_base, frame.pts = rate, Fraction(1, rate), begin
    return frame
