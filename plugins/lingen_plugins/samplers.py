"""The built-in samplers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lingen_plugins.contracts import Sampler
from lingen_plugins.hookspecs import hookimpl

if TYPE_CHECKING:
    from lingen_models.sampling import Sampler as SamplingLoop


def build_euler() -> SamplingLoop:
    """The loop itself, a function of velocity, noise, times and a listener."""
    from lingen_models.sampling import euler

    return euler


def build_ancestral() -> SamplingLoop:
    """The loop that renews a share of the noise; half of it did best on clips of 2 s and 4 s."""
    from lingen_models.sampling import ancestral

    return ancestral(0.5)


@hookimpl
def register_samplers() -> list[Sampler]:
    """Euler's method on some schedules (paper.md 1.7)."""
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
            name="euler-ancestral",
            summary="as euler-late, closer steps near noise, some of which is renewed each time",
            build=build_ancestral,
            schedule="shifted",
            guided_after=0.05,
            restartable=True,
        ),
    ]
