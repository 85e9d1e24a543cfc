"""States of a scan whose sequence is divided over processes.

Each process knows what its stretch adds to a state that goes through it, and by how much that
state has decayed behind it. From these pairs of all processes follows the state with which each
stretch begins, from the left for the forward direction and from the right for the backward one.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lingen_models.kernels.dispatch import Prefix
from lingen_models.parallel.collectives import passed_on, summed
from lingen_models.parallel.slabs import Slabs


def entering_states(
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    slabs: Slabs,
    *,
    prefix: Prefix | None,
    both_ends: bool,
) -> Tensor:
    """States (2, B, K, P, S) that enter this process's stretch from the left and from the right,
    in float32 or wider. A collective call.

    Shapes are those of `kernels.ssd.bidirectional_ssd`. `prefix` is this process's stretch of the
    review tokens, which are read before all tokens, by the backward direction only with
    `both_ends`; the stretches of review tokens are in the order of the processes, too.
    """
    decays, states = stretch_state(x, dt, A, B)
    pairs = [(decays, states)]
    if prefix is not None:
        pairs.append(stretch_state(prefix[0], prefix[1], A, prefix[2]))
    every = _of_every_process(torch.stack([decay for decay, _ in pairs]), slabs)
    before = _ranks_before(slabs, x)
    entering = _passed(states, every[:, 0], slabs)
    if prefix is not None:
        behind = torch.einsum("wn,nwbk->wbk", before.flip(0), every[:, 1]).exp()
        whole = summed(behind[..., None, None] * pairs[1][1])
        if not both_ends:
            whole = torch.stack((whole[0], torch.zeros_like(whole[1])))
        left = torch.einsum("wn,nwbk->wbk", before, every[:, 0]).exp()
        entering = entering + left[..., None, None] * whole
    return entering


def stretch_state(x: Tensor, dt: Tensor, A: Tensor, B: Tensor) -> tuple[Tensor, Tensor]:
    """The logarithm (2, B, K) of the decay of a state that goes through a whole sequence in either
    direction, and the state (2, B, K, P, S) that one of zero becomes, in float32 or wider."""
    wide = torch.promote_types(x.dtype, torch.float32)
    dt = dt.to(wide)
    decay = dt * A.to(wide)[:, None, None, :]
    # Summed up from the end that the state leaves at: what counts there has small sums.
    ahead = decay[0].flip(1).cumsum(1).flip(1) - decay[0]
    back = decay[1].cumsum(1) - decay[1]
    states = []
    for way, sums in enumerate((ahead, back)):
        weighted = x * (sums.exp() * dt[way]).to(x.dtype).unsqueeze(-1)
        state = weighted.flatten(2).transpose(1, 2) @ B
        states.append(torch.unflatten(state, 1, x.shape[2:]).to(wide))
    return decay.sum(2), torch.stack(states)


def _of_every_process(x: Tensor, slabs: Slabs) -> Tensor:
    """Gather a small tensor from all, (N, ...)."""
    mark = torch.zeros(slabs.processes, dtype=x.dtype, device=x.device)
    mark[slabs.rank] = 1
    return summed(mark.view(-1, *[1] * x.dim()) * x)


def _ranks_before(slabs: Slabs, like: Tensor, reach: int | None = None) -> Tensor:
    """(2, N), 1 for the processes that each direction meets before this one, or the last `reach`
    of them."""
    steps = torch.arange(slabs.processes, device=like.device) - slabs.rank
    far = slabs.processes if reach is None else reach
    left, right = (steps < 0) & (steps >= -far), (steps > 0) & (steps <= far)
    return torch.stack((left, right)).to(torch.promote_types(like.dtype, torch.float32))


def _passed(states: Tensor, decays: Tensor, slabs: Slabs) -> Tensor:
    """The sum of what the processes before this one add, each decayed by those in between.

    After the round with distance d, a process has the sum of the 2 d nearest: log2 N rounds.
    """
    found = passed_on(states, 1)
    distance = 1
    while distance < slabs.processes - 1:
        near = _ranks_before(slabs, states, distance)
        decay = torch.einsum("wn,nwbk->wbk", near, decays).exp()
        found = found + decay[..., None, None] * passed_on(found, distance)
        distance *= 2
    return found
