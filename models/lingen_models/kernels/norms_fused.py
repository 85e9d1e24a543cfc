"""Adaptive layer norm of a grid of tokens, each part in one pass by C kernels."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from lingen_models.kernels import c_kernels


def covers(x: Tensor, *by_frame: Tensor) -> bool:
    """Tell whether there are kernels for tokens (B, T, H, W, D) and rows (B, T, 1, 1, D) like
    these."""
    return (
        x.dim() == 5
        and x.numel() > 0
        and all(one.shape == (*x.shape[:2], 1, 1, x.shape[4]) for one in by_frame)
        and c_kernels.covers(x, *by_frame)
    )


def modulate(x: Tensor, position: Tensor | None, shift: Tensor, scale: Tensor) -> Tensor:
    """Layer norm of x plus a position (T, H, W, D), times 1 + scale, plus shift."""
    y: Tensor = _Modulated.apply(x, position, shift, scale)  # type: ignore[no-untyped-call]
    return y


def gated_sum(x: Tensor, gate: Tensor, y: Tensor) -> Tensor:
    """x + gate y."""
    total: Tensor = _GatedSum.apply(x, gate, y)  # type: ignore[no-untyped-call]
    return total


class _Modulated(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, position: Tensor | None, shift: Tensor, scale: Tensor
    ) -> Tensor:
        x, shift, scale = x.contiguous(), _with_even_frames(shift), _with_even_frames(scale)
        position = None if position is None else position.contiguous()
        out = torch.empty_like(x)
        size = [*x.shape[:2], x.shape[2] * x.shape[3], x.shape[4], torch.get_num_threads()]
        inputs = (x, position, shift, shift.stride(1), scale, scale.stride(1))
        c_kernels.call("modulate", x.dtype, size, *inputs, out)
        ctx.save_for_backward(x, position, scale)
        ctx.size = size
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, position, scale = ctx.saved_tensors
        d_x = torch.empty_like(x)
        d_position = None if position is None else torch.empty_like(position)
        d_shift, d_scale = (x.new_empty(scale.shape) for _ in range(2))
        inputs = (gradient.contiguous(), x, position, scale, scale.stride(1))
        outputs = (d_x, d_position, d_shift, d_scale)
        c_kernels.call("modulate_back", x.dtype, ctx.size, *inputs, *outputs)
        return outputs


class _GatedSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, gate: Tensor, y: Tensor) -> Tensor:
        x, gate, y = x.contiguous(), _with_even_frames(gate), y.contiguous()
        out = torch.empty_like(x)
        size = [x.shape[:2].numel(), x.shape[2] * x.shape[3], x.shape[4], torch.get_num_threads()]
        c_kernels.call("gated_sum", x.dtype, size, x, gate, gate.stride(1), y, out)
        ctx.save_for_backward(gate, y)
        ctx.size = size
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, ...]:
        gate, y = ctx.saved_tensors
        d_y, d_gate = torch.empty_like(y), y.new_empty(gate.shape)
        inputs = (gradient.contiguous(), gate, gate.stride(1), y)
        c_kernels.call("gated_sum_back", y.dtype, ctx.size, *inputs, d_y, d_gate)
        return gradient, d_gate, d_y


def _with_even_frames(x: Tensor) -> Tensor:
    """(B, T, 1, 1, D) with the same step from each frame to the next, and whole rows."""
    even = x.stride(4) == 1 and (x.shape[0] == 1 or x.stride(0) == x.shape[1] * x.stride(1))
    return x if even else x.contiguous()
