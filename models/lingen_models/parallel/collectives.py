"""Exchanges between processes that have a gradient.

Every process of a group has to call them in the same order, and so it is in the backward pass:
autograd goes through the nodes of a graph in the reverse order of their making. No function here
returns a tensor that is cut off from the exchange, or its gradient would wait for ever.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as distributed
from torch import Tensor
from torch.autograd.function import once_differentiable

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup


@dataclass(frozen=True)
class AbsentGroup:
    """Processes of which only number `rank` of `size` is there, to count what it holds on the meta
    device: what comes from the others has a shape and no values."""

    rank: int
    size: int


def swapped(
    x: Tensor,
    parts: Mapping[int, Tensor],
    shapes: Mapping[int, Sequence[int]],
    *,
    axis: int,
    empty: Sequence[int],
    group: ProcessGroup | AbsentGroup | None,
) -> Tensor:
    """Send parts of `x` to processes, and join what comes from them.

    Args:
        x: a tensor of the same type as its parts.
        parts: what each process is to have, by its number; others get nothing.
        shapes: the shape of what comes from each process that sends something to this one.
        axis: along which that is joined, in the order of the processes.
        empty: the shape of the result, but for nothing along `axis`.
        group: the processes; None for all.
    """
    rank, count = _rank_and_size(group)
    others = [number for number in range(count) if number != rank]
    given, taken = [0] * count, [0] * count
    flat = [x[:0].reshape(-1)]
    for number in others:
        if number in parts:
            flat.append(parts[number].reshape(-1))
            given[number] = flat[-1].numel()
        if number in shapes:
            taken[number] = torch.Size(shapes[number]).numel()
    found: Tensor = _AllToAll.apply(torch.cat(flat), given, taken, group)  # type: ignore[no-untyped-call]
    pieces = [found[:0].view(torch.Size(empty))]
    for number, piece in enumerate(torch.split(found, taken)):
        if number == rank and number in parts:
            pieces.append(parts[number])
        elif number in shapes and number != rank:
            pieces.append(piece.view(torch.Size(shapes[number])))
    return torch.cat(pieces, axis)


def summed(x: Tensor, group: ProcessGroup | AbsentGroup | None) -> Tensor:
    """The sum over the processes."""
    total: Tensor = _Summed.apply(x, group)  # type: ignore[no-untyped-call]
    return total


def passed_on(pair: Tensor, by: int, group: ProcessGroup | AbsentGroup | None) -> Tensor:
    """Pass the first of `pair` (2, ...) to the process `by` numbers further on and the second to
    the one `by` numbers before; returns what comes from there, zero where nothing does."""
    passed: Tensor = _PassedOn.apply(pair, by, group)  # type: ignore[no-untyped-call]
    return passed


class _AllToAll(torch.autograd.Function):
    """`given` numbers of a flat tensor to each process, and `taken` from it."""

    @staticmethod
    def forward(
        ctx: Any,
        flat: Tensor,
        given: list[int],
        taken: list[int],
        group: ProcessGroup | AbsentGroup | None,
    ) -> Tensor:
        ctx.given, ctx.taken, ctx.group = given, taken, group
        return _all_to_all(flat, given, taken, group)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        back = _all_to_all(gradient.contiguous(), ctx.taken, ctx.given, ctx.group)
        return back, None, None, None


def _all_to_all(
    flat: Tensor, given: list[int], taken: list[int], group: ProcessGroup | AbsentGroup | None
) -> Tensor:
    found = flat.new_empty(sum(taken))
    if not isinstance(group, AbsentGroup):
        distributed.all_to_all_single(found, flat, taken, given, group=group)
    return found


class _Summed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, group: ProcessGroup | AbsentGroup | None) -> Tensor:
        ctx.group = group
        return _sum(x, group)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return _sum(gradient, ctx.group), None


def _sum(x: Tensor, group: ProcessGroup | AbsentGroup | None) -> Tensor:
    total = x.clone(memory_format=torch.contiguous_format)
    if not isinstance(group, AbsentGroup):
        distributed.all_reduce(total, group=group)
    return total


class _PassedOn(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, pair: Tensor, by: int, group: ProcessGroup | AbsentGroup | None
    ) -> Tensor:
        ctx.by, ctx.group = by, group
        return _pass_on(pair, by, group)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return _pass_on(gradient, -ctx.by, ctx.group), None, None


def _pass_on(pair: Tensor, by: int, group: ProcessGroup | AbsentGroup | None) -> Tensor:
    pair = pair.contiguous()
    found = torch.zeros_like(pair)
    if isinstance(group, AbsentGroup):
        return found
    rank, count = _rank_and_size(group)
    steps = []
    for way, distance in enumerate((by, -by)):
        for kind, tensor, peer in (
            (distributed.isend, pair[way], rank + distance),
            (distributed.irecv, found[way], rank - distance),
        ):
            if 0 <= peer < count:
                step = distributed.P2POp(kind, tensor, group=group, group_peer=peer)
                steps.append(step)
    for work in distributed.batch_isend_irecv(steps) if steps else []:
        work.wait()
    return found


def _rank_and_size(group: ProcessGroup | AbsentGroup | None) -> tuple[int, int]:
    if isinstance(group, AbsentGroup):
        return group.rank, group.size
    return distributed.get_rank(group), distributed.get_world_size(group)
