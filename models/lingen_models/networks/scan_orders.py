"""The orders in which layers read the token grid.

Those of Rotary Major Scan are a permute and a reshape of (B, T, H, W, D), never an index gather
(paper.md 2.3). Curves (`lingen_models.networks.space_filling_curves`) cost a gather.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from lingen_models.network_config import ConfigError
from lingen_models.networks.space_filling_curves import CURVES, Curve, Grid
from lingen_models.parallel.collectives import swapped
from lingen_models.parallel.slabs import Slabs

Places = tuple[list[Tensor], list[Tensor]]
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

    def stretch(self, x: Tensor, slabs: Slabs) -> tuple[Tensor, Slabs]:
        """Take part in flattening a grid of whose latent frames this process holds `x` (B, T, H,
        W, D): returns its stretch (B, L, D) of the sequence, and how that is divided.

        Where time is the outermost axis, a slab of frames is a stretch. Else tokens go to slabs of
        the axes outside it, all to all.
        """
        outside = self.axes.index("t")
        if outside == 0:
            return self.flatten(x), slabs.times(x.shape[2] * x.shape[3])
        order = [_AXIS[axis] for axis in self.axes]
        sizes = [x.shape[axis] for axis in order]
        lines, inside = math.prod(sizes[:outside]), math.prod(sizes[outside + 1 :])
        sorted_x = x.permute(0, *order, 4).reshape(
            x.shape[0], lines, slabs.size, inside, x.shape[-1]
        )
        there = slabs.evenly(lines)
        tokens = slabs.turned(sorted_x, 2, 1, there)
        return tokens.flatten(1, 3), there.times(slabs.length * inside)

    def rejoined(self, y: Tensor, grid: Grid, slabs: Slabs) -> Tensor:
        """The inverse of `stretch`, for a whole grid of (T, H, W)."""
        own = (slabs.size, grid[1], grid[2])
        outside = self.axes.index("t")
        if outside == 0:
            return self.restore(y, own)
        sizes = dict(zip("thw", grid, strict=True))
        lines, inside = (
            math.prod(sizes[axis] for axis in axes)
            for axes in (self.axes[:outside], self.axes[outside + 1 :])
        )
        there = slabs.evenly(lines)
        sorted_y = torch.unflatten(y, 1, (there.size, slabs.length, inside))
        return self.restore(there.turned(sorted_y, 1, 2, slabs).flatten(1, 3), own)


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

    def stretch(self, x: Tensor, slabs: Slabs) -> tuple[Tensor, Slabs]:
        """Take part as in `Scan.stretch`; a stretch of a curve may have tokens of every slab."""
        there = slabs.evenly(slabs.length * x.shape[2] * x.shape[3])
        given, taken = self._places((slabs.length, x.shape[2], x.shape[3]), slabs, x.device)
        cells = super().flatten(x)
        received = _swapped_places(cells, given, taken, slabs)
        return received.index_select(1, torch.cat(taken).argsort()), there

    def rejoined(self, y: Tensor, grid: Grid, slabs: Slabs) -> Tensor:
        """The inverse of `stretch`."""
        given, taken = self._places(grid, slabs, y.device)
        received = _swapped_places(y, taken, given, slabs)
        cells = received.index_select(1, torch.cat(given).argsort())
        return super().restore(cells, (slabs.size, grid[1], grid[2]))

    def _places(self, grid: Grid, slabs: Slabs, device: torch.device) -> Places:
        sizes = dict(zip("thw", grid, strict=True))
        a, b, c = (sizes[axis] for axis in self.axes)
        return _curve_places(self.curve, (a, b, c), self.axes.index("t"), slabs, device)

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


@lru_cache(maxsize=64)
def _curve_places(
    curve: Curve, grid: Grid, time: int, slabs: Slabs, device: torch.device
) -> Places:
    """Cells of this process's slab that each process reads, and places of this process's stretch
    of the curve whose cells each process holds. `time` is the divided axis of `grid`."""
    with torch.inference_mode(False):
        order = curve(grid)
        cells = list(torch.unravel_index(order, grid))
        holder = torch.bucketize(
            cells[time].contiguous(), torch.tensor(slabs.bounds[1:]), right=True
        )
        cells[time] = cells[time] - slabs.own[0]
        b, c = (slabs.size if axis == time else grid[axis] for axis in (1, 2))
        own_cell = (cells[0] * b + cells[1]) * c + cells[2]
        stretches = slabs.evenly(len(order))
        is_own = holder == slabs.rank
        given = [own_cell[a:z][is_own[a:z]] for a, z in stretches.stretches]
        reader = holder[slice(*stretches.own)]
        taken = [(reader == rank).nonzero()[:, 0] for rank in range(slabs.processes)]
        return [part.to(device) for part in given], [part.to(device) for part in taken]


def _swapped_places(
    x: Tensor, given: Sequence[Tensor], taken: Sequence[Tensor], slabs: Slabs
) -> Tensor:
    """Send the tokens of (B, L, D) at the `given` places to each process, and join as many as the
    `taken` places of each."""
    batch, _, width = x.shape
    return swapped(
        x,
        {rank: x.index_select(1, at) for rank, at in enumerate(given) if len(at)},
        {rank: (batch, len(at), width) for rank, at in enumerate(taken) if len(at)},
        axis=1,
        empty=(batch, 0, width),
        rank=slabs.rank,
        processes=slabs.processes,
    )


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
