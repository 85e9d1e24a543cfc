"""The built-in sampler."""

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


@hookimpl
def register_samplers() -> list[Sampler]:
    """One sampler (paper.md 1.7)."""
    return [
        Sampler(
            name="euler",
            summary="Euler steps along the flow, on the linear-quadratic schedule",
            build=build_euler,
        )
    ]
