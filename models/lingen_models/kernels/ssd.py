"""State space duality: Mamba2's scan as matrix products over chunks, in both directions at once.

The recurrences, for one head (paper.md 2.5; Mamba2, arXiv 2405.21060):

    forward   h_t = exp(dt_t A) h_{t-1} + dt_t x_t B_t^T,   y_t = h_t C_t
    backward  h_t = exp(dt'_t A') h_{t+1} + dt'_t x_t B_t^T, y_t = h_t C_t

Their sum is one matrix per chunk whose lower triangle decays forwards and whose upper triangle
decays backwards, so both directions share C B^T, one exponential and one product with x.
Chunks exchange states. Decays and states are float32 whatever the inputs are.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from lingen_models.kernels import ssd_fused
from lingen_models.kernels.ssd_chunk import ChunkOutputs


def bidirectional_ssd(
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    *,
    chunk: int = 64,
    tile: int = 32,
    initial_states: Tensor | None = None,
    diagonal: bool = True,
) -> Tensor:
    """Sum of the forward and the backward scan of one sequence.

    Args:
        x: (B, L, K, P) inputs.
        dt: (2, B, L, K) positive step sizes, forward then backward, already through softplus.
        A: (2, K) negative decay rates.
        B: (B, L, S) input map, shared by the heads and the directions.
        C: (B, L, S) output map.
        chunk: tokens per chunk; any L is allowed, and a short one is one chunk.
        tile: chunks whose products are held in memory at one time.
        initial_states: (2, B, K, P, S) states that enter at the left and at the right end.
        diagonal: False leaves out what a token gives to itself (the quasiseparable form).

    Returns:
        (B, L, K, P) in x's dtype.
    """
    if ssd_fused.covers(x, dt, A, B, C):
        return ssd_fused.scan(
            x, dt, A, B, C, chunk=chunk, initial_states=initial_states, diagonal=diagonal
        )
    batch, length, heads, features = x.shape
    chunk = min(chunk, length)
    chunks = -(-length // chunk)
    x, B, C = (_pad(part, 1, chunks * chunk) for part in (x, B, C))
    dt = _pad(dt, 2, chunks * chunk)
    wide = torch.promote_types(x.dtype, torch.float32)
    x_BcKQP = x.view(batch, chunks, chunk, heads, features).transpose(2, 3).contiguous()
    dt_BcKQ = dt.to(wide).view(2, batch, chunks, chunk, heads).transpose(3, 4)
    B_BcQS = B.view(batch, chunks, chunk, -1)
    C_BcQS = C.view(batch, chunks, chunk, -1)
    decay_BcKQ = dt_BcKQ * A.to(wide).view(2, 1, 1, heads, 1)
    ahead = decay_BcKQ[0].cumsum(-1)
    back = decay_BcKQ[1].flip(-1).cumsum(-1).flip(-1)
    into_state = torch.stack((ahead[..., -1:] - ahead, back[..., :1] - back)).exp() * dt_BcKQ
    states = _chunk_states(x_BcKQP, into_state, B_BcQS)
    whole_chunk = torch.stack((ahead[..., -1], back[..., 0]))[..., None, None].exp()
    entering = _pass_states(states, whole_chunk, initial_states).to(x.dtype)
    outputs = []
    for part in (slice(start, start + tile) for start in range(0, chunks, tile)):
        y: Tensor = ChunkOutputs.apply(  # type: ignore[no-untyped-call]
            x_BcKQP[:, part].flatten(0, 1),
            dt_BcKQ[:, :, part].flatten(1, 2),
            B_BcQS[:, part].flatten(0, 1),
            C_BcQS[:, part].flatten(0, 1),
            ahead[:, part].flatten(0, 1),
            back[:, part].flatten(0, 1),
            entering[:, part].flatten(0, 1),
            diagonal,
        )
        outputs.append(torch.unflatten(y, 0, (batch, -1)))
    y_BcQKP = (outputs[0] if len(outputs) == 1 else torch.cat(outputs, 1)).transpose(2, 3)
    return y_BcQKP.reshape(batch, chunks * chunk, heads, features)[:, :length]


def final_states(x: Tensor, dt: Tensor, A: Tensor, B: Tensor) -> Tensor:
    """States after reading a whole sequence from the left, and from the right.

    Shapes as in `bidirectional_ssd`; returns (2, B, K, P, S) in float32. Review tokens act on
    the tokens through these states alone, since their outputs are dropped (paper.md 2.2).
    """
    if ssd_fused.covers(x, dt, A, B):
        return ssd_fused.final_states(x, dt, A, B)
    wide = torch.promote_types(x.dtype, torch.float32)
    dt = dt.to(wide)
    decay = dt * A.to(wide)[:, None, None, :]
    ahead = decay[0].cumsum(1)
    back = decay[1].flip(1).cumsum(1).flip(1)
    into_state = torch.stack((ahead[:, -1:] - ahead, back[:, :1] - back)).exp() * dt
    states = _chunk_states(
        x.transpose(1, 2).unsqueeze(1), into_state.transpose(2, 3).unsqueeze(2), B.unsqueeze(1)
    )
    return torch.stack(states.squeeze(1).chunk(2, -1))


def _pad(part: Tensor, axis: int, length: int) -> Tensor:
    """Zero-pad the sequence axis: dt = 0 neither decays a state nor adds to it."""
    if part.shape[axis] == length:
        return part
    shape = list(part.shape)
    shape[axis] = length - shape[axis]
    return torch.cat((part, part.new_zeros(shape)), axis)


def _chunk_states(x_BcKQP: Tensor, into_state: Tensor, B_BcQS: Tensor) -> Tensor:
    """What each chunk adds to the states that leave it to the right and to the left.

    (B, c, K, P, 2 S) in float32, both directions side by side.
    """
    ahead, back = into_state.to(B_BcQS.dtype).unsqueeze(-1).unbind(0)
    shared = B_BcQS.unsqueeze(2)
    weighted = torch.cat((shared * ahead, shared * back), -1)  # B c K Q 2S
    states: Tensor = (x_BcKQP.transpose(-1, -2) @ weighted).to(into_state.dtype)
    return states


def _pass_states(states: Tensor, decay: Tensor, initial: Tensor | None) -> Tensor:
    """States that enter each chunk from the left and from the right, (B, c, K, P, 2 S)."""
    if initial is None:
        batch, _, heads, features, both = states.shape
        initial = states.new_zeros(2, batch, heads, features, both // 2)
    passed: Tensor = _Passed.apply(states, decay, initial.to(states.dtype))  # type: ignore[no-untyped-call]
    return passed


class _Passed(torch.autograd.Function):
    """`_pass_states`, with the gradient written out: chunk by chunk, autograd makes dozens of small
    tensors and joins them.

    Forwards, e_(i+1) = a_i + d_i e_i. With l_i the gradient of e_i and all that follows from it,
    l_i = g_i + d_i l_(i+1); a_i has the gradient l_(i+1), and d_i that times e_i.
    """

    @staticmethod
    def forward(ctx: Any, states: Tensor, decay: Tensor, initial: Tensor) -> Tensor:
        """Both directions of (B, c, K, P, 2 S) added states, (2, B, c, K, 1, 1) decays and
        (2, B, K, P, S) initial states."""
        size = states.shape[-1] // 2
        entering = torch.empty_like(states)
        for way, order in enumerate(_orders(states.shape[1])):
            own = slice(way * size, (way + 1) * size)
            entering[:, order[0], ..., own] = initial[way]
            for now, then in pairwise(order):
                torch.addcmul(
                    states[:, now, ..., own],
                    entering[:, now, ..., own],
                    decay[way, :, now],
                    out=entering[:, then, ..., own],
                )
        ctx.save_for_backward(decay, entering)
        return entering

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        decay, entering = ctx.saved_tensors
        size = gradient.shape[-1] // 2
        later = gradient.clone()  # the gradient of each state with all that follows from it
        d_states, d_decay = torch.zeros_like(gradient), torch.zeros_like(decay)
        d_initial = []
        for way, order in enumerate(_orders(gradient.shape[1])):
            own = slice(way * size, (way + 1) * size)
            for now, then in reversed(list(pairwise(order))):
                later[:, now, ..., own].addcmul_(later[:, then, ..., own], decay[way, :, now])
            before, after = order[:-1], order[1:]
            if before:
                d_states[:, before, ..., own] = later[:, after, ..., own]
                d_decay[way, :, before] = (
                    later[:, after, ..., own] * entering[:, before, ..., own]
                ).sum((-1, -2), keepdim=True)
            d_initial.append(later[:, order[0], ..., own])
        return d_states, d_decay, torch.stack(d_initial)


def _orders(chunks: int) -> tuple[list[int], list[int]]:
    """The orders in which the forward and the backward direction meet the chunks."""
    ahead = list(range(chunks))
    return ahead, ahead[::-1]
