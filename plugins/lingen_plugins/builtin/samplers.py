"""The built-in samplers."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from lingen_plugins.contracts import Sampler
from lingen_plugins.hookspecs import hookimpl

if TYPE_CHECKING:
    from lingen_models.sampling.denoise import Sampler as SamplingLoop


def build_loop(name: str) -> SamplingLoop:
    """The loop itself, a function of velocity, noise, times and a listener."""
    from lingen_models.sampling import denoise, solvers

    loops: dict[str, SamplingLoop] = {
        "euler": denoise.euler,
        "ancestral": denoise.ancestral(0.5),  # that did best on clips of 2 s and 4 s
        "heun": solvers.heun,
        "dpm": solvers.dpm_multistep,
    }
    return loops[name]


@hookimpl
def register_samplers() -> list[Sampler]:
    """Euler's method on some schedules (paper.md 1.7), and solvers of second order."""
    return [
        Sampler(
            name="euler",
            summary="Euler steps along the flow, on the linear-quadratic schedule",
            build=partial(build_loop, "euler"),
            schedule="linear-quadratic",
            restartable=True,
        ),
        Sampler(
            name="euler-uniform",
            summary="Euler steps along the flow, evenly spaced: better below about 40 steps",
            build=partial(build_loop, "euler"),
            schedule="uniform",
            restartable=True,
        ),
        Sampler(
            name="euler-late",
            summary="as euler-uniform, guided from t = 0.05 on: things appear once, not twice",
            build=partial(build_loop, "euler"),
            schedule="uniform",
            guided_after=0.05,
            restartable=True,
        ),
        Sampler(
            name="euler-shifted",
            summary="Euler steps, closer near noise: for models that were distilled to few steps",
            build=partial(build_loop, "euler"),
            schedule="shifted",
            restartable=True,
        ),
        Sampler(
            name="euler-ancestral",
            summary="as euler-late, closer steps near noise, some of which is renewed each time",
            build=partial(build_loop, "ancestral"),
            schedule="shifted",
            guided_after=0.05,
            restartable=True,
        ),
        Sampler(
            name="dpm-multistep",
            summary="DPM-Solver++(2M), guided from t = 0.05 on: fewer steps for the same video",
            build=partial(build_loop, "dpm"),
            schedule="shifted",
            guided_after=0.05,
            restartable=True,
            remembers=True,
        ),
        Sampler(
            name="heun",
            summary="Heun's method: each step asks twice; for many steps and exact flows",
            build=partial(build_loop, "heun"),
            schedule="shifted",
            guided_after=0.05,
            restartable=True,
        ),
    ]
