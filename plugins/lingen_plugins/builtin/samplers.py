"""The built-in samplers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lingen_plugins.contracts import Sampler
from lingen_plugins.hookspecs import hookimpl

if TYPE_CHECKING:
    from lingen_models.sampling.denoise import Sampler as SamplingLoop


def build_euler() -> SamplingLoop:
    """The loop itself, a function of velocity, noise, times and a listener."""
    from lingen_models.sampling.denoise import euler

    return euler


def build_ancestral() -> SamplingLoop:
    """The loop that renews a share of the noise; half of it did best on clips of 2 s and 4 s."""
    from lingen_models.sampling.denoise import ancestral

    return ancestral(0.5)


def build_heun() -> SamplingLoop:
    """Heun's method."""
    from lingen_models.sampling.solvers import heun

    return heun


def build_dpm() -> SamplingLoop:
    """DPM-Solver++(2M)."""
    from lingen_models.sampling.solvers import dpm_multistep

    return dpm_multistep


@hookimpl
def register_samplers() -> list[Sampler]:
    """Euler's method on some schedules (paper.md 1.7), and solvers of second order."""
    return [
        Sampler(
            name="euler",
            summary="Euler steps along the flow, on the linear-quadratic schedule",
            build=build_euler,
            schedule="linear-quadratic",
            restartable=True,
        ),
        Sampler(
            name="euler-uniform",
            summary="Euler steps along the flow, evenly spaced: better below about 40 steps",
            build=build_euler,
            schedule="uniform",
            restartable=True,
        ),
        Sampler(
            name="euler-late",
            summary="as euler-uniform, guided from t = 0.05 on: things appear once, not twice",
            build=build_euler,
            schedule="uniform",
            guided_after=0.05,
            restartable=True,
        ),
        Sampler(
            name="euler-shifted",
            summary="Euler steps, closer near noise: for models that were distilled to few steps",
            build=build_euler,
            schedule="shifted",
            restartable=True,
        ),
        Sampler(
            name="euler-ancestral",
            summary="as euler-late, closer steps near noise, some of which is renewed each time",
            build=build_ancestral,
            schedule="shifted",
            guided_after=0.05,
            restartable=True,
        ),
        Sampler(
            name="dpm-multistep",
            summary="DPM-Solver++(2M), guided from t = 0.05 on: fewer steps for the same video",
            build=build_dpm,
            schedule="shifted",
            guided_after=0.05,
            restartable=True,
            remembers=True,
        ),
        Sampler(
            name="heun",
            summary="Heun's method: each step asks twice; for many steps and exact flows",
            build=build_heun,
            schedule="shifted",
            guided_after=0.05,
            restartable=True,
        ),
    ]
