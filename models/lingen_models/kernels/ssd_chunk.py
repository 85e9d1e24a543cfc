"""Outputs of the scan's chunks, with the gradient written out.

For one head and one chunk, with a_i the forward and b_i the backward sums of dt A, and H, H' the
states that enter from the left and from the right:

    y_i = sum_j S_ij E_ij x_j + exp(a_i) C_i H^T + exp(b_i) C_i H'^T,   S = C B^T
    E_ij = exp(a_i - a_j) dt_j below the diagonal, exp(b_i - b_j) dt'_j above it,
    E_ii = dt_i + dt'_i (0 in the quasiseparable form)

Heads share S. Left to autograd, the backward pass of these few lines reads and writes the
Q x Q tensors about three times as often, and on a CPU that is what the time goes to.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor


class ChunkOutputs(torch.autograd.Function):
    """(n, K, Q, P) outputs of n chunks."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        dt: Tensor,
        B: Tensor,
        C: Tensor,
        ahead: Tensor,
        back: Tensor,
        entering: Tensor,
        diagonal: bool,
    ) -> Tensor:
        """Sum of both directions.

        Args:
            x: (n, K, Q, P) inputs.
            dt: (2, n, K, Q) step sizes, in float32 or wider, as are `ahead` and `back`.
            B: (n, Q, S) input map.
            C: (n, Q, S) output map.
            ahead: (n, K, Q) sums of dt A from the chunk's begin up to each token, inclusive.
            back: (n, K, Q) the same from the chunk's end.
            entering: (n, K, P, 2 S) states from the left and from the right, side by side.
            diagonal: False leaves out what a token gives to itself.
        """
        decays = _decays(dt, ahead, back, diagonal).to(x.dtype)
        scores = (C @ B.transpose(-1, -2)).unsqueeze(1)
        reach = torch.stack((ahead, back), -1).exp()
        weights = scores * decays
        y = weights @ x + _reaching(C, reach) @ entering.transpose(-1, -2)
        ctx.save_for_backward(x, dt, B, C, entering, decays, scores, weights, reach)
        ctx.diagonal = diagonal
        return y

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of all tensors, in the order of `forward`."""
        x, dt, B, C, entering, decays, scores, weights, reach = ctx.saved_tensors
        wide = dt.dtype
        d_weights = gradient @ x.transpose(-1, -2)
        d_x = weights.transpose(-1, -2) @ gradient
        d_scores = (d_weights * decays).sum(1)

        d_exponent = d_weights.to(wide) * weights
        own = d_exponent.diagonal(dim1=-2, dim2=-1)
        own.zero_()
        to_both, from_both = d_exponent.sum(-1), d_exponent.sum(-2)
        below = d_exponent.tril_()
        to_ahead, from_ahead = below.sum(-1), below.sum(-2)
        to_back, from_back = to_both - to_ahead, from_both - from_ahead
        d_dt = _divided(torch.stack((from_ahead, from_back)), dt)
        if ctx.diagonal:
            d_own = d_weights.diagonal(dim1=-2, dim2=-1) * scores.diagonal(dim1=-2, dim2=-1)
            d_dt += d_own

        d_reaching = gradient @ entering  # n K Q 2S
        d_entering = gradient.transpose(-1, -2) @ _reaching(C, reach)
        by_way = d_reaching.unflatten(-1, (2, -1))
        d_reach = (by_way.to(wide) * C[:, None, :, None]).sum(-1) * reach
        d_C = torch.einsum("nkqws,nkqw->nqs", by_way, reach.to(by_way.dtype))
        d_C = d_C + d_scores @ B
        d_B = d_scores.transpose(-1, -2) @ C
        d_ahead = to_ahead - from_ahead + d_reach[..., 0]
        d_back = to_back - from_back + d_reach[..., 1]
        return d_x, d_dt, d_B, d_C, d_ahead, d_back, d_entering, None


def _decays(dt: Tensor, ahead: Tensor, back: Tensor, diagonal: bool) -> Tensor:
    """(n, K, Q, Q) decays times step sizes, which join the exponent as logarithms.

    Exponents stop where their result would be subnormal: nothing is lost, and a processor takes
    40 times as long for those.
    """
    size = dt.shape[-1]
    least = torch.finfo(dt.dtype).tiny
    steps = dt.clamp(min=least).log()
    lower = torch.ones(size, size, dtype=torch.bool, device=dt.device).tril()
    exponent = torch.where(
        lower,
        ahead.unsqueeze(-1) - (ahead - steps[0]).unsqueeze(-2),
        back.unsqueeze(-1) - (back - steps[1]).unsqueeze(-2),
    )
    decays = exponent.clamp_(min=0.9 * math.log(least)).exp_()
    own = decays.diagonal(dim1=-2, dim2=-1)
    if diagonal:
        own.copy_(dt.sum(0))
    else:
        own.zero_()
    return decays


def _reaching(C: Tensor, reach: Tensor) -> Tensor:
    """(n, K, Q, 2 S): the output map as each entering state is seen from every token."""
    return (C[:, None, :, None] * reach.to(C.dtype).unsqueeze(-1)).flatten(-2)


def _divided(products: Tensor, dt: Tensor) -> Tensor:
    """Gradient of the step sizes from that of their logarithms; none where nothing steps."""
    least = torch.finfo(dt.dtype).tiny
    return torch.where(dt > least, products / dt.clamp(min=least), 0)
