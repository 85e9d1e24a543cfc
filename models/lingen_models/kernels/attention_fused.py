"""Steps of attention between its products on a processor, each in one pass by C kernels."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from lingen_models.kernels import c_kernels


def heads_apart(x: Tensor, places: Tensor | None, *weights: Tensor | None) -> tuple[Tensor, ...]:
    """Heads of projected tokens, layer-normed where there is a weight, sorted into groups.

    Args:
        x: (B, N, parts K P), such as queries, keys and values side by side.
        places: (G, n) int64: the number of the token that stands at each place of a group, -1 for
            none, whose heads are zero; None for one group of all tokens in their order.
        weights: for each part (P,) of its norm, or None for no norm; the first is not None.

    Returns:
        For each part (B G, K, n, P).
    """
    parts: tuple[Tensor, ...] = _Apart.apply(x, places, *weights)  # type: ignore[no-untyped-call]
    return parts


def heads_together(heads: Tensor, places: Tensor | None, tokens: int) -> Tensor:
    """The inverse, without a norm: (B G, K, n, P) -> (B, N, K P) for N `tokens`."""
    joined: Tensor = _Together.apply(heads, places, tokens)  # type: ignore[no-untyped-call]
    return joined


def chances(
    q: Tensor, k: Tensor, biases: Tensor | None, kinds: Tensor | None, part: slice
) -> Tensor:
    """Softmax of q k^T / sqrt(P), plus the bias of each group's kind; `part` says which groups of
    `kinds` these are. Without gradients; shapes as in `lingen_models.attention.attend_by_kind`."""
    scores = torch.bmm(q, k.mT)
    if biases is not None:
        biases = biases.contiguous()
        kinds = torch.arange(part.start, part.stop) if kinds is None else kinds[part].contiguous()
    size = [*scores.shape[1:], 1 if biases is None else biases.shape[1], torch.get_num_threads()]
    scale = float(q.shape[2] ** -0.5)
    c_kernels.call("softmax", q.dtype, size, len(scores), scale, biases, kinds, scores)
    return scores


def softmax_backward(gradient: Tensor, chances: Tensor, scale: float) -> Tensor:
    """Gradient of the scores before `scale`, in place of that of the `chances` (G, N, M)."""
    size = [*chances.shape[1:], 1, torch.get_num_threads()]
    arguments = (size, len(chances), float(scale), chances, gradient)
    c_kernels.call("softmax_back", chances.dtype, *arguments)
    return gradient


class _Apart(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, places: Tensor | None, *weights: Tensor | None
    ) -> tuple[Tensor, ...]:
        first = weights[0]
        assert first is not None
        if x.stride(-1) != 1:
            x = x.contiguous()
        weights = tuple(one if one is None else one.contiguous() for one in weights)
        width = x.shape[2] // len(weights)
        where = _in_order(x.shape[1]) if places is None else places
        size = _size(x.shape[0], x.shape[1], where, width // len(first), len(first))
        parts = []
        for number, weight in enumerate(weights):
            out = x.new_empty(size[0] * size[2], size[4], size[3], size[5])
            part = x[..., number * width :]
            c_kernels.call("heads_apart", x.dtype, size, part, x.stride(), where, weight, out)
            parts.append(out)
        ctx.save_for_backward(x, where, *weights)
        ctx.size = size
        return tuple(parts)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, where, *weights = ctx.saved_tensors
        size: list[int] = ctx.size
        width = size[4] * size[5]
        d_x = x.new_empty(x.shape)
        d_weights: list[Tensor | None] = []
        for number, (weight, gradient) in enumerate(zip(weights, gradients, strict=True)):
            own = slice(number * width, None)
            d_weight = torch.empty(size[0] * size[2], size[5])
            c_kernels.call(
                "heads_together",
                x.dtype,
                size,
                gradient.contiguous(),
                x[..., own],
                x.stride(),
                where,
                weight,
                d_x[..., own],
                d_x.stride(),
                d_weight,
            )
            d_weights.append(None if weight is None else d_weight.sum(0).to(weight.dtype))
        return d_x, None, *d_weights


class _Together(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, heads: Tensor, places: Tensor | None, tokens: int) -> Tensor:
        where = _in_order(tokens) if places is None else places
        size = _size(heads.shape[0] // len(where), tokens, where, heads.shape[1], heads.shape[3])
        out = heads.new_empty(size[0], tokens, size[4] * size[5])
        arguments = (size, heads.contiguous(), None, None, where, None, out, out.stride(), None)
        c_kernels.call("heads_together", heads.dtype, *arguments)
        ctx.save_for_backward(where)
        ctx.size = size
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (where,) = ctx.saved_tensors
        size: list[int] = ctx.size
        if gradient.stride(-1) != 1:
            gradient = gradient.contiguous()
        d_heads = gradient.new_empty(size[0] * size[2], size[4], size[3], size[5])
        arguments = (size, gradient, gradient.stride(), where, None, d_heads)
        c_kernels.call("heads_apart", gradient.dtype, *arguments)
        return d_heads, None, None


def _size(batch: int, tokens: int, where: Tensor, heads: int, features: int) -> Sequence[int]:
    return [batch, tokens, *where.shape, heads, features, torch.get_num_threads()]


@functools.lru_cache(maxsize=16)
@torch.inference_mode(False)  # whoever asks first, the next one may want gradients
def _in_order(tokens: int) -> Tensor:
    """The places of one group of all tokens."""
    return torch.arange(tokens).unsqueeze(0)
