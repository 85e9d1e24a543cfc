"""Embeddings of the timestep, of positions, and of layouts.

A layout says where the objects of a clip begin, as numbers beside the features of the prompt.

A prompt may end with layout words for each object, such as `x3 y9 p1`: the column and the line of
its middle in cells of 8 pixels, and the quarter of its period. The word encoder reads them like
other words, and gives their values along; the denoiser adds a map of them to its tokens. Through
the words alone, a small network needs very long to learn where a cell is.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


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

    def forward(self, grid: tuple[int, int, int], first_frame: int = 0) -> Tensor:
        """(T, H, W, D) for a grid whose first latent frame is number `first_frame` of its clip."""
        time = _rows(self.time, first_frame + grid[0])[first_frame:]
        height, width = _rows(self.height, grid[1]), _rows(self.width, grid[2])
        return time[:, None, None] + height[None, :, None] + width[None, None, :]


def _rows(table: Tensor, count: int) -> Tensor:
    """The first `count` rows; more than there are come from linear interpolation."""
    if count <= table.shape[0]:
        return table[:count]
    stretched = F.interpolate(
        table.T.unsqueeze(0).float(), size=count, mode="linear", align_corners=True
    )
    return stretched.squeeze(0).T.to(table.dtype)


LAYOUT_CHANNELS = 6
"""Numbers of a word: first object, second object, x, y in cells, sine and cosine of the phase; all
zero for words that do not begin the layout of an object."""
_CELLS_PER_TOKEN = 2
_BUMPS = (0.7, 1.5)
"""Standard deviations of the bumps that stand for an object, in tokens."""
_SLOTS = 2
LAYOUT_MAPS = 2 * _SLOTS * (3 * len(_BUMPS) + 2)
"""Channels of `layout_map`."""
_KINDS = {"x": 1, "y": 2, "p": 3}


class LayoutWords(nn.Module):
    """Numbers of the layout words among tokens."""

    def __init__(self, words: Sequence[str], first: int) -> None:
        """Prepare for tokens of which number `first` stands for the first of `words`."""
        super().__init__()
        kinds, values = [0] * first, [0] * first
        for word in words:
            found = re.fullmatch(r"([xyp])(\d+)", word)
            kinds.append(_KINDS[found[1]] if found else 0)
            values.append(int(found[2]) if found else 0)
        self.kinds: Tensor
        self.values: Tensor
        self.register_buffer("kinds", torch.tensor(kinds), persistent=False)
        self.register_buffer("values", torch.tensor(values), persistent=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, M) -> (B, M, LAYOUT_CHANNELS), float32."""
        kinds, values = self.kinds[tokens], self.values[tokens].float()
        begins = (kinds == 1) & (_later(kinds, 1) == 2)
        order = begins.long().cumsum(1)
        slots = [begins & (order == slot + 1) for slot in range(_SLOTS)]
        phase = (_later(values, 2) + 0.5) * (math.pi / 2)
        known = begins & (_later(kinds, 2) == 3)
        return torch.stack(
            [
                *(slot.float() for slot in slots),
                (values + 0.5) * begins,
                (_later(values, 1) + 0.5) * begins,
                phase.sin() * known,
                phase.cos() * known,
            ],
            -1,
        )


def _later(row: Tensor, by: int) -> Tensor:
    """Each word's value is that of the word `by` places later, zero past the end."""
    return nn.functional.pad(row, (0, by))[:, by:]


def layout_map(places: Tensor, grid: tuple[int, int, int]) -> Tensor:
    """Draw the layout of (B, M, LAYOUT_CHANNELS) words on a grid of (T, H, W) tokens.

    Returns (B, T, H, W, LAYOUT_MAPS), float32: for each of two objects, bumps of two widths about
    its place, these times the distance in x and in y, and the narrow one times sine and cosine of
    the phase; the second half of the channels has the same in the first frame alone.
    """
    frames, high, wide = grid
    places = places.float()
    slots, x, y = places[..., :_SLOTS], places[..., _SLOTS], places[..., _SLOTS + 1]
    across, down = (
        (at[..., None] / _CELLS_PER_TOKEN - torch.arange(count, device=places.device) - 0.5)
        for at, count in ((x, wide), (y, high))
    )
    maps = []
    for number, width in enumerate(_BUMPS):
        columns, lines = (torch.exp(-away.square() / (2 * width**2)) for away in (across, down))
        pairs = [(lines, columns), (lines, columns * across), (lines * down, columns)]
        if number == 0:
            sine, cosine = places[..., -2, None], places[..., -1, None]
            pairs += [(lines * sine, columns), (lines * cosine, columns)]
        maps += [torch.einsum("bms,bmh,bmw->bhws", slots, one, two) for one, two in pairs]
    drawn = torch.cat(maps, -1)[:, None].expand(-1, frames, -1, -1, -1)
    first = torch.zeros_like(drawn)
    first[:, 0] = drawn[:, 0]
    return torch.cat((drawn, first), -1)
