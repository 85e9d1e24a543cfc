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
    pixels: np.ndarray[Any, Any]
    """uint8 (H, W, 3)."""


@dataclass(frozen=True, kw_only=True)
class Destination:
    """Where the video goes: a name of the user's own, or the first free one like `stem`."""

    path: Path | None
    folder: Path
    stem: str
    overwrite: bool = False


@dataclass(frozen=True, kw_only=True)
class Job:
    """The settled choices of `generate` and `rerun`."""

    prompt: str
    negative: str
    seed: int
    model: LocatedModel
    frames: int
    rate: Fraction
    width: int
    height: int
    sampler: Sampler
    steps: int
    guidance: float
    image: StartImage | None
    device: str
    dtype: str | None = None
    """None: the model's choice for the device."""
    threads: int | None = None
    crf: int
    encoder_preset: str
    destination: Destination
    preview: bool = False
    """Draw the latents while they form."""

    @property
    def seconds(self) -> float:
        """Length of the video."""
        return float(self.frames / self.rate)

    @property
    def source(self) -> list[int]:
        """The model's frame behind each frame of the video."""
        return source_frames(self.frames, self.rate, Fraction(self.model.variant.fps))

    @property
    def expected_bytes(self) -> int:
        """A generous guess at the size of the file."""
        quality = 2 ** max(0.0, (18 - self.crf) / 6)
        pixels = self.frames * self.width * self.height
        return _CONTAINER_BYTES + int(pixels * _BYTES_PER_PIXEL * quality)
