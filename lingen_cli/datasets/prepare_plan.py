"""Plan of a preparation: which sizes and lengths, and the parts into which the work is divided."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from lingen_cli.datasets.footage import FPS, Clip, Footage
from lingen_cli.errors import InvalidOptionError

if TYPE_CHECKING:
    from lingen_training.training_recipe import Recipe

FORMAT = 1
"""Version of what a prepared folder holds."""
_PART_SECONDS = 300.0
_PART_BYTES = 64 << 20
_IMAGE_SECONDS = 1.0
"""Seconds that an image counts for in a part."""

Size = tuple[int, int]


@dataclass(frozen=True)
class Length:
    """Latent frames that are trained on, and those that are kept of a clip: at least one more, but
    for images, since what begins later is from inside a clip."""

    trained: int
    kept: int


@dataclass(frozen=True)
class Target:
    """Sizes and lengths among which all footage is divided: those of a source of a recipe. Without
    `buckets` there is one of each, and images are videos that stand still."""

    sizes: tuple[Size, ...]
    lengths: tuple[Length, ...]
    """The shortest first."""
    buckets: bool

    def size_of(self, width: int, height: int) -> Size:
        """The size whose proportions are the nearest."""
        seen = math.log(width / height)
        return min(self.sizes, key=lambda one: abs(math.log(one[0] / one[1]) - seen))

    def length_of(self, frames: float | None, time_stride: int) -> Length:
        """The longest that so many frames fill, else the shortest; None are those of an image."""
        if frames is None:
            return Length(1, 1) if self.buckets else self.lengths[0]
        filled = [one for one in self.lengths if frames_of(one.trained + 1, time_stride) <= frames]
        return filled[-1] if filled else self.lengths[0]

    @property
    def name(self) -> str:
        """Sizes and lengths for messages."""
        sizes = " ".join(f"{width}x{height}" for width, height in self.sizes)
        return f"{sizes}, {' or '.join(str(one.trained) for one in self.lengths)} latent frames"


@dataclass(frozen=True)
class Stretch:
    """A stretch of a clip in seconds; `number` is the clip's in its footage."""

    clip: Clip
    number: int
    begin: float
    end: float


@dataclass(frozen=True)
class Options:
    """Options that decide what is kept."""

    targets: tuple[Target, ...]
    min_seconds: float
    cut: bool


@dataclass(frozen=True)
class Plan:
    """Everything that decides what a prepared folder holds."""

    footage: Footage
    options: Options
    autoencoder: str
    """Hash of what makes the latents."""
    texts: tuple[str, ...]
    """Digests of the text encoders that read the captions."""
    parts: tuple[tuple[Stretch, ...], ...]
    """What is encoded into one file each."""

    def facts(self) -> dict[str, Any]:
        """A record that is the same for the same work."""
        rows = [
            (one.name_in(self.footage.folder), one.fingerprint, one.caption, one.seconds)
            for one in self.footage.clips
        ]
        return {
            "format": FORMAT,
            "footage": hashlib.sha256(json.dumps(rows).encode()).hexdigest(),
            "autoencoder": self.autoencoder,
            "texts": self.texts,
            "options": asdict(self.options),
            "parts": len(self.parts),
        }


def frames_of(latent_frames: int, time_stride: int) -> int:
    """Frames that so many latent frames stand for."""
    return 1 + time_stride * (latent_frames - 1)


def targets_of(recipe: Recipe) -> tuple[Target, ...]:
    """Sizes and lengths of the sources of a recipe that draw from a folder, each once."""
    found: dict[Target, None] = {}
    for stage in recipe.stage:
        for source in stage.source:
            if source.replay:
                continue
            if source.buckets is None:
                length = Length(source.latent_frames, source.cached_frames)
                found[Target(((source.size, source.size),), (length,), False)] = None
                continue
            lengths = sorted(set(source.buckets.latent_frames))
            kept = tuple(Length(one, max(source.cut_from, one + 1)) for one in lengths)
            found[Target(tuple(dict.fromkeys(source.buckets.sides)), kept, True)] = None
    return tuple(found)


def given_target(
    sizes: Sequence[str], latent_frames: Sequence[int], targets: Sequence[Target]
) -> Target:
    """The target of these sizes and lengths, or else of those of `targets`: with buckets, unless it
    has one square and one length. Raises InvalidOptionError (2)."""
    pairs = [_size(one) for one in sizes] or [one for target in targets for one in target.sizes]
    kinds = {one.trained: one for target in targets for one in target.lengths}
    if latent_frames:
        kinds = {one: Length(one, one + 1 if one > 1 else 1) for one in latent_frames}
    plain = len(set(pairs)) == len(kinds) == 1 and pairs[0][0] == pairs[0][1]
    if not plain and min(kinds) < 2:
        raise InvalidOptionError(
            "--latent-frames: give lengths of at least 2 for buckets; images have some of their own"
        )
    lengths = tuple(kinds[one] for one in sorted(kinds))
    return Target(tuple(dict.fromkeys(pairs)), lengths, not plain)


def _size(text: str) -> Size:
    found = re.fullmatch(r"([0-9]{2,5})(?:x([0-9]{2,5}))?", text)
    if found is None:
        raise InvalidOptionError(f"--size: {text!r} is neither a side nor WIDTHxHEIGHT")
    width, height = int(found[1]), int(found[2] or found[1])
    if width % 16 or height % 16 or min(width, height) < 64:
        raise InvalidOptionError(f"--size: {text}: multiples of 16, at least 64")
    return width, height


def divide(
    footage: Footage, targets: Sequence[Target], channels: int, time_stride: int, space_stride: int
) -> tuple[tuple[Stretch, ...], ...]:
    """Divide footage into parts of about five minutes, less where their latents would be large.

    A long video is in several; a cut is made where they meet.
    """
    pixels = sum(max(width * height for width, height in one.sizes) for one in targets)
    a_second = 2 * channels * FPS / time_stride * pixels / space_stride**2
    most = max(10.0, min(_PART_SECONDS, _PART_BYTES / a_second))
    parts: list[tuple[Stretch, ...]] = []
    held: list[Stretch] = []
    total = 0.0
    for number, clip in enumerate(footage.clips):
        seconds = _IMAGE_SECONDS if clip.seconds is None else clip.seconds
        pieces = max(1, math.ceil(seconds / most))
        for piece in range(pieces):
            end = seconds if piece == pieces - 1 else (piece + 1) * most
            if held and total + end - piece * most > most:
                parts.append(tuple(held))
                held, total = [], 0.0
            held.append(Stretch(clip, number, piece * most, end))
            total += end - piece * most
    return (*parts, tuple(held)) if held else tuple(parts)
