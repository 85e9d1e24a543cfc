"""The latents of a job: those that the video before has, and those that are sampled now."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from lingen_cli.errors import BadDataError, NotAvailableError
from lingen_cli.generation import latent_cache
from lingen_cli.generation.journal import Journal, NoJournal
from lingen_cli.generation.layouts import layouts_of
from lingen_cli.requests.edits import Added, Dropped, Edit, Retaken, Sampled
from lingen_cli.requests.job import GivenVideo, Job
from lingen_cli.requests.read_recipe import check_inputs
from lingen_cli.requests.recipe import Base
from lingen_cli.terminal import profiler
from lingen_cli.terminal.progress import Progress
from lingen_models.sampling.conditioning import Conditioning
from lingen_plugins.contracts import HubModel

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from lingen_cli.media.images.resize import Fit
    from lingen_models.pipelines.protocol import VideoPipeline
    from lingen_models.sampling.layout import Layout

OnStep = Callable[[int, int, "Tensor"], None]
OnFinal = Callable[["Tensor"], None]
_NO_LATENTS = (
    "the latents of this video are not in the cache; `lingen rerun` makes it once more with them, "
    "if the weights are those it was made with"
)


@dataclass(frozen=True)
class Latents:
    """Latents (1, C, T, h, w), float32, and the number of the model's frame that they begin with.

    `whole` says that they are all of the video's, as they were sampled.
    """

    values: Tensor
    begin: int
    whole: bool


def latents_of(
    job: Job,
    pipe: VideoPipeline,
    journal: Journal | NoJournal,
    progress: Progress,
    on_final: OnFinal = lambda latents: None,
) -> Latents:
    """Return the latents that `job` has from the video before, and those that are sampled for it.

    `on_final` is handed the latents of a new video (1, C, t, h, w) in their order, as soon as they
    will not change any more.
    """
    before = None
    if job.timeline.origin is not None:
        before = _history(job, pipe, progress)
    elif job.timeline.base is not None:
        progress.note("reading the end of the video")
        before = _base_end(job, job.timeline.base, pipe, progress)
    check_inputs(job)
    empty = pipe.empty_latents(job.timeline.height, job.timeline.width)
    known = before or Latents(empty, 0, whole=True)
    steps = _plan(job, pipe, known.values.shape[2], known.begin)
    journal.begin(None if before is None else known.values)
    layouts = [one and one.since(known.begin) for one in layouts_of(job, pipe)]
    progress.phase("sample", sum(step.steps for step in steps))
    work = _Work(job, pipe, journal, progress, layouts, on_final)
    values = known.values
    for step in steps:
        values = work.do(step, values)
    journal.flush()
    return Latents(values.cpu().float(), known.begin, known.whole)


@dataclass(frozen=True)
class _Step:
    """An edit in latent frames: those from `begin` to `end` are made, or are all that is kept."""

    edit: Edit
    begin: int
    end: int
    steps: int
    """Calls of the listener while it is made."""


def _plan(job: Job, pipe: VideoPipeline, have: int, shift: int) -> list[_Step]:
    grid = job.grid
    found, frames = [], job.timeline.frames_before

    def needed(count: int) -> int:
        return pipe.latent_frames(grid.source(count - 1) + 1 - shift)

    for edit in job.timeline.pending:
        if isinstance(edit, Dropped):
            frames, have = edit.keep, needed(edit.keep)
            found.append(_Step(edit, 0, have, 0))
        elif isinstance(edit, Retaken):
            begin, end = needed(edit.begin + 1) - 1, needed(edit.end)
            if end - begin > pipe.positions:
                most = pipe.positions * pipe.time_stride / job.model.variant.fps
                raise BadDataError(f"this model can make at most {most:g} s anew at a time")
            found.append(_Step(edit, begin, end, edit.sampling.steps))
        else:
            frames += edit.frames
            end = max(have, needed(frames))
            pieces = pipe.passes(have, end - have, edit.windows, edit.cut)
            found.append(_Step(edit, have, end, pieces * edit.sampling.steps))
            have = end
    return found


def _past(part: Sampled) -> int:
    return 0 if part.windows is None else part.windows[1]


@dataclass
class _Work:
    """Makes edit after edit, with one bar over all of them."""

    job: Job
    pipe: VideoPipeline
    journal: Journal | NoJournal
    progress: Progress
    layouts: Sequence[Layout | None]
    on_final: OnFinal
    done: int = 0

    def do(self, step: _Step, values: Tensor) -> Tensor:
        """`values` after one edit."""
        import torch

        edit, pipe = step.edit, self.pipe
        if isinstance(edit, Dropped):
            return values[:, :, : step.end]
        if edit.layout is not None and not pipe.takes_layout:
            raise NotAvailableError(
                "these weights take no layout: leave out --layout, or use weights that were "
                "trained with `layout` (lingen models list)"
            )
        params, sampler = edit.sampling, self.job.timeline.samplers[edit.sampling.sampler]
        if params.step_cache:  # what a step reuses is not in the journal
            sampler = replace(sampler, restartable=False)
        method, on_step = sampler.method(self.journal.loop(sampler)), self._listener()
        place = next(number for number, one in enumerate(self.job.timeline.edits) if one is edit)
        layout = self.layouts[place]
        if isinstance(edit, Retaken):
            return pipe.inpaint(
                values,
                (step.begin, step.end),
                Conditioning(edit.prompt, layout=layout),
                params,
                past=_past(edit),
                method=method,
                on_step=on_step,
            )
        begun = edit is not self.job.timeline.edits[0]  # images belong to what was sampled first
        first, last = (
            None
            if given is None or begun or given.pixels is None
            else torch.from_numpy(given.pixels)
            for given in (self.job.timeline.image, self.job.timeline.last_image)
        )
        conditioning = Conditioning(
            edit.prompt, first, last, layout, self._fade(edit, place), fresh=edit.cut
        )
        if self.job.timeline.video is not None and not begun:
            frames = 1 + pipe.time_stride * (step.end - 1)
            shown = _shown_in(self.job, self.job.timeline.video, frames, self.progress)
            conditioning = replace(conditioning, video=shown)
        if edit.windows is None:
            frames = 1 + pipe.time_stride * (step.end - 1)
            whole = pipe.sample(
                conditioning,
                params,
                frames=frames,
                height=self.job.timeline.height,
                width=self.job.timeline.width,
                method=method,
                on_step=on_step,
            )
            self.on_final(whole.cpu())
            return whole.cpu()
        if first is not None:
            values = pipe.encode_image(first)
            self.on_final(values.cpu())
        count = step.end - values.shape[2]
        pieces = pipe.extend(
            values,
            count,
            conditioning,
            params,
            windows=edit.windows,
            method=method,
            on_step=on_step,
        )
        found = [values.cpu()]
        for piece in pieces:
            found.append(piece.cpu())
            self.on_final(found[-1])
        return torch.cat(found, 2)

    def _fade(self, edit: Added, place: int) -> tuple[str, int] | None:
        """The prompt before, and in how many latent frames it gives way to this one's, which is
        that of the edit of this number."""
        before = [one for one in self.job.timeline.edits[:place] if isinstance(one, Added)]
        if not edit.crossfade or not before or before[-1].prompt == edit.prompt:
            return None
        frames = edit.crossfade * self.job.model.variant.fps / self.pipe.time_stride
        return before[-1].prompt, max(1, round(frames))

    def _listener(self) -> OnStep:
        begin, model = self.done, self.job.model.variant
        can_preview = not isinstance(model, HubModel) or model.previews

        def on_step(done: int, total: int, estimate: Tensor) -> None:
            self.done = begin + done
            profiler.step()
            if self.job.runtime.preview and can_preview and self.progress.draws_images:
                from lingen_cli.terminal.latent_preview import sketch

                first = next(iter(self.pipe.decode(estimate[:, :, :1], 1)))
                self.progress.draw(sketch(estimate, first[0]))
            self.progress.advance(self.done)

        return on_step


def _shown_in(job: Job, video: GivenVideo, count: int, progress: Progress) -> torch.Tensor:
    """The first frames of a video at the model's rate and size, uint8 (T, H, W, 3); its last one
    again where it ends before."""
    from lingen_cli.media.images.resize import Fit

    fit = Fit(name="crop", seen=video.size, size=(job.timeline.width, job.timeline.height))
    return _images(job, video.path, fit, 0, count - 1, progress)


def check_history(job: Job) -> None:
    """Raise NotAvailableError (69) where the latents of the video before are needed, and not in
    the cache; nothing is loaded for that."""
    origin = job.timeline.origin
    if origin is None or _goes_on_from_pixels(job):
        return
    if origin.latents is None or not latent_cache.holds(origin.latents):
        raise NotAvailableError(_NO_LATENTS)


def _goes_on_from_pixels(job: Job) -> bool:
    model = job.model.variant
    assert job.timeline.origin is not None
    copied = job.timeline.origin.copy_packets
    return copied and (not isinstance(model, HubModel) or model.from_pixels)


def _history(job: Job, pipe: VideoPipeline, progress: Progress) -> Latents:
    """The latents of the video before: from the cache, else of its end, encoded from pixels."""
    assert job.timeline.origin is not None
    digest = job.timeline.origin.latents
    found = None if digest is None else latent_cache.load(digest)
    if (
        found is not None
        and found.shape[3:] == pipe.empty_latents(job.timeline.height, job.timeline.width).shape[3:]
    ):
        begin = 0 if job.timeline.base is None else _base_begin(job, job.timeline.base, pipe)
        return Latents(found, begin, whole=True)
    if not _goes_on_from_pixels(job):
        raise NotAvailableError(_NO_LATENTS)
    progress.warn(
        "the latents of this video are not in the cache (`lingen cache`): its end is encoded from "
        "pixels, which costs a little quality"
    )
    last = job.grid.source(job.timeline.kept - 1)
    begin = last - _groups(last, job.timeline.sampled[0], pipe) * pipe.time_stride
    images = _images(
        job, job.timeline.origin.path, job.timeline.fit_of_video, begin, last, progress
    )
    return Latents(pipe.encode_video(images).cpu(), begin, whole=False)


def _base_end(job: Job, base: Base, pipe: VideoPipeline, progress: Progress) -> Latents:
    """The end of a video that lingen did not make, encoded from pixels."""
    from lingen_cli.media.images.resize import Fit
    from lingen_cli.media.probe import seen_size

    last = job.grid.source(base.frames - 1)
    begin = _base_begin(job, base, pipe)
    fit = Fit(
        name=base.fit, seen=seen_size(base.file), size=(job.timeline.width, job.timeline.height)
    )
    images = _images(job, base.file, fit, begin, last, progress)
    return Latents(pipe.encode_video(images).cpu(), begin, whole=True)


def _base_begin(job: Job, base: Base, pipe: VideoPipeline) -> int:
    """The model's frame with which the latents of a video begin that has such a base."""
    first, last = job.timeline.edits[0], job.grid.source(base.frames - 1)
    assert isinstance(first, Added)
    return last - _groups(last, first, pipe) * pipe.time_stride


def _groups(last: int, part: Sampled, pipe: VideoPipeline) -> int:
    """Latent frames before the model's frame `last` that are encoded, so that the past of the
    part and what its decoding depends on is there."""
    return min(last // pipe.time_stride, _past(part) + pipe.reach)


def _images(
    job: Job, path: Path, fit: Fit, begin: int, last: int, progress: Progress
) -> torch.Tensor:
    """The model's frames `begin` to `last` of a video, uint8 (T, H, W, 3)."""
    import numpy as np
    import torch

    from lingen_cli.media.reader import frames_at

    quarter = Fraction(1, 4) / job.timeline.rate
    times = [float(job.grid.moment(number) + quarter) for number in range(begin, last + 1)]

    def tell(count: int) -> None:
        progress.warn(
            f"{count} damaged packets near the end were stepped over", damaged_packets=count
        )

    images = frames_at(path, times, fit=fit, on_damage=tell)
    return torch.from_numpy(np.stack(list(images)))
