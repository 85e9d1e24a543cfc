"""Steps of a Mamba2 before and after its scan, each in one pass over the tokens by C kernels."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from lingen_models.kernels import c_kernels

_PARTS = 8
"""Blocks of rows whose gradients of weights are summed apart, so that threads may share them."""


def convolve(
    mixed: Tensor, weight: Tensor, bias: Tensor, raw_dt: Tensor, dt_bias: Tensor, inner: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """A depthwise convolution, silu, and softplus of the steps.

    Args:
        mixed: (B, L, inner + 2 S) projected tokens.
        weight: (inner + 2 S, 1, taps) of the convolution, centred.
        bias: (inner + 2 S) of the convolution.
        raw_dt: (B, L, 2 K) step sizes before softplus, forward then backward.
        dt_bias: (2, K) in float32.
        inner: channels of x.

    Returns:
        x (B, L, inner), B and C (B, L, S), and step sizes (2, B, L, K) in float32.
    """
    parts: tuple[Tensor, Tensor, Tensor, Tensor] = _Convolved.apply(  # type: ignore[no-untyped-call]
        mixed, weight, bias, raw_dt, dt_bias, inner
    )
    return parts


def gated_norm(y: Tensor, x: Tensor, skip: Tensor, gate: Tensor, weight: Tensor) -> Tensor:
    """RMS norm of (y + D x) silu(gate), times a weight.

    Args:
        y: (B, L, K, P) outputs of the scan.
        x: (B, L, K, P) its inputs.
        skip: (K,) D.
        gate: (B, L, K P).
        weight: (K P,).

    Returns:
        (B, L, K P).
    """
    normed: Tensor = _GatedNorm.apply(y, x, skip, gate, weight)  # type: ignore[no-untyped-call]
    return normed


class _Convolved(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        mixed: Tensor,
        weight: Tensor,
        bias: Tensor,
        raw_dt: Tensor,
        dt_bias: Tensor,
        inner: int,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        batch, length, channels = mixed.shape
        heads = dt_bias.shape[1]
        mixed, raw_dt = _with_whole_rows(mixed), _with_whole_rows(raw_dt)
        weight, bias, dt_bias = weight.contiguous(), bias.contiguous(), dt_bias.contiguous()
        states = (channels - inner) // 2
        size = [batch, length, inner, states, weight.shape[2], heads, torch.get_num_threads()]
        x = mixed.new_empty(batch, length, inner)
        B, C = mixed.new_empty(batch, length, states), mixed.new_empty(batch, length, states)
        dt = dt_bias.new_empty(2, batch, length, heads)
        inputs = (mixed, mixed.stride(), weight, bias, raw_dt, raw_dt.stride(), dt_bias)
        c_kernels.call("convolve", mixed.dtype, size, *inputs, x, B, C, dt)
        ctx.save_for_backward(mixed, weight, bias, raw_dt, dt_bias)
        ctx.size = size
        return x, B, C, dt

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        mixed, weight, bias, raw_dt, dt_bias = ctx.saved_tensors
        batch, _, channels = mixed.shape
        d_mixed = mixed.new_empty(mixed.shape)
        d_raw_dt = raw_dt.new_empty(raw_dt.shape)
        d_weight = dt_bias.new_empty(batch, weight.shape[2] + 1, channels)
        d_dt_bias = dt_bias.new_empty(batch, *dt_bias.shape)
        c_kernels.call(
            "convolve_back",
            mixed.dtype,
            ctx.size,
            mixed,
            mixed.stride(),
            weight,
            bias,
            raw_dt,
            raw_dt.stride(),
            dt_bias,
            *(one.contiguous() for one in gradients),
            d_mixed,
            d_weight,
            d_raw_dt,
            d_dt_bias,
        )
        summed = d_weight.sum(0)
        d_taps = summed[:-1].T.unsqueeze(1).to(weight.dtype)
        return d_mixed, d_taps, summed[-1].to(bias.dtype), d_raw_dt, d_dt_bias.sum(0), None


class _GatedNorm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, y: Tensor, x: Tensor, skip: Tensor, gate: Tensor, weight: Tensor
    ) -> Tensor:
        y, skip, weight = y.flatten(2).contiguous(), skip.contiguous(), weight.contiguous()
        x, gate = _with_even_rows(x.flatten(2)), _with_even_rows(gate)
        out = torch.empty_like(y)
        width = y.shape[-1]
        size = [y.shape[:-1].numel(), width, width // skip.numel(), torch.get_num_threads()]
        inputs = (y, x, x.stride(1), skip, gate, gate.stride(1), weight)
        c_kernels.call("gated_norm", y.dtype, size, *inputs, out)
        ctx.save_for_backward(y, x, skip, gate, weight)
        ctx.size = size
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, ...]:
        y, x, skip, gate, weight = ctx.saved_tensors
        d_y, d_x, d_gate = (y.new_empty(y.shape) for _ in range(3))
        by_channel = torch.empty(_PARTS, 2, y.shape[-1])
        inputs = (gradient.contiguous(), y, x, x.stride(1), skip, gate, gate.stride(1), weight)
        outputs = (d_y, d_x, d_gate, by_channel)
        c_kernels.call("gated_norm_back", y.dtype, ctx.size, *inputs, _PARTS, *outputs)
        d_weight, d_channels = by_channel.sum(0)
        d_skip = d_channels.view(skip.numel(), -1).sum(1)
        heads = (skip.numel(), -1)
        return (
            torch.unflatten(d_y, 2, heads),
            torch.unflatten(d_x, 2, heads),
            d_skip.to(skip.dtype),
            d_gate,
            d_weight.to(weight.dtype),
        )


def _with_whole_rows(x: Tensor) -> Tensor:
    """(B, L, D) of which a token's channels lie one after another."""
    return x if x.stride(-1) == 1 else x.contiguous()


def _with_even_rows(x: Tensor) -> Tensor:
    """(B, L, D) with the same step from each token to the next, whole rows too."""
    even = x.stride(-1) == 1 and (x.shape[0] == 1 or x.stride(0) == x.shape[1] * x.stride(1))
    return x if even else x.contiguous()
