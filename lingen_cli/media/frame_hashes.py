"""SHA-256 of decoded images: what tells whether a video still is what was made.

H.264 is decoded to the same bits by every decoder, so the images of a copy of the packets (into
another container, or by cutting off its end) have the same hashes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from lingen_cli.errors import LingenError

if TYPE_CHECKING:
    from av.packet import Packet
    from av.video.frame import VideoFrame

Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class FrameHash(BaseModel):
    """SHA-256 of the decoded images of the frames from `begin` to `end`, that one excluded."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    begin: int = Field(ge=0)
    end: int = Field(ge=1)
    sha256: Sha256
    packets: Sha256 | None = None
    """Of the encoded images, in the order of decoding: quicker to compare, and other after any
    new encoding."""


class FrameHasher:
    """Fed with the frames of a video in their order, it compares them with what is known."""

    def __init__(self, known: Sequence[FrameHash]) -> None:
        """`known` follow one another, as a recipe has them."""
        self._known = known
        self._sums = [hashlib.sha256() for _ in known]
        self._at = 0

    def add(self, number: int, frame: VideoFrame) -> None:
        """The frame `number`; those that nothing is known of count for nothing."""
        self._feed(number, frame.to_ndarray().tobytes())

    def add_packet(self, number: int, packet: Packet[Any]) -> None:
        """The packet of the frame `number`, counted in the order of decoding, in place of that."""
        self._feed(number, as_fed(packet))

    def _feed(self, number: int, data: bytes) -> None:
        while self._at < len(self._known) and self._known[self._at].end <= number:
            self._at += 1
        if self._at < len(self._known) and self._known[self._at].begin <= number:
            self._sums[self._at].update(data)

    def differing(self, *, packets: bool = False) -> list[FrameHash]:
        """The known ones that were not what was fed: frames, or with `packets` their packets."""
        found = zip(self._known, self._sums, strict=True)
        pairs = ((one, one.packets if packets else one.sha256, digest) for one, digest in found)
        return [one for one, wanted, digest in pairs if digest.hexdigest() != wanted]


def hash_frames(path: Path, begin: int, end: int) -> FrameHash:
    """The hashes of a video that is the frames `begin` to `end` of a longer one.

    Raises as `open_video`, and BadDataError (65).
    """
    from lingen_cli.media.open import open_video

    images, packets = hashlib.sha256(), hashlib.sha256()
    with open_video(path) as video:
        video.stream.thread_type = "AUTO"
        for packet in video.container.demux(video.stream):
            if packet.size:
                packets.update(as_fed(packet))
            for frame in packet.decode():
                images.update(frame.to_ndarray().tobytes())
    return FrameHash(begin=begin, end=end, sha256=images.hexdigest(), packets=packets.hexdigest())


def is_whole(path: Path, known: Sequence[FrameHash], frames: int) -> bool:
    """Tell whether a video still has so many frames, and those that lingen made as they were.

    Nothing is decoded, unless it is of a lingen that noted no hashes of packets. Sound and tags may
    be others.
    """
    from lingen_cli.media.open import open_video

    quick = all(one.packets is not None for one in known)
    hasher, number = FrameHasher(known), 0
    try:
        with open_video(path) as video:
            for packet in video.container.demux(video.stream):
                if quick:
                    if packet.size:
                        hasher.add_packet(number, packet)
                        number += 1
                    continue
                for frame in packet.decode():
                    hasher.add(number, frame)
                    number += 1
    except LingenError:
        return False
    return number == frames and not hasher.differing(packets=quick)


def as_fed(packet: Packet[Any]) -> bytes:
    """Bytes of a packet for a hash over several: its length, and its data."""
    data = bytes(packet)
    return len(data).to_bytes(8, "big") + data
