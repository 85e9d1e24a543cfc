"""Layouts of the parts of a video that is made from prompts alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from lingen_cli.requests.edits import Added, Dropped, Retaken
from lingen_cli.requests.job import Job
from lingen_models.pipelines.protocol import VideoPipeline
from lingen_models.sampling.layout import Layout

Plan = Callable[[int], Layout | None]
"""From a number of latent frames to the layout of a video of that length."""


@dataclass(frozen=True)
class _Part:
    """A stretch that adds to a video, the frame at which it begins, and the plan of all until its
    end."""

    begin: int
    prompt: str
    plan: Plan


def layouts_of(job: Job, pipe: VideoPipeline) -> list[Layout | None]:
    """The layout of the whole video as it is after each edit of a job.

    An edit of the same prompt goes on with the plan that it finds, another prompt with what that
    describes alike, and a cut begins anew. What goes on with something unknown, such as an image
    or the video of a camera, has no layout; nor has a cut out of the end of a video.
    """
    return [plan(_latent_frames(job, pipe, frames)) for plan, frames in _plans(job, pipe)]


def _plans(job: Job, pipe: VideoPipeline) -> Iterator[tuple[Plan, int]]:
    """The plan and the number of frames after each edit."""
    parts: list[_Part] = []
    frames = 0
    for edit in job.timeline.edits:
        if isinstance(edit, Dropped):
            frames = edit.keep
            parts = [part for part in parts if part.begin < frames]
            yield _unknown, frames
        elif isinstance(edit, Retaken):
            covering = [part for part in parts if part.begin <= edit.begin]
            same = covering and covering[-1].prompt == edit.prompt
            yield covering[-1].plan if same and edit.sampling.plan_layout else _unknown, frames
        else:
            last = parts[-1] if parts else None
            parts.append(_Part(frames, edit.prompt, _plan(job, pipe, edit, frames, last)))
            frames += edit.frames
            yield parts[-1].plan, frames


def _plan(job: Job, pipe: VideoPipeline, edit: Added, frames: int, last: _Part | None) -> Plan:
    """The plan of a stretch that is added after so many frames."""
    params = edit.sampling
    if edit.layout is not None:
        drawn = edit.layout.at_rate(job.model.variant.fps)
        return lambda latents: drawn
    if not params.plan_layout or job.timeline.base is not None:
        return _unknown
    if last is None:
        if job.timeline.image is not None or job.timeline.last_image is not None:
            return _unknown
        return lambda latents: pipe.plan_layout(edit.prompt, params.seed, latents)
    if edit.prompt == last.prompt and not edit.cut:
        return last.plan
    begin = _latent_frames(job, pipe, frames)

    def later(latents: int) -> Layout | None:
        before = last.plan(begin + 1)  # it is asked where things are then
        if before is None and not edit.cut:
            return None
        return pipe.plan_layout(
            edit.prompt, params.seed, latents, begin, None if edit.cut else before
        )

    return later


def _unknown(latents: int) -> None:
    """No plan."""


def _latent_frames(job: Job, pipe: VideoPipeline, frames: int) -> int:
    return pipe.latent_frames(job.grid.source(frames - 1) + 1) if frames else 0
