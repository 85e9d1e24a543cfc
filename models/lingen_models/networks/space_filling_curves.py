"""Curves through the token grid that no transpose gives: orders that cost a gather.

Each is a function from a grid (A, B, C), outer axis to inner, to the A*B*C row-major numbers of its
cells in the order of the curve. Nothing here imports torch when imported.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

Grid = tuple[int, int, int]
Curve = Callable[[Grid], "Tensor"]


def zigzag(grid: Grid) -> Tensor:
    """Every second line backwards, so that the next cell is always a neighbour (as in ZigMa, arXiv
    2403.13802, in three dimensions)."""
    import torch

    planes, lines, cells = grid
    order = torch.arange(planes * lines * cells).view(grid)
    order[1::2] = order[1::2].flip(1)
    flat = order.view(planes * lines, cells)
    flat[1::2] = flat[1::2].flip(1)
    return flat.flatten()


def hilbert(grid: Grid) -> Tensor:
    """Hilbert's curve through cubes that are stacked along the longest axis.

    The cubes have the smallest power of two as side that holds the two other axes; cells of a cube
    beyond the grid are left out, and where a grid fills its cubes the next cell is a neighbour.
    """
    import torch

    long = max(range(3), key=lambda axis: grid[axis])
    axes = [long, *(axis for axis in range(3) if axis != long)]
    bits = max(1, (max(grid[axis] for axis in axes[1:]) - 1).bit_length())
    cells = torch.cartesian_prod(*(torch.arange(size) for size in grid)).unbind(1)
    along, *across = (cells[axis] for axis in axes)
    place = _hilbert_key([along % (1 << bits), *across], bits)
    return torch.argsort(((along >> bits) << (3 * bits)) + place)


def _hilbert_key(cell: list[Tensor], bits: int) -> Tensor:
    """The place on Hilbert's curve of cells of a cube with a side of 2**bits, (N,) per axis.

    The curve ends a step from the cube that follows along the first axis.

    J. Skilling, "Programming the Hilbert curve", AIP Conference Proceedings 707 (2004).
    """
    import torch

    x = [axis.clone() for axis in cell]
    for bit in range(bits - 1, 0, -1):
        low = (1 << bit) - 1
        for axis in range(3):
            is_set = (x[axis] >> bit & 1).bool()
            swapped = torch.where(is_set, 0, (x[0] ^ x[axis]) & low)
            x[0] = x[0] ^ torch.where(is_set, low, swapped)
            x[axis] = x[axis] ^ swapped if axis else x[0]
    x[1] = x[1] ^ x[0]
    x[2] = x[2] ^ x[1]
    turned = torch.zeros_like(x[0])
    for bit in range(bits - 1, 0, -1):
        turned = turned ^ torch.where((x[2] >> bit & 1).bool(), (1 << bit) - 1, 0)
    key = torch.zeros_like(x[0])
    for bit in range(bits - 1, -1, -1):
        for row in x:
            key = key << 1 | (row ^ turned) >> bit & 1
    return key


CURVES: dict[str, Curve] = {"zigzag": zigzag, "hilbert": hilbert}
"""By the name that stands before the axes: `hilbert-twh` is Hilbert's curve through that order."""
