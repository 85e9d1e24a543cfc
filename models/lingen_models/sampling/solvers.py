"""Solvers of a higher order than Euler's: fewer steps for the same error.

Each is a sampler as `lingen_models.sampling.denoise.euler` is.
"""

from __future__ import annotations

import math
from itertools import pairwise

from torch import Tensor

from lingen_models.sampling.denoise import OnStep, Velocity


def heun(velocity: Velocity, noise: Tensor, times: Tensor, on_step: OnStep) -> Tensor:
    """Heun's method: every step but the last asks twice, at its beginning and at its end."""
    x = noise
    points = times.tolist()
    for step, (now, after) in enumerate(pairwise(points)):
        slope = velocity(x, now)
        estimate = x + (1 - now) * slope
        if after < 1:
            slope = (slope + velocity(x + (after - now) * slope, after)) / 2
        x = x + (after - now) * slope
        on_step(step + 1, len(points) - 1, estimate)
    return x


def dpm_multistep(
    velocity: Velocity,
    noise: Tensor,
    times: Tensor,
    on_step: OnStep,
    before: tuple[Tensor, float] | None = None,
) -> Tensor:
    """DPM-Solver++(2M) (arXiv 2211.01095) on the straight path, where data count t and noise 1 - t.

    A step follows the line through this estimate of the data and the one before, over the logarithm
    of t / (1 - t). The first step, out of pure noise, the second, and the last are of first order:
    the logarithm has no end there. `before` is the estimate of a step that was done earlier, and
    the time at which that began: with it, what goes on from a state ends as the whole does.
    """
    x = noise
    points = times.tolist()
    for step, (now, after) in enumerate(pairwise(points)):
        estimate = x + (1 - now) * velocity(x, now)
        towards = estimate
        if before is not None and before[1] > 0 and after < 1:
            last, then = before
            ratio = (_log_snr(now) - _log_snr(then)) / (_log_snr(after) - _log_snr(now))
            towards = estimate + (estimate - last) / (2 * ratio)
        x = (1 - after) / (1 - now) * x + (after - now) / (1 - now) * towards
        before = estimate, now
        on_step(step + 1, len(points) - 1, estimate)
    return x


def _log_snr(t: float) -> float:
    """Half the logarithm of the signal-to-noise ratio, for t inside (0, 1)."""
    return math.log(t / (1 - t))
