"""Samplers on flows whose end is known: their order, and what they tell."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lingen_models.sampling.denoise import Sampler, euler
from lingen_models.sampling.flow import uniform_times
from lingen_models.sampling.solvers import dpm_multistep, heun

MEAN, SPREAD = 1.5, 0.3


def gaussian(x: Tensor, t: float) -> Tensor:
    """The velocity that leads from noise to data of a normal distribution."""
    variance = (t * SPREAD) ** 2 + (1 - t) ** 2
    data = MEAN + t * SPREAD**2 / variance * (x - t * MEAN)
    noise = (1 - t) / variance * (x - t * MEAN)
    return data - noise


def error(solver: Sampler, steps: int) -> float:
    noise = torch.randn(64, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = solver(gaussian, noise, uniform_times(steps).double(), lambda *_: None)
    return float((found - (MEAN + SPREAD * noise)).abs().max())


@pytest.mark.parametrize(
    ("solver", "least", "most"),
    [(euler, 1.8, 2.3), (heun, 3.5, 4.5), (dpm_multistep, 2.5, 4.5)],
)
def test_the_error_falls_with_the_order(solver: Sampler, least: float, most: float) -> None:
    """Half the step has half of the error, or a quarter; DPM's steps out of noise cost it some."""
    assert least < error(solver, 64) / error(solver, 128) < most


@pytest.mark.parametrize("steps", [8, 16, 64])
@pytest.mark.parametrize("solver", [heun, dpm_multistep])
def test_a_higher_order_has_less_error(solver: Sampler, steps: int) -> None:
    assert error(solver, steps) < error(euler, steps) * 0.6


@pytest.mark.parametrize("steps", [1, 2, 3, 7])
@pytest.mark.parametrize("solver", [heun, dpm_multistep])
def test_a_straight_way_is_walked_exactly(solver: Sampler, steps: int) -> None:
    noise, data = torch.randn(2, 5, dtype=torch.float64).unbind()
    told: list[tuple[int, int]] = []

    def on_step(done: int, total: int, estimate: Tensor) -> None:
        told.append((done, total))
        assert torch.allclose(estimate, data)

    found = solver(lambda x, t: data - noise, noise, uniform_times(steps).double(), on_step)
    assert torch.allclose(found, data)
    assert told == [(step + 1, steps) for step in range(steps)]


def test_how_often_they_ask() -> None:
    for solver, asked in ((heun, 9), (dpm_multistep, 5)):
        calls: list[float] = []

        def velocity(x: Tensor, t: float, calls: list[float] = calls) -> Tensor:
            calls.append(t)
            return -x

        solver(velocity, torch.randn(3), uniform_times(5), lambda *_: None)
        assert len(calls) == asked


@pytest.mark.parametrize("step", [1, 3])
def test_heun_goes_on_from_any_step(step: int) -> None:
    """What `Sampler.restartable` promises."""
    times, seen = uniform_times(5).double(), list[tuple[float, Tensor]]()

    def velocity(x: Tensor, t: float) -> Tensor:
        seen.append((t, x))
        return gaussian(x, t)

    whole = heun(velocity, torch.randn(8, dtype=torch.float64), times, lambda *_: None)
    kept = next(x for t, x in seen[2 * step :: 2] if t == float(times[step]))
    assert torch.equal(heun(gaussian, kept, times[step:], lambda *_: None), whole)


@pytest.mark.parametrize("step", [1, 2, 4])
def test_multistep_goes_on_with_what_it_remembers(step: int) -> None:
    """What `Sampler.remembers` promises."""
    times, states, estimates = uniform_times(5).double(), list[Tensor](), list[Tensor]()

    def velocity(x: Tensor, t: float) -> Tensor:
        states.append(x)
        return gaussian(x, t)

    noise = torch.randn(8, dtype=torch.float64)
    whole = dpm_multistep(velocity, noise, times, lambda _, __, one: estimates.append(one))
    before = estimates[step - 1], times[step - 1].item()
    rest = dpm_multistep(gaussian, states[step], times[step:], lambda *_: None, before)
    assert torch.equal(rest, whole)
    assert (
        step in (1, 4)
        or not torch.equal(  # those are of first order
            dpm_multistep(gaussian, states[step], times[step:], lambda *_: None), whole
        )
    )
