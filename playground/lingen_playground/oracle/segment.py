"""From pixels to masks: what the background is, which colors stand before it, and where.

Nothing here knows what was asked for. Every decision goes to the nearest class.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

from lingen_playground.scenes.palette import BACKGROUNDS, COLORS, RGB, visible

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
"""Colors that a background is made of, the most frequent first."""
_VOTERS: Final = 3
"""Tones of each that tell backgrounds apart; the others are clouds and stars, which are near white
and grey."""
_ALIKE: Final = 60.0
"""Distance in sRGB steps up to which a pixel has the tone of a background, and an object on the
whole the color that it is nearest to: what is further off is part of another background."""

_LEAST_AREA: Final = 0.004
"""Share of the clip's pixels that an object must have: half a small ball seen a quarter of the
time. Anything less is a speck. Of a frame, a piece that large counts as an object."""
_COUNTED_AT: Final = 64
"""Width to which masks are thinned before their pieces are counted."""
_SPECK: Final = 5 / 128
"""Width in frame widths of what counts as a speck: stars of the night, fringes of an edge."""


@dataclass(frozen=True)
class Layers:
    """A clip taken apart. `masks` bool (objects, T, H, W), in the order of `colors`, which is
    largest first. `count` is the number of connected objects, of any color, that at least a third
    of the frames show. `backed` is the share of what is beside all objects that looks like the
    background, in the tenth of the frames where it is least."""

    background: str
    colors: tuple[str, ...]
    masks: Tensor
    count: int
    backed: float


def as_float(video: Tensor) -> Tensor:
    """Video (T, H, W, 3), uint8 or float in [-1, 1], as float32 0..255. Raises ValueError."""
    if video.ndim != 4 or video.shape[-1] != 3:
        raise ValueError(f"a video has the shape (T, H, W, 3), not {tuple(video.shape)}")
    if video.dtype == torch.uint8:
        return video.float()
    return (video.float().clamp(-1, 1) + 1) * 127.5


def take_apart(video: Tensor, most: int) -> Layers:
    """Layers of a video (T, H, W, 3) with at most `most` objects, each of one color."""
    pixels = as_float(video)
    background = _background(pixels)
    names = [color for color in COLORS if visible(color, background)]
    behind = _likeness(pixels, _TONES[background]).amax(-1, keepdim=True)
    before = _likeness(pixels, [COLORS[name] for name in names])
    nearest = torch.cat((before, behind), -1).argmax(-1)
    cores: dict[str, Tensor] = {}
    for index, name in enumerate(names):
        raw = nearest == index
        if float(raw.float().mean()) >= _LEAST_AREA:
            core = _open(raw)
            if float(core.float().mean()) >= _LEAST_AREA:
                cores[name] = core
    wide = {name: _grow(core) for name, core in cores.items()}
    count = _count([(nearest == names.index(name)) & near for name, near in wide.items()])
    objects = torch.zeros_like(nearest, dtype=torch.bool)
    for name, core in cores.items():
        if math.dist(pixels[core].mean(0).tolist(), COLORS[name]) < _ALIKE:
            objects |= wide[name]
    backed = _backed(pixels, ~objects, background)
    found = sorted(cores, key=lambda name: -int(cores[name].sum()))[:most]
    if not found:
        none = torch.zeros(0, *pixels.shape[:3], dtype=torch.bool)
        return Layers(background, (), none, count, backed)
    chosen = before[..., [names.index(name) for name in found]]
    owner = torch.cat((chosen, behind), -1).argmax(-1)
    masks = [(owner == i) & wide[name] for i, name in enumerate(found)]
    return Layers(background, tuple(found), torch.stack(masks), count, backed)


def unlike_background(video: Tensor) -> Tensor | None:
    """Find what stands before the background, of any color: of each frame of a video (T, H, W, 3)
    the largest connected piece, as a mask (T, H, W). None where one frame in ten has other large
    pieces that touch no edge, so that it is not one object that leaves on one side and comes back
    on the other."""
    pixels = as_float(video)
    tones = pixels.new_tensor(_TONES[_background(pixels)])
    near = torch.cdist(pixels.flatten(1, 2), tones.expand(len(pixels), -1, -1)).amin(-1)
    raw = (near >= _ALIKE).view(pixels.shape[:3])
    mask = raw & _grow(_open(raw))
    labels, least = _label(mask), _LEAST_AREA * mask[0].numel()
    largest, crowded = torch.zeros_like(mask), 0
    for index, frame in enumerate(labels):
        pieces = sorted(_pieces(frame), key=lambda piece: -piece[1])
        if pieces:
            largest[index] = frame == pieces[0][0]
        edge = set(torch.cat((frame[0], frame[-1], frame[:, 0], frame[:, -1])).tolist())
        crowded += any(mass >= least and label not in edge for label, mass, _ in pieces[1:])
    return None if crowded > len(labels) / 10 else largest


def divide(mask: Tensor) -> Tensor | None:
    """The masks (2, T, H, W) of two objects of one color, which together are `mask` (T, H, W): one
    stays left of the other, or above it. None where they do not."""
    labels = _label(mask)
    frames = [_pieces(frame) for frame in labels]
    least = _LEAST_AREA * mask[0].numel()
    pairs = []
    for pieces in frames:
        large = [place for _, mass, place in pieces if mass >= least]
        if len(large) == 2:
            pairs.append(large)
    if len(pairs) < 3:
        return None
    places = torch.tensor(pairs)  # (N, 2 objects, 2 axes)
    low, high = places.amin(1).amax(0), places.amax(1).amin(0)
    axis = int((high - low).argmax())
    if high[axis] <= low[axis]:
        return None
    border = float(low[axis] + high[axis]) / 2
    first = torch.zeros_like(mask)
    for index, pieces in enumerate(frames):
        for label, _, place in pieces:
            if place[axis] < border:
                first[index] |= labels[index] == label
    return torch.stack((first, mask & ~first))


def _pieces(labels: Tensor) -> list[tuple[int, int, tuple[float, float]]]:
    """Label, area and centroid (x, y) of each piece of a labelled frame (H, W)."""
    high, wide = labels.shape
    flat = labels.flatten()
    areas = flat.bincount()
    x = flat.bincount(weights=torch.arange(wide).repeat(high).double()) / areas
    y = flat.bincount(weights=torch.arange(high).repeat_interleave(wide).double()) / areas
    return [
        (name, int(areas[name]), (float(x[name]), float(y[name])))
        for name in areas.nonzero()[:, 0].tolist()
        if name
    ]


def _label(mask: Tensor) -> Tensor:
    """Mask (T, H, W) with a number for each connected piece of a frame, 0 outside."""
    numbers = torch.arange(1.0, mask[0].numel() + 1).view(mask.shape[1:])
    labels = mask * numbers
    while True:
        spread = F.max_pool2d(labels[:, None], 3, 1, 1)[:, 0] * mask
        if torch.equal(spread, labels):
            return labels.long()
        labels = spread


def _count(masks: Iterable[Tensor]) -> int:
    """How many pieces of these masks (T, H, W) at least a third of the frames show: objects may
    leave the frame for a while."""
    totals = []
    for mask in masks:
        step = max(1, mask.shape[-1] // _COUNTED_AT)
        labels = _label(mask[:, ::step, ::step])
        least = _LEAST_AREA * labels[0].numel()
        totals.append([sum(mass >= least for _, mass, _ in _pieces(frame)) for frame in labels])
    counts = sorted((sum(frame) for frame in zip(*totals, strict=True)), reverse=True)
    return counts[len(counts) // 3] if counts else 0


def _backed(pixels: Tensor, beside: Tensor, background: str) -> float:
    """Share of the pixels (T, H, W, 3) in `beside` (T, H, W) that look like the background, in the
    tenth of the frames where it is least; every fourth pixel is looked at."""
    pixels, beside = pixels[:, ::2, ::2], beside[:, ::2, ::2]
    names = [name for name, tones in _TONES.items() for _ in tones]
    table = pixels.new_tensor([tone for tones in _TONES.values() for tone in tones])
    near = torch.cdist(pixels.flatten(1, 2), table.expand(len(pixels), -1, -1))
    distance, index = near.min(-1)
    own = torch.tensor([name == background for name in names])[index] & (distance < _ALIKE)
    there = beside.flatten(1)
    shares = (own & there).sum(1) / there.sum(1).clamp(min=1)
    return float(torch.quantile(shares, 0.1))


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


def _likeness(pixels: Tensor, colors: Sequence[RGB]) -> Tensor:
    """(..., K), the greater the nearer pixels (..., 3) are to each of K colors.

    Half the squared distance, less what is the same for all colors, negated.
    """
    table = pixels.new_tensor(list(colors))
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
