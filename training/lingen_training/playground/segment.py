"""From pixels to masks: what the background is, which colours stand before it, and where.

Nothing here knows what was asked for. Every decision goes to the nearest class.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from .palette import BACKGROUNDS, COLOURS, RGB, visible

_TONES: Final[dict[str, tuple[RGB, ...]]] = {
    "white": (BACKGROUNDS["white"],),
    "black": (BACKGROUNDS["black"],),
    "grey": (BACKGROUNDS["grey"],),
    "blue sky": (
        BACKGROUNDS["blue sky"],
        (150, 207, 243),
        (178, 220, 246),
        (205, 233, 249),
        (232, 244, 252),
    ),
    "green grass": (BACKGROUNDS["green grass"], (78, 128, 58), (105, 155, 85)),
    "yellow sand": (BACKGROUNDS["yellow sand"], (213, 189, 135), (234, 210, 156)),
    "starry night": (BACKGROUNDS["starry night"], (24, 24, 76), (70, 70, 95), (135, 135, 145)),
}
"""Colours that a background is made of, the most frequent first."""
_VOTERS: Final = 3
"""Tones of each that tell backgrounds apart; the others are clouds and stars, which are near white
and grey."""

_LEAST_AREA: Final = 0.004
"""Share of the clip's pixels that an object must have: half a small ball seen a quarter of the
time. Anything less is a speck."""
_SPECK: Final = 5 / 128
"""Width in frame widths of what counts as a speck: stars of the night, fringes of an edge."""


@dataclass(frozen=True)
class Layers:
    """A clip taken apart. `masks` bool (objects, T, H, W), in the order of `colours`, which is
    largest first."""

    background: str
    colours: tuple[str, ...]
    masks: Tensor


def as_float(video: Tensor) -> Tensor:
    """Video (T, H, W, 3), uint8 or float in [-1, 1], as float32 0..255. Raises ValueError."""
    if video.ndim != 4 or video.shape[-1] != 3:
        raise ValueError(f"a video has the shape (T, H, W, 3), not {tuple(video.shape)}")
    if video.dtype == torch.uint8:
        return video.float()
    return (video.float().clamp(-1, 1) + 1) * 127.5


def take_apart(video: Tensor, most: int) -> Layers:
    """Layers of a video (T, H, W, 3) with at most `most` objects, each of one colour."""
    pixels = as_float(video)
    background = _background(pixels)
    names = [colour for colour in COLOURS if visible(colour, background)]
    behind = _likeness(pixels, _TONES[background]).amax(-1, keepdim=True)
    before = _likeness(pixels, [COLOURS[name] for name in names])
    nearest = torch.cat((before, behind), -1).argmax(-1)
    cores: dict[str, Tensor] = {}
    for index, name in enumerate(names):
        raw = nearest == index
        if float(raw.float().mean()) >= _LEAST_AREA:
            core = _open(raw)
            if float(core.float().mean()) >= _LEAST_AREA:
                cores[name] = core
    found = sorted(cores, key=lambda name: -int(cores[name].sum()))[:most]
    if not found:
        return Layers(background, (), torch.zeros(0, *pixels.shape[:3], dtype=torch.bool))
    chosen = before[..., [names.index(name) for name in found]]
    owner = torch.cat((chosen, behind), -1).argmax(-1)
    masks = [(owner == i) & _grow(cores[name]) for i, name in enumerate(found)]
    return Layers(background, tuple(found), torch.stack(masks))


def _background(pixels: Tensor) -> str:
    """The background whose tones most pixels of some frames are nearest to."""
    voters = [(name, tone) for name, tones in _TONES.items() for tone in tones[:_VOTERS]]
    some = pixels[:: max(1, len(pixels) // 16)]
    nearest = _likeness(some, [tone for _, tone in voters]).argmax(-1)
    counts = torch.bincount(nearest.flatten(), minlength=len(voters)).tolist()
    votes = dict.fromkeys(_TONES, 0)
    for (name, _), count in zip(voters, counts, strict=True):
        votes[name] += count
    return max(votes, key=lambda name: votes[name])


def _likeness(pixels: Tensor, colours: Sequence[RGB]) -> Tensor:
    """(..., K), the greater the nearer pixels (..., 3) are to each of K colours.

    Half the squared distance, less what is the same for all colours, negated.
    """
    table = pixels.new_tensor(list(colours))
    return pixels @ table.T - (table * table).sum(-1) / 2


def _speck(mask: Tensor) -> int:
    return 2 * round(_SPECK * mask.shape[-1] / 2) + 1


def _open(mask: Tensor) -> Tensor:
    """Mask (T, H, W) without anything narrower than a speck."""
    width = _speck(mask)
    return widen(~widen(~mask, width), width)


def _grow(mask: Tensor) -> Tensor:
    return widen(mask, _speck(mask) + 2)


def widen(mask: Tensor, width: int) -> Tensor:
    """Mask (T, H, W) grown by half of `width`, an odd number of pixels, on all sides."""
    for axis in (1, 2):
        grown, length = mask.clone(), mask.shape[axis]
        for shift in range(1, width // 2 + 1):
            rest = length - shift
            grown.narrow(axis, shift, rest).logical_or_(mask.narrow(axis, 0, rest))
            grown.narrow(axis, 0, rest).logical_or_(mask.narrow(axis, shift, rest))
        mask = grown
    return mask
