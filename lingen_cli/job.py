"""One video to be made: every choice settled, every check done that needs no torch."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lingen_cli.timing import source_frames
from lingen_cli.zoo import LocatedModel

if TYPE_CHECKING:
    import numpy as np

    from lingen_plugins.contracts import Sampler

_BYTES_PER_PIXEL = 0.2
"""H.264 at crf 18 took 0.015 to 0.13 bytes per pixel in tests; better quality takes more."""
_CONTAINER_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True)
class StartImage:
    """The picture a video starts from, already at the video's size."""

    path: Path
    sha256: str
    pixels: np.ndarray[Any, Any] | None
    """uint8 (H, W, 3); None where the part that it began is there already."""


@dataclass(frozen=True, kw_only=True)
class Destination:
    """Where the video goes: a name of the user's own, or the first free one like `stem`."""

    path: Path | None
    folder: Path
    stem: str
    overwrite: bool = False


@dataclass(frozen=True, kw_only=True)
class Stretch:
    """A part of a video that is sampled with one prompt and one seed."""

    prompt: str
    negative: str
    seed: int
    frames: int
    """Frames that it adds to the video; 0 where it is sampled in the place of others."""
    sampler: Sampler
    steps: int
    guidance: float
    windows: tuple[int, int] | None
    """Latent frames of a window, and of its past; None samples the stretch in one piece."""
    at: tuple[int, int] | None = None
    """The frames, the second excluded, that it takes the place of."""


@dataclass(frozen=True, kw_only=True)
class Cut:
    """Everything after the first `keep` frames is dropped."""

    keep: int


Edit = Stretch | Cut
"""One step in the making of a video."""


@dataclass(frozen=True, kw_only=True)
class Origin:
    """The video that a job goes on with, in which the first `done` edits are."""

    path: Path
    latents: str | None
    """SHA-256 of its latents, if its recipe names them."""
    done: int
    copy: bool
    """Whether its packets stand unchanged at the beginning of the new video."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """The settled choices of `generate`, `rerun` and `extend`."""

    edits: tuple[Edit, ...]
    model: LocatedModel
    rate: Fraction
    width: int
    height: int
    image: StartImage | None
    origin: Origin | None = None
    device: str
    dtype: str | None = None
    """None: the model's choice for the device."""
    threads: int | None = None
    crf: int
    encoder_preset: str
    destination: Destination
    cache_bytes: int
    """How much the cache of latents may hold."""
    preview: bool = False
    """Draw the latents while they form."""

    @property
    def bounds(self) -> list[int]:
        """Where each separately encoded segment of the video ends, in frames."""
        return _bounds(self.edits)

    @property
    def frames_before(self) -> int:
        """Frames of the video that the job goes on with."""
        done = 0 if self.origin is None else self.origin.done
        return _bounds(self.edits[:done])[-1] if done else 0

    @property
    def most_frames(self) -> int:
        """Frames of the video when it is longest: a cut may follow."""
        return max(_bounds(self.edits[: count + 1])[-1] for count in range(len(self.edits)))

    @property
    def frames(self) -> int:
        """Frames of the whole video."""
        return self.bounds[-1]

    @property
    def kept(self) -> int:
        """Frames that are taken over from the video before, as they are encoded there."""
        return self.bounds[-2] if self.origin is not None and self.origin.copy else 0

    @property
    def making(self) -> tuple[Edit, ...]:
        """The edits that are still to be made."""
        return self.edits if self.origin is None else self.edits[self.origin.done :]

    @property
    def sampled(self) -> tuple[Stretch, ...]:
        """The stretches among `making`."""
        return tuple(edit for edit in self.making if isinstance(edit, Stretch))

    @property
    def seconds(self) -> float:
        """Length of the whole video."""
        return float(self.frames / self.rate)

    @property
    def source(self) -> list[int]:
        """The model's frame behind each frame of the video."""
        return self.source_of(self.frames)

    def source_of(self, frames: int) -> list[int]:
        """The model's frame behind each of the first `frames` frames."""
        return source_frames(frames, self.rate, Fraction(self.model.variant.fps))

    @property
    def expected_bytes(self) -> int:
        """A generous guess at the size of the file."""
        quality = 2 ** max(0.0, (18 - self.crf) / 6)
        pixels = self.frames * self.width * self.height
        return _CONTAINER_BYTES + int(pixels * _BYTES_PER_PIXEL * quality)


def _bounds(edits: tuple[Edit, ...]) -> list[int]:
    ends: list[int] = []
    for edit in edits:
        if isinstance(edit, Cut):
            ends = [*(end for end in ends if end < edit.keep), edit.keep]
        elif edit.frames:
            ends.append((ends[-1] if ends else 0) + edit.frames)
    return ends
