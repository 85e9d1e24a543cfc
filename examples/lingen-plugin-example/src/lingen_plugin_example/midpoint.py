"""The midpoint method. This module may import torch: it is imported when the sampler is built."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

from torch import Tensor


def midpoint(
    velocity: Callable[[Tensor, float], Tensor],
    noise: Tensor,
    times: Tensor,
    on_step: Callable[[int, int, Tensor], None],
) -> Tensor:
    """Go through `times` (steps + 1,), each step by the velocity in its middle.

    It may start again from any step: a step first asks for the velocity of the state that it goes
    on from, and remembers nothing else.
    """
    x = noise
    points = times.tolist()
    for step, (now, after) in enumerate(pairwise(points), start=1):
        here = velocity(x, now)
        half = (after - now) / 2
        v = velocity(x + half * here, now + half)
        estimate = x + (1 - now) * here
        x = x + (after - now) * v
        on_step(step, len(points) - 1, estimate)
    return x
