"""Rotary Major Scan: reading the token grid in four orders, one per layer in turn.

Each order is a permute and a reshape of (B, T, H, W, D), never an index gather (paper.md 2.3).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

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


def scan_of_layer(axes: tuple[str, ...], layer: int) -> Scan:
    """The order that layer `layer` uses: the entries of `axes` alternate (paper.md 2.3)."""
    return Scan(axes[layer % len(axes)])
