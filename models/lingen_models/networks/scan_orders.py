"""The orders in which layers read the token grid.

Those of Rotary Major Scan are a permute and a reshape of (B, T, H, W, D), never an index gather
(paper.md 2.3). Curves (`lingen_models.networks.space_filling_curves`) cost a gather.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from lingen_models.network_config import ConfigError
from lingen_models.networks.space_filling_curves import CURVES, Curve, Grid

_AXIS = {"t": 1, "h": 2, "w": 3}


@dataclass(frozen=True)
class Scan:
    """One flatten order, `axes` from the outer to the inner, such as "twh"."""

    axes: str

    def flatten(self, x: Tensor) -> Tensor:
        """(B, T, H, W, D) -> (B, T*H*W, D), in this order."""
        order = [_AXIS[axis] for axis in self.axes]
        return x.permute(0, *order, 4).flatten(1, 3)

    def restore(self, sequence: Tensor, grid: tuple[int, int, int]) -> Tensor:
        """(B, T*H*W, D) in this order -> (B, T, H, W, D), the inverse of `flatten`."""
        sizes = dict(zip("thw", grid, strict=True))
        x = torch.unflatten(sequence, 1, [sizes[axis] for axis in self.axes])
        back = [1 + self.axes.index(axis) for axis in "thw"]
        return x.permute(0, *back, 4)


@dataclass(frozen=True)
class CurveScan(Scan):
    """A curve through the grid as `axes` order it."""

    curve: Curve

    def flatten(self, x: Tensor) -> Tensor:
        """Flatten as `Scan.flatten` does."""
        sequence = super().flatten(x)
        return sequence.index_select(1, self._order((x.shape[1], x.shape[2], x.shape[3]), x)[0])

    def restore(self, sequence: Tensor, grid: Grid) -> Tensor:
        """Restore as `Scan.restore` does."""
        return super().restore(sequence.index_select(1, self._order(grid, sequence)[1]), grid)

    def _order(self, grid: Grid, like: Tensor) -> tuple[Tensor, Tensor]:
        sizes = dict(zip("thw", grid, strict=True))
        a, b, c = (sizes[axis] for axis in self.axes)
        return _order_and_back(self.curve, (a, b, c), like.device)


@lru_cache(maxsize=64)
def _order_and_back(curve: Curve, grid: Grid, device: torch.device) -> tuple[Tensor, Tensor]:
    """The cells in the order of the curve, and where on it each cell is."""
    with torch.inference_mode(False):
        order = curve(grid)
        return order.to(device), torch.argsort(order).to(device)


def scan_of_layer(axes: tuple[str, ...], layer: int) -> Scan:
    """The order that layer `layer` uses: the entries of `axes` alternate (paper.md 2.3).

    An entry is three axes, or the name of a curve before them. Raises ConfigError for a curve that
    nobody has registered.
    """
    name, _, order = axes[layer % len(axes)].rpartition("-")
    if not name:
        return Scan(order)
    if name not in CURVES:
        raise ConfigError(f"scan_axes: unknown curve {name!r}: {', '.join(sorted(CURVES))}")
    return CurveScan(order, CURVES[name])
