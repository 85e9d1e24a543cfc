"""Flow matching: the path from noise to data, its times, and the schedule of steps (paper.md 1.7).

Time 0 is noise and time 1 is data: X_t = t X_1 + (1 - (1 - 1e-5) t) X_0, with the velocity
X_1 - (1 - 1e-5) X_0 as the network's target. Every latent frame has its own time; a frame at
time 1 is clean and serves as context.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

REST = 1 - 1e-5


def interpolate(data: Tensor, noise: Tensor, t: Tensor) -> Tensor:
    """X_t for (B, C, T, H, W) data and noise at times `t` (B, T)."""
    t = t[:, None, :, None, None]
    return t * data + (1 - REST * t) * noise


def velocity(data: Tensor, noise: Tensor) -> Tensor:
    """The target dX_t / dt, the same at every time."""
    return data - REST * noise


def logit_normal_times(count: int, generator: torch.Generator, shift: float = 1.0) -> Tensor:
    """(count,) times in (0, 1): the sigmoid of a standard normal; shift > 1 moves them to noise.

    The shift is t / (t + shift (1 - t)), as used for higher resolutions in Stable Diffusion 3.
    """
    t = torch.randn(count, generator=generator).sigmoid()
    return t / (t + shift * (1 - t))


def linear_quadratic_times(steps: int) -> Tensor:
    """(steps + 1,) times from 0 to 1 (Movie Gen; paper.md 1.7).

    The first half are the first steps of a 1000-step uniform schedule, the rest grow
    quadratically with the same slope where the halves meet. Raises ValueError for steps < 1.
    """
    if steps < 1:
        raise ValueError(f"{steps} sampling steps: at least 1 is needed")
    linear = steps // 2
    slope = 1 / 1000
    rest = steps - linear
    start = linear * slope
    i = torch.arange(rest + 1, dtype=torch.float64)
    curve = (1 - start - slope * rest) / rest**2
    tail = start + slope * i + curve * i * i
    head = torch.arange(linear, dtype=torch.float64) * slope
    return torch.cat((head, tail)).float()


def uniform_times(steps: int, shift: float = 1.0) -> Tensor:
    """(steps + 1,) evenly spaced times from 0 to 1, moved towards noise by `shift`."""
    if steps < 1:
        raise ValueError(f"{steps} sampling steps: at least 1 is needed")
    t = torch.linspace(0, 1, steps + 1)
    return t / (t + shift * (1 - t))


SCHEDULES: dict[str, Callable[[int], Tensor]] = {
    "linear-quadratic": linear_quadratic_times,
    "uniform": uniform_times,
    "shifted": partial(uniform_times, shift=2.0),
}
"""By the names that samplers have for them."""
