"""Normalisation layers, computed in float32 whatever the input is."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from lingen_models.kernels import c_kernels, norms_fused

_EPSILON = 1e-5


class RMSNorm(nn.Module):
    """x / rms(x) * weight over the last axis."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, x.shape[-1:], self.weight.to(x.dtype), _EPSILON)


class GatedRMSNorm(RMSNorm):
    """RMSNorm of `y * silu(gate)`: the last step of a Mamba2 before its output projection."""

    def forward(self, y: Tensor, gate: Tensor) -> Tensor:  # type: ignore[override]
        """(..., D) and a gate of the same shape -> the same shape."""
        if not torch.is_grad_enabled():
            return super().forward(y * F.silu(gate))
        unit: Tensor = _GatedUnit.apply(y, gate)  # type: ignore[no-untyped-call]
        return unit * self.weight.to(y.dtype)


class _GatedUnit(torch.autograd.Function):
    """y * silu(gate) over its root mean square, with the gradient written out.

    Autograd takes torch's RMSNorm apart on a CPU: three times as many passes.
    """

    @staticmethod
    def forward(ctx: Any, y: Tensor, gate: Tensor) -> Tensor:
        opening = F.silu(gate)
        unit = y * opening
        square = torch.linalg.vector_norm(unit, dim=-1, keepdim=True, dtype=_wide(y)).square()
        scale = (square / y.shape[-1] + _EPSILON).rsqrt().to(y.dtype)
        unit *= scale
        ctx.save_for_backward(y, gate, opening, unit, scale)
        return unit

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        y, gate, opening, unit, scale = ctx.saved_tensors
        along = (gradient * unit).mean(-1, keepdim=True, dtype=_wide(y)).to(y.dtype)
        d_product = torch.addcmul(gradient, unit, along, value=-1).mul_(scale)
        d_opening = d_product * y
        d_gate: Tensor = torch.ops.aten.silu_backward(d_opening, gate)
        return d_product.mul_(opening), d_gate


def _wide(x: Tensor) -> torch.dtype:
    return torch.promote_types(x.dtype, torch.float32)


def modulate(x: Tensor, shift: Tensor, scale: Tensor, position: Tensor | None = None) -> Tensor:
    """adaLN: layer norm without parameters, then `* (1 + scale) + shift` (paper.md 1.1).

    The `position`, if any, is added to `x` (..., T, H, W, D) first.
    """
    placed = position is None or (position.dtype is x.dtype and position.shape == x.shape[1:])
    if placed and norms_fused.covers(x, shift, scale):
        return norms_fused.modulate(x, position, shift, scale)
    if position is not None:
        x = x + position
    return torch.addcmul(shift, F.layer_norm(x, x.shape[-1:]), 1 + scale)


def gated_sum(x: Tensor, gate: Tensor, y: Tensor) -> Tensor:
    """x + gate * y: what a branch adds to its input."""
    if x.shape == y.shape and norms_fused.covers(x, gate) and c_kernels.covers(x, y):
        return norms_fused.gated_sum(x, gate, y)
    return torch.addcmul(x, gate, y)
