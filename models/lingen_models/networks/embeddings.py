"""Timestep, position and patch embeddings."""

from __future__ import annotations

import math

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
