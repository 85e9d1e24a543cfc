"""Exchanges between processes that have a gradient.

Every process has to call them in the same order, and so it is in the backward pass: autograd goes
through the nodes of a graph in the reverse order of their making. No function here returns a tensor
that is cut off from the exchange, or its gradient would wait for ever.

On the meta device nothing is exchanged: what comes from other processes has a shape and no values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.distributed as distributed
from torch import Tensor
from torch.autograd.function import once_differentiable


def swapped(
    x: Tensor,
    parts: Mapping[int, Tensor],
    shapes: Mapping[int, Sequence[int]],
    *,
    axis: int,
    empty: Sequence[int],
    rank: int,
    processes: int,
) -> Tensor:
    """Send parts of `x` to processes, and join what comes from them.

    Args:
        x: a tensor of the same type as its parts.
        parts: what each process is to have, by its number; others get nothing.
        shapes: the shape of what comes from each process that sends something to this one.
        axis: along which that is joined, in the order of the processes.
        empty: the shape of the result, but for nothing along `axis`.
        rank, processes: the number of this process, and of all.
    """
    others = [number for number in range(processes) if number != rank]
    given, taken = [0] * processes, [0] * processes
    flat = [x[:0].reshape(-1)]
    for number in others:
        if number in parts:
            flat.append(parts[number].reshape(-1))
            given[number] = flat[-1].numel()
        if number in shapes:
            taken[number] = torch.Size(shapes[number]).numel()
    found: Tensor = _AllToAll.apply(torch.cat(flat), given, taken)  # type: ignore[no-untyped-call]
    pieces = [found[:0].view(torch.Size(empty))]
    for number, piece in enumerate(torch.split(found, taken)):
        if number == rank and number in parts:
            pieces.append(parts[number])
        elif number in shapes and number != rank:
            pieces.append(piece.view(torch.Size(shapes[number])))
    return torch.cat(pieces, axis)


def summed(x: Tensor) -> Tensor:
    """The sum over the processes."""
    total: Tensor = _Summed.apply(x)  # type: ignore[no-untyped-call]
    return total


def passed_on(pair: Tensor, by: int) -> Tensor:
    """Pass the first of `pair` (2, ...) to the process `by` numbers further on and the second to
    the one `by` numbers before; returns what comes from there, zero where nothing does."""
    passed: Tensor = _PassedOn.apply(pair, by)  # type: ignore[no-untyped-call]
    return passed


class _AllToAll(torch.autograd.Function):
    """`given` numbers of a flat tensor to each process, and `taken` from it."""

    @staticmethod
    def forward(ctx: Any, flat: Tensor, given: list[int], taken: list[int]) -> Tensor:
        ctx.given, ctx.taken = given, taken
        return _all_to_all(flat, given, taken)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        return _all_to_all(gradient.contiguous(), ctx.taken, ctx.given), None, None


def _all_to_all(flat: Tensor, given: list[int], taken: list[int]) -> Tensor:
    found = flat.new_empty(sum(taken))
    if not flat.is_meta:
        distributed.all_to_all_single(found, flat, taken, given)
    return found


class _Summed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return _sum(x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return _sum(gradient)


def _sum(x: Tensor) -> Tensor:
    total = x.clone(memory_format=torch.contiguous_format)
    if not x.is_meta:
        distributed.all_reduce(total)
    return total


class _PassedOn(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, pair: Tensor, by: int) -> Tensor:
        ctx.by = by
        return _pass_on(pair, by)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return _pass_on(gradient, -ctx.by), None


def _pass_on(pair: Tensor, by: int) -> Tensor:
    pair = pair.contiguous()
    found = torch.zeros_like(pair)
    if pair.is_meta:
        return found
    rank, count = distributed.get_rank(), distributed.get_world_size()
    steps = []
    for way, distance in enumerate((by, -by)):
        for kind, tensor, peer in (
            (distributed.isend, pair[way], rank + distance),
            (distributed.irecv, found[way], rank - distance),
        ):
            if 0 <= peer < count:
                steps.append(distributed.P2POp(kind, tensor, peer))
    for work in distributed.batch_isend_irecv(steps) if steps else []:
        work.wait()
    return found
