"""The check of samplers."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from lingen_plugins.contracts import Sampler
from lingen_plugins.testing.claims import Claims

if TYPE_CHECKING:
    from torch import Tensor

    from lingen_models.sampling.denoise import Sampler as SamplingLoop


class _Stop(Exception):
    """Raised by a listener, as a stopped run does."""


def check_sampler(sampler: Sampler) -> None:
    """It arrives where a straight flow leads, tells of every step, and repeats itself.

    Where it claims to be `restartable`, it ends in the same latents from the middle.
    """
    import torch

    from lingen_models.sampling.flow import SCHEDULES

    claims = Claims.of(sampler, Sampler)
    claims.expect(
        sampler.schedule in SCHEDULES,
        f"the schedule {sampler.schedule!r} is unknown",
        f"choose from {', '.join(SCHEDULES)}",
    )
    claims.expect(
        0 <= sampler.guided_after < 1,
        f"guided_after is {sampler.guided_after}",
        "it is a time from 0 (noise) to below 1",
    )
    loop = sampler.build()
    claims.expect(callable(loop), f"build returned a {type(loop).__name__}", "return the loop")
    torch.manual_seed(0)
    noise = torch.randn(2, 3, 2, 2, 2)
    for steps in (1, 4, 7):
        _check_arrival(claims, loop, noise, SCHEDULES[sampler.schedule](steps))
    times = SCHEDULES[sampler.schedule](5)
    _check_repeats(claims, sampler, noise, times)
    _check_stops(claims, loop, noise, times)
    if sampler.restartable:
        _check_restarts(claims, sampler, noise, times)


def _check_arrival(claims: Claims, loop: SamplingLoop, noise: Tensor, times: Tensor) -> None:
    """The velocity always points straight at `target`: any right method ends there."""
    import torch

    target, steps = torch.ones_like(noise), len(times) - 1
    seen: list[tuple[int, int]] = []

    def velocity(x: Tensor, now: float) -> Tensor:
        claims.expect(
            0 <= float(now) < 1,
            f"it asks for the velocity at the time {float(now):g}",
            "the last step begins before 1, and nothing is asked at 1 or beyond",
        )
        return (target - x) / (1 - now)

    def on_step(done: int, total: int, estimate: Tensor) -> None:
        seen.append((done, total))
        claims.tensor("the estimate given to on_step", estimate, tuple(noise.shape))

    given = noise.clone()
    times_given = times.clone()
    latents = loop(velocity, given, times_given, on_step)
    claims.expect(
        torch.equal(given, noise) and torch.equal(times_given, times),
        "it changes the noise or the times that it was given",
        "work on new tensors, not in place",
    )
    wanted = [(step + 1, steps) for step in range(steps)]
    claims.expect(
        seen == wanted,
        f"in {steps} steps it calls on_step with {seen}",
        f"call on_step(done, total, estimate) after each step: {wanted}",
    )
    claims.tensor("what it returns", latents, tuple(noise.shape))
    far = float((latents - target).abs().max())
    claims.expect(
        far < 1e-3,
        f"along a straight flow it ends {far:.3g} away from the clean latents in {steps} steps",
        "go through `times` to its end, and add the velocity times the step",
    )


def _curved(x: Tensor, now: float) -> Tensor:
    import torch

    return torch.sin(3 * x) + now


def _check_repeats(claims: Claims, sampler: Sampler, noise: Tensor, times: Tensor) -> None:
    import torch

    ends = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        ends.append(sampler.build()(_curved, noise, times, lambda *_: None))
    claims.expect(
        torch.equal(*ends),
        "the same noise gives other latents the second time",
        "draw from a generator that is seeded by the latents, not from torch's own",
    )


def _check_stops(claims: Claims, loop: SamplingLoop, noise: Tensor, times: Tensor) -> None:
    def on_step(done: int, total: int, estimate: Tensor) -> None:
        if done == 2:
            raise _Stop

    try:
        loop(_curved, noise, times, on_step)
    except _Stop:
        return
    remedy = "let it through: it is how a run is stopped"
    raise claims.broken("it goes on when on_step raises", remedy)


def _check_restarts(claims: Claims, sampler: Sampler, noise: Tensor, times: Tensor) -> None:
    import torch

    inputs: list[Tensor] = []
    begins = [0]
    estimates: list[Tensor] = []

    def velocity(x: Tensor, now: float) -> Tensor:
        inputs.append(x.clone())
        return _curved(x, now)

    def on_step(done: int, total: int, estimate: Tensor) -> None:
        begins.append(len(inputs))
        estimates.append(estimate.clone())

    whole = sampler.build()(velocity, noise, times, on_step)
    for step, begin in enumerate(begins[:-1]):
        loop: Callable[..., Tensor] = sampler.build()
        if sampler.remembers and step:
            loop = partial(loop, before=(estimates[step - 1], times[step - 1].item()))
        rest = loop(_curved, inputs[begin], times[step:], lambda *_: None)
        claims.expect(
            torch.equal(rest, whole),
            f"it is restartable=True, but from step {step} on it ends in other latents",
            "ask first for the velocity of all that a step goes on with, keep no memory of "
            "earlier steps but what `remembers` allows, or say restartable=False",
        )
