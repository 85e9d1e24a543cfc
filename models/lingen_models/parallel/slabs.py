"""An axis that is divided over processes, and how tensors go from one division to another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from torch import Tensor

from lingen_models.parallel.collectives import swapped

Stretch = tuple[int, int]
"""Begin and end."""


@dataclass(frozen=True)
class Slabs:
    """An axis of which every process of a group holds a stretch, which may be empty.

    The functions that move tensors are collective calls, with a gradient; every process hands in
    the same, but for its part of the tensor.
    """

    bounds: tuple[int, ...]
    """Process number r holds `bounds[r]` up to `bounds[r + 1]`."""
    rank: int
    """The number of this process."""

    @classmethod
    def even(cls, length: int, processes: int, rank: int) -> Slabs:
        """Stretches that differ by one at most."""
        bounds = tuple(length * number // processes for number in range(processes + 1))
        return cls(bounds, rank)

    @property
    def processes(self) -> int:
        """Number of the processes."""
        return len(self.bounds) - 1

    @property
    def length(self) -> int:
        """Length of the whole axis."""
        return self.bounds[-1]

    @property
    def stretches(self) -> list[Stretch]:
        """The stretches of all processes."""
        return list(pairwise(self.bounds))

    @property
    def own(self) -> Stretch:
        """The stretch of this process."""
        return self.bounds[self.rank], self.bounds[self.rank + 1]

    @property
    def size(self) -> int:
        """Length of the stretch of this process."""
        first, last = self.own
        return last - first

    def at(self, bounds: Sequence[int]) -> Slabs:
        """Another division over the same processes."""
        return replace(self, bounds=tuple(bounds))

    def evenly(self, length: int) -> Slabs:
        """Divide an axis of this length evenly over the same processes."""
        return Slabs.even(length, self.processes, self.rank)

    def times(self, count: int) -> Slabs:
        """The division of `count` numbers for each one of these."""
        return self.at([count * bound for bound in self.bounds])

    def whole_cells(self, step: int) -> tuple[Slabs, Slabs]:
        """The nearest division, from above, into whole cells of `step` numbers (the last may be
        shorter), and the division of the cells."""
        cells = [-(-bound // step) for bound in self.bounds]
        return self.at([min(step * cell, self.length) for cell in cells]), self.at(cells)

    def moved(self, x: Tensor, axis: int, there: Slabs) -> Tensor:
        """Take `x` from this division of `axis` to another one."""
        return self._exchanged(x, axis, there.stretches)

    def with_rims(self, x: Tensor, axis: int, before: int, after: int) -> Tensor:
        """`x` with what its neighbours hold up to so far from it; nothing beyond the ends of the
        axis, nor for a stretch that is empty."""
        wanted = [
            (max(0, first - before), min(self.length, last + after)) if last > first else (0, 0)
            for first, last in self.stretches
        ]
        return self._exchanged(x, axis, wanted)

    def turned(self, x: Tensor, axis: int, other: int, there: Slabs) -> Tensor:
        """Gather the whole `axis`, which was divided like this, of a stretch of axis `other`,
        which is then divided like `there`."""
        parts, shapes = {}, {}
        for number, ((a, b), (c, d)) in enumerate(
            zip(self.stretches, there.stretches, strict=True)
        ):
            if self.size and d > c:
                parts[number] = x.narrow(other, c, d - c)
            if there.size and b > a:
                shapes[number] = _resized(x, {axis: b - a, other: there.size})
        empty = _resized(x, {axis: 0, other: there.size})
        return swapped(
            x, parts, shapes, axis=axis, empty=empty, rank=self.rank, processes=self.processes
        )

    def _exchanged(self, x: Tensor, axis: int, wanted: Sequence[Stretch]) -> Tensor:
        """Take the stretch of `axis` that each process wants."""
        held = self.stretches
        if list(wanted) == held:
            return x
        first, last = self.own
        begin, end = wanted[self.rank]
        parts, shapes = {}, {}
        for number, ((a, b), (c, d)) in enumerate(zip(held, wanted, strict=True)):
            if (given := min(last, d) - max(first, c)) > 0:
                parts[number] = x.narrow(axis, max(first, c) - first, given)
            if (taken := min(b, end) - max(a, begin)) > 0:
                shapes[number] = _resized(x, {axis: taken})
        empty = _resized(x, {axis: 0})
        return swapped(
            x, parts, shapes, axis=axis, empty=empty, rank=self.rank, processes=self.processes
        )


def _resized(x: Tensor, sizes: dict[int, int]) -> list[int]:
    """The shape of `x` with other sizes of some axes."""
    return [sizes.get(axis, size) for axis, size in enumerate(x.shape)]
