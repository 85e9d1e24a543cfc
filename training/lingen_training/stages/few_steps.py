"""Few steps learn from many: in one pass without guidance, a student makes the jump that its guided
teacher makes in several (progressive distillation, arXiv 2202.00512, with guidance folded in, arXiv
2210.03142)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lingen_models.sampling.denoise import (
    Network,
    Sampler,
    TextFeatures,
    euler,
    sample_latents,
)
from lingen_models.sampling.flow import SCHEDULES, interpolate
from lingen_models.sampling.guidance import Guidance
from lingen_models.sampling.solvers import dpm_multistep
from lingen_training.training_recipe import FewSteps


@dataclass(frozen=True)
class Jump:
    """Step of the grid that a student is asked to make, and from where.

    `data` and `noise` are (B, C, T, h, w). The first `prefix` and the last `suffix` latent frames
    are clean. A step with `own_path` begins where the student's own steps from `noise` end, any
    other at `data` with as much noise as the step begins with.
    """

    data: Tensor
    noise: Tensor
    prompt: TextFeatures
    negative: TextFeatures
    step: int
    own_path: bool = True
    prefix: int = 0
    suffix: int = 0
    first_frame: int = 0

    @property
    def made(self) -> slice:
        """The latent frames that are not clean."""
        return slice(self.prefix, self.data.shape[2] - self.suffix)

    def times(self, now: float) -> Tensor:
        """(B, T): `now`, and 1 where frames are clean."""
        t = torch.ones(self.data.shape[0], self.data.shape[2], device=self.data.device)
        t[:, self.made] = now
        return t


def jump_loss(student: Network, teacher: Network, few: FewSteps, jump: Jump) -> Tensor:
    """Mean squared error of the student's velocity, over the frames that are not clean, against the
    mean velocity of the teacher between the same two points of the grid."""
    now, after = SCHEDULES[few.schedule](few.steps)[jump.step : jump.step + 2].tolist()
    with torch.no_grad():
        here = begin_of(student, few, jump)
        target = (end_of(teacher, few, jump, here) - here) / (after - now)
    text = jump.prompt
    answer = student(here, jump.times(now), *text.inputs(jump.first_frame))
    made = jump.made
    loss: Tensor = (answer.float() - target)[:, :, made].square().mean()
    return loss


def begin_of(student: Network, few: FewSteps, jump: Jump) -> Tensor:
    """Return where the step begins."""
    grid = SCHEDULES[few.schedule](few.steps)
    if jump.step and not jump.own_path:
        return interpolate(jump.data, jump.noise, jump.times(float(grid[jump.step])))
    return _follow(student, jump, jump.noise, grid[: jump.step + 1], Guidance(1.0), euler)


def end_of(teacher: Network, few: FewSteps, jump: Jump, here: Tensor) -> Tensor:
    """Return where the teacher's guided steps of a finer grid lead from `here`."""
    fine = SCHEDULES[few.schedule](few.steps * few.substeps)
    first = jump.step * few.substeps
    times = fine[first : first + few.substeps + 1]
    guidance = Guidance(few.guidance, start=few.guided_after)
    return _follow(teacher, jump, here, times, guidance, dpm_multistep)


def _follow(
    network: Network, jump: Jump, x: Tensor, times: Tensor, guidance: Guidance, sampler: Sampler
) -> Tensor:
    """From `x` through `times`, with the clean frames of `jump` as they are."""
    data, end = jump.data, jump.data.shape[2]
    return sample_latents(
        network,
        x,
        jump.prompt,
        jump.negative,
        times=times,
        guidance=guidance,
        sampler=sampler,
        prefix=data[:, :, : jump.prefix] if jump.prefix else None,
        suffix=data[:, :, end - jump.suffix :] if jump.suffix else None,
        first_frame=jump.first_frame,
    )
