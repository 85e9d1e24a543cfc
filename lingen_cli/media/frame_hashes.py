"""SHA-256 of decoded pictures: what tells whether a video still is what was made.

H.264 is decoded to the same bits by every decoder, so the pictures of a copy of the packets (into
another container, or by cutting off its end) have the same hashes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class FrameHash(BaseModel):
    """SHA-256 of the decoded pictures of the frames from `begin` to `end`, that one excluded."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    begin: int = Field(ge=0)
    end: int = Field(ge=1)
    sha256: Sha256


class FrameHasher:
    """Fed with the frames of a video in their order, it compares them with what is known."""

    def __init__(self, known: Sequence[FrameHash]) -> None:
        """`known` follow one another, as a recipe has them."""
        self._known = known
        self._sums = [hashlib.sha256() for _ in known]
        self._at = 0

    def add(self, number: int, frame: VideoFrame) -> None:
        """The frame `number`; those that nothing is known of count for nothing."""
        while self._at < len(self._known) and self._known[self._at].end <= number:
            self._at += 1
        if self._at < len(self._known) and self._known[self._at].begin <= number:
            self._sums[self._at].update(frame.to_ndarray().tobytes())

    def differing(self) -> list[FrameHash]:
        """The known ones that were not what was fed."""
        found = zip(self._known, self._sums, strict=True)
        return [one for one, digest in found if digest.hexdigest() != one.sha256]


def hash_frames(path: Path) -> str:
    """The hash of all pictures of a video. Raises as `open_video`, and BadDataError (65)."""
    from lingen_cli.media.open import open_video

    digest = hashlib.sha256()
    with open_video(path) as video:
        video.stream.thread_type = "AUTO"
        for frame in video.container.decode(video.stream):
            digest.update(frame.to_ndarray().tobytes())
    return digest.hexdigest()
