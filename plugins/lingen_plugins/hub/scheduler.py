"""The sampler of a pipeline from elsewhere: its own scheduler does all steps in one call."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lingen_plugins.contracts import Sampler

if TYPE_CHECKING:
    from torch import Tensor

    from lingen_models.sampling.denoise import OnStep, Velocity


def in_one_call(pipeline: Velocity, noise: Tensor, times: Tensor, on_step: OnStep) -> Tensor:
    """Ask `pipeline` for clean latents, once; it tells of its steps by itself.

    So a stopped run goes on between windows, not inside one.
    """
    return pipeline(noise, float(times[0]))


SCHEDULER = Sampler(
    name="scheduler",
    summary="the scheduler that a model from elsewhere comes with",
    build=lambda: in_one_call,
)
