"""GELU that keeps its derivative for the backward pass, both in one pass by a C kernel."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from lingen_models.kernels import c_kernels


def gelu(x: Tensor) -> Tensor:
    """x Phi(x), for a tensor that `c_kernels.covers`. Of use where gradients are wanted: the
    backward pass is one multiplication."""
    y: Tensor = _Gelu.apply(x)  # type: ignore[no-untyped-call]
    return y


class _Gelu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        x = x.contiguous()
        y, slope = torch.empty_like(x), torch.empty_like(x)
        c_kernels.call("gelu", x.dtype, [x.numel(), torch.get_num_threads()], x, y, slope)
        ctx.save_for_backward(slope)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (slope,) = ctx.saved_tensors
        found: Tensor = gradient * slope
        return found
