"""Embeddings of the timestep, of positions, and of layouts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lingen_models.parallel.slabs import Slabs


class TimestepEmbedding(nn.Module):
    """Flow time in [0, 1], one per latent frame, to features: sinusoids and a two-layer MLP."""

    frequencies = 128

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Linear(2 * self.frequencies, width), nn.SiLU(), nn.Linear(width, width)
        )

    def forward(self, t: Tensor) -> Tensor:
        """(B, T) -> (B, T, D)."""
        waves = sinusoids(1000 * t.float(), self.frequencies)
        return self.mlp(waves.to(next(self.mlp.parameters()).dtype))  # type: ignore[no-any-return]


def sinusoids(position: Tensor, frequencies: int) -> Tensor:
    """(...) -> (..., 2 * frequencies): cosines and sines of geometric wavelengths up to 10,000."""
    rates = torch.exp(
        -math.log(10_000) * torch.arange(frequencies, device=position.device) / frequencies
    )
    angles = position.unsqueeze(-1) * rates
    return torch.cat((angles.cos(), angles.sin()), -1)


class PositionTables(nn.Module):
    """Factorised learned positions for one block's first norm (paper.md 1.2).

    Each axis has its own table; their sum is added. Past a table's end, it is interpolated.
    """

    def __init__(self, width: int, grid: tuple[int, int, int]) -> None:
        super().__init__()
        self.time = nn.Parameter(0.5 * sinusoids(torch.arange(grid[0]), width // 2))
        self.height = nn.Parameter(0.5 * sinusoids(8.0 * torch.arange(grid[1]), width // 2))
        self.width = nn.Parameter(0.5 * sinusoids(8.0 * torch.arange(grid[2]), width // 2))

    def forward(
        self, grid: tuple[int, int, int], first_frame: int = 0, slabs: Slabs | None = None
    ) -> Tensor:
        """(T, H, W, D) for a grid whose first latent frame is number `first_frame` of its clip;
        with `slabs`, for the stretch that this process holds of such a grid."""
        first, last = (0, grid[0]) if slabs is None else slabs.own
        whole = grid[0] if slabs is None else slabs.length
        time = _rows(self.time, first_frame + whole)[first_frame + first : first_frame + last]
        height, width = _rows(self.height, grid[1]), _rows(self.width, grid[2])
        return time[:, None, None] + height[None, :, None] + width[None, None, :]


def _rows(table: Tensor, count: int) -> Tensor:
    """The first `count` rows; more than there are come from linear interpolation."""
    if count <= table.shape[0]:
        return table[:count]
    wide = torch.promote_types(table.dtype, torch.float32)
    stretched = F.interpolate(
        table.T.unsqueeze(0).to(wide), size=count, mode="linear", align_corners=True
    )
    return stretched.squeeze(0).T.to(table.dtype)


def grown_positions(name: str, given: Tensor, fresh: Tensor) -> Tensor:
    """The table `fresh` of a network that goes on from a smaller one, whose table was `given`.

    Frames keep their rows, and later ones begin as in a fresh network: a longer clip goes on. Lines
    and columns are stretched: in a larger image, the same place is at the same share of it.
    Tables that are not smaller, and all other tensors, are `given`.
    """
    axis = name.rpartition(".position.")[2] if ".position." in name else ""
    if not axis or given.shape[1:] != fresh.shape[1:] or len(given) >= len(fresh):
        return given
    if axis == "time":
        return torch.cat((given, fresh[len(given) :].to(given.dtype)))
    return _rows(given, len(fresh))


_SHARPNESS = 4.0
_RIM = 0.3
"""Tokens around a disc that count as occupied, too."""
_REACH = 1.5
"""Standard deviation of the bump around the middle of an object, in tokens."""
_DISC_GAIN = 16.0
"""Scale of the maps, which makes them about as large as the embedded latents to which they are
added: without it they are learnt ten times more slowly."""
_PHRASE_GAIN = 4.0
_LAGS = (1, 2)
"""Earlier latent frames of which the maps are given along. A causal decoder needs latents where an
object was before, that say that it has left: without these, outlines of it stay behind."""
_HARMONICS = (1, 3, 4, 5)
"""Multiples of an object's angle: what has three, four or five equal corners is the same again
after that part of a turn."""
_DISC_CHANNELS = 8 * (4 + len(_LAGS)) + 2 * len(_HARMONICS)
_PHRASE_MAPS = 4 + len(_LAGS)
INSTANTS = 3
"""Times at which the layout of a latent frame is given: its first image, its middle, its last.
In half a second, what bounces quickly is in quite different places."""


@dataclass(frozen=True)
class LayoutFeatures:
    """Places of objects as a denoiser takes them: `discs` (B, T, N, INSTANTS, 5) has x, y and
    radius in tokens, the angle in radians, and 1 where there is an object, else 0, per latent
    frame; `phrases` (B, N, D) has the features of its description (`pooled`)."""

    discs: Tensor
    phrases: Tensor

    def row(self, index: int) -> LayoutFeatures:
        """One row of the batch."""
        return LayoutFeatures(self.discs[index : index + 1], self.phrases[index : index + 1])

    def blank(self, rows: int) -> LayoutFeatures:
        """Rows of the same frames without any object."""
        return LayoutFeatures(
            self.discs.new_zeros((rows, *self.discs.shape[1:])),
            self.phrases.new_zeros((rows, *self.phrases.shape[1:])),
        )


def stack_layouts(
    layouts: Sequence[LayoutFeatures | None], rows: Sequence[int] | None = None
) -> LayoutFeatures | None:
    """One batch of layouts of the same frames. None stands for a row without any object, or as many
    as `rows` says; if nothing else is there, so is the batch."""
    known = next((one for one in layouts if one is not None), None)
    if known is None:
        return None
    rows = rows or [1] * len(layouts)
    found = [known.blank(n) if one is None else one for one, n in zip(layouts, rows, strict=True)]
    most = max(one.phrases.shape[1] for one in found)

    missing = [most - one.phrases.shape[1] for one in found]
    return LayoutFeatures(
        torch.cat([pad_objects(one.discs, n) for one, n in zip(found, missing, strict=True)]),
        torch.cat(
            [F.pad(one.phrases, (0, 0, 0, n)) for one, n in zip(found, missing, strict=True)]
        ),
    )


def pad_objects(discs: Tensor, count: int) -> Tensor:
    """Discs (..., N, INSTANTS, 5) with `count` more objects that are not there."""
    return F.pad(discs, (0, 0, 0, 0, 0, count))


def pooled(features: Tensor, mask: Tensor) -> Tensor:
    """Mean (R, D) of the features (R, M, D) of phrases over the tokens of `mask` (R, M), without
    the first, which begins the text; zero for an empty phrase."""
    words = mask.clone()
    words[:, 0] = False
    weights = words.unsqueeze(-1).to(features.dtype)
    return (features * weights).sum(1) / weights.sum(1).clamp(min=1)


class LayoutEmbedding(nn.Module):
    """A layout to what is added to the tokens. It begins as zero."""

    def __init__(self, width: int, phrase_size: int) -> None:
        super().__init__()
        self.disc_in = nn.Linear(_DISC_CHANNELS, width, bias=False)
        self.phrase_in = nn.Linear(phrase_size, _PHRASE_MAPS * width, bias=False)

    def reset_parameters(self) -> None:
        """Make the layout count for nothing, as in a fresh network."""
        nn.init.zeros_(self.disc_in.weight)
        nn.init.zeros_(self.phrase_in.weight)

    def forward(
        self, layout: LayoutFeatures, grid: tuple[int, int], slabs: Slabs | None = None
    ) -> Tensor:
        """(B, T, H, W, D) for `grid` lines and columns of tokens. Objects are added up, so their
        order and their number are free. With `slabs`, T are the latent frames that this process
        holds."""
        dtype = self.disc_in.weight.dtype
        wide = torch.promote_types(dtype, torch.float32)
        if slabs is None:
            maps, places = disc_maps(layout.discs, grid, wide)
        else:
            seen = slabs.with_rims(layout.discs, 1, max(_LAGS), 1)
            first = min(max(_LAGS), slabs.own[0])
            maps, places = (
                drawn[:, first : first + slabs.size] for drawn in disc_maps(seen, grid, wide)
            )
        drawn: Tensor = self.disc_in(maps.sum(2).to(dtype))
        phrases = self.phrase_in(_PHRASE_GAIN * layout.phrases.to(dtype))
        phrases = phrases.unflatten(-1, (_PHRASE_MAPS, -1))
        return drawn + torch.einsum("btnhwk,bnkd->bthwd", places.to(dtype), phrases)


def disc_maps(
    discs: Tensor, grid: tuple[int, int], dtype: torch.dtype = torch.float32
) -> tuple[Tensor, Tensor]:
    """Draw discs (B, T, N, INSTANTS, 5) of `LayoutFeatures` on `grid` lines and columns of tokens.

    Returns maps (B, T, N, H, W, 56) and places (B, T, N, H, W, 6), in `dtype`. `inside` is about 1
    on the disc, `near` a bump around its middle. The maps are both of them, each also times the
    distance to the middle in x and in y, `inside` times the radius, and 1 for an object that is
    there: in the middle of the frame, and how much each of these is another in the middle of the
    next frame and of those of `_LAGS`, in the first image and in the last; then `inside` times
    cosine less 1, and sine, of `_HARMONICS` of the angle; all times `_DISC_GAIN`. The places are
    `inside` and `near`, then `inside` in the frames of `_LAGS`, in the first image and in the
    last.
    """
    high, wide = grid
    x, y, radius, angle, there = (part[..., None, None] for part in discs.to(dtype).unbind(-1))
    across = x - torch.arange(wide, device=discs.device) - 0.5
    down = y - torch.arange(high, device=discs.device)[:, None] - 0.5
    distance = (across.square() + down.square()).sqrt()
    inside = torch.sigmoid(_SHARPNESS * (radius + _RIM - distance)) * there
    near = torch.exp(-distance.square() / (2 * _REACH**2)) * there
    channels = [
        *(inside, inside * across, inside * down, inside * radius),
        *(near, near * across, near * down, there.expand_as(near)),
    ]
    first, middle, last = torch.stack(channels, -1).unbind(3)
    others = [_shifted(middle, by) for by in (1, *(-lag for lag in _LAGS))]
    maps = [middle, *(other - middle for other in (*others, first, last))]
    filled = inside[..., 1, :, :]
    for times in _HARMONICS:
        turned = times * angle[..., 1, :, :]
        maps += [(filled * (turned.cos() - 1))[..., None], (filled * turned.sin())[..., None]]
    before = [_shifted(filled, -lag) for lag in _LAGS]
    places = [filled, near[..., 1, :, :], *before, inside[..., 0, :, :], inside[..., 2, :, :]]
    return _DISC_GAIN * torch.cat(maps, -1), torch.stack(places, -1)


def _shifted(frames: Tensor, by: int) -> Tensor:
    """The frames (B, T, ...) `by` places later; beyond the ends, the last or the first."""
    count = frames.shape[1]
    places = (torch.arange(count, device=frames.device) + by).clamp(0, count - 1)
    return frames[:, places]
