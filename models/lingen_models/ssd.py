"""State space duality: Mamba2's scan as matrix products over chunks, in both directions at once.

The recurrences, for one head (paper.md 2.5; Mamba2, arXiv 2405.21060):

    forward   h_t = exp(dt_t A) h_{t-1} + dt_t x_t B_t^T,   y_t = h_t C_t
    backward  h_t = exp(dt'_t A') h_{t+1} + dt'_t x_t B_t^T, y_t = h_t C_t

Their sum is one matrix per chunk whose lower triangle decays forwards and whose upper triangle
decays backwards, so both directions share C B^T, one exponential and one product with x.
Chunks exchange states. Decays and states are float32 whatever the inputs are.
"""

from __future__ import annotations

import torch
from torch import Tensor


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
        chunk: tokens per chunk; any L is allowed.
        tile: chunks whose products are held in memory at one time.
        initial_states: (2, B, K, P, S) states that enter at the left and at the right end.
        diagonal: False leaves out what a token gives to itself (the quasiseparable form).

    Returns:
        (B, L, K, P) in x's dtype.
    """
    batch, length, heads, features = x.shape
    chunks = -(-length // chunk)
    x, B, C = (_pad(part, 1, chunks * chunk) for part in (x, B, C))
    dt = _pad(dt, 2, chunks * chunk)
    wide = torch.promote_types(x.dtype, torch.float32)
    x_BcKQP = x.view(batch, chunks, chunk, heads, features).transpose(2, 3)
    dt_BcKQ = dt.to(wide).view(2, batch, chunks, chunk, heads).transpose(3, 4)
    B_BcQS = B.view(batch, chunks, chunk, -1)
    C_BcQS = C.view(batch, chunks, chunk, -1)
    decay_BcKQ = dt_BcKQ * A.to(wide).view(2, 1, 1, heads, 1)
    ahead = decay_BcKQ[0].cumsum(-1)
    back = decay_BcKQ[1].flip(-1).cumsum(-1).flip(-1)
    into_state = torch.stack((ahead[..., -1:] - ahead, back[..., :1] - back)).exp() * dt_BcKQ
    states = _chunk_states(x_BcKQP, into_state, B_BcQS)
    whole_chunk = torch.stack((ahead[..., -1], back[..., 0])).exp()
    entering = _pass_states(states, whole_chunk, initial_states)
    triangle = torch.ones(chunk, chunk, dtype=torch.bool, device=x.device).tril()
    outputs = [
        _tile_output(
            x_BcKQP[:, part],
            dt_BcKQ[:, :, part],
            B_BcQS[:, part],
            C_BcQS[:, part],
            ahead[:, part],
            back[:, part],
            entering[:, :, part],
            triangle,
            diagonal,
        )
        for part in (slice(start, start + tile) for start in range(0, chunks, tile))
    ]
    y_BcQKP = torch.cat(outputs, 1).transpose(2, 3)
    return y_BcQKP.reshape(batch, chunks * chunk, heads, features)[:, :length]


def final_states(x: Tensor, dt: Tensor, A: Tensor, B: Tensor) -> Tensor:
    """States after reading a whole sequence from the left, and from the right.

    Shapes as in `bidirectional_ssd`; returns (2, B, K, P, S) in float32. Review tokens act on
    the tokens through these states alone, since their outputs are dropped (paper.md 2.2).
    """
    wide = torch.promote_types(x.dtype, torch.float32)
    dt = dt.to(wide)
    decay = dt * A.to(wide)[:, None, None, :]
    ahead = decay[0].cumsum(1)
    back = decay[1].flip(1).cumsum(1).flip(1)
    into_state = torch.stack((ahead[:, -1:] - ahead, back[:, :1] - back)).exp() * dt
    weighted = (x * into_state.to(x.dtype).unsqueeze(-1)).permute(0, 1, 3, 4, 2)  # 2 B K P L
    batch, heads, features = weighted.shape[1:4]
    states = weighted.reshape(2, batch, heads * features, -1) @ B
    return states.to(wide).view(2, batch, heads, features, -1)


def _pad(part: Tensor, axis: int, length: int) -> Tensor:
    """Zero-pad the sequence axis: dt = 0 neither decays a state nor adds to it."""
    if part.shape[axis] == length:
        return part
    shape = list(part.shape)
    shape[axis] = length - shape[axis]
    return torch.cat((part, part.new_zeros(shape)), axis)


def _chunk_states(x_BcKQP: Tensor, into_state: Tensor, B_BcQS: Tensor) -> Tensor:
    """What each chunk adds to the state that leaves it: (2, B, c, K, P, S) in float32."""
    weighted = x_BcKQP * into_state.to(x_BcKQP.dtype).unsqueeze(-1)
    rows = weighted.transpose(-1, -2).flatten(3, 4)  # 2 B c (K P) Q
    states = rows @ B_BcQS
    heads_and_features = (x_BcKQP.shape[2], x_BcKQP.shape[4])
    return torch.unflatten(states.to(into_state.dtype), 3, heads_and_features)


def _pass_states(states: Tensor, decay: Tensor, initial: Tensor | None) -> Tensor:
    """States that enter each chunk, forwards from the left and backwards from the right."""
    added_ahead, added_back = (part.unbind(1) for part in states.unbind(0))
    decay_ahead, decay_back = (part.unbind(1) for part in decay[..., None, None].unbind(0))
    if initial is None:
        ahead, back = [torch.zeros_like(added_ahead[0])], [torch.zeros_like(added_back[0])]
    else:
        ahead, back = ([part] for part in initial.to(states.dtype).unbind(0))
    for step in range(len(added_ahead) - 1):
        ahead.append(torch.addcmul(added_ahead[step], ahead[-1], decay_ahead[step]))
        back.append(torch.addcmul(added_back[-1 - step], back[-1], decay_back[-1 - step]))
    return torch.stack((torch.stack(ahead, 1), torch.stack(back[::-1], 1)))


def _tile_output(
    x: Tensor,
    dt: Tensor,
    B: Tensor,
    C: Tensor,
    ahead: Tensor,
    back: Tensor,
    entering: Tensor,
    triangle: Tensor,
    diagonal: bool,
) -> Tensor:
    """(B, c, K, Q, P) outputs of a few chunks: inside them, and from the states that enter.

    Step sizes join the exponent as logarithms; the diagonal, which the lower triangle has counted
    forwards, is completed (or emptied) on its own.
    """
    scores_BcQQ = C @ B.transpose(-1, -2)
    steps = dt.clamp(min=torch.finfo(dt.dtype).tiny).log()
    weights = torch.where(
        triangle,
        ahead.unsqueeze(-1) - (ahead - steps[0]).unsqueeze(-2),
        back.unsqueeze(-1) - (back - steps[1]).unsqueeze(-2),
    ).exp()
    y = (scores_BcQQ.unsqueeze(2) * weights.to(x.dtype)) @ x
    own = (dt[1] if diagonal else -dt[0]) * (C * B).sum(-1).to(dt.dtype).unsqueeze(2)
    y = torch.addcmul(y, x, own.to(x.dtype).unsqueeze(-1))
    for state, reach in zip(entering.unbind(0), (ahead, back), strict=True):
        rows = state.to(x.dtype).flatten(2, 3)  # B c (K P) S
        carried = C @ rows.transpose(-1, -2)  # B c Q (K P)
        carried = torch.unflatten(carried, -1, (x.shape[2], x.shape[4])).transpose(2, 3)
        y = torch.addcmul(y, carried, reach.exp().to(x.dtype).unsqueeze(-1))
    return y
