"""From a finished video to a job that goes on with it, branches off, or makes a part anew."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from lingen_cli.errors import BadDataError, InvalidOptionError
from lingen_cli.files.printable import printable
from lingen_cli.inputs.frame_rates import parse_moment
from lingen_cli.inputs.request import (
    BranchRequest,
    ExtendRequest,
    LongerRequest,
    RetakeRequest,
)
from lingen_cli.inputs.settings import sampling_given
from lingen_cli.media.metadata import read_recipe
from lingen_cli.media.probe import fingerprint
from lingen_cli.requests.capabilities import (
    check_edits,
    defaults_for,
    overridden,
    plans_prompts,
    prompt_for,
    samplers_of,
)
from lingen_cli.requests.context import Context
from lingen_cli.requests.edits import Added, Dropped, Edit, Retaken, Sampled
from lingen_cli.requests.external_video import extend_external
from lingen_cli.requests.job import Job, Origin
from lingen_cli.requests.new_part import check_crossfade, more_frames
from lingen_cli.requests.new_video import random_seed
from lingen_cli.requests.read_recipe import (
    Changes,
    check_base,
    differences,
    prepare_again,
    sound_again,
)
from lingen_cli.requests.recipe import MAX_EDITS, Recipe, recipe_from_video


def extend(request: ExtendRequest, context: Context) -> Job:
    """The job of a longer video; of one that lingen did not make, `external_video` has it.

    Raises as `Finished`, and InvalidOptionError (2).
    """
    check_crossfade(request)
    if read_recipe(request.video) is None:
        return extend_external(request, context)
    recipe = recipe_from_video(request.video)
    if why := _change(request.video, recipe):
        context.progress.warn(
            f"{printable(request.video)} was changed since lingen made it ({why}): "
            "it is continued from its pixels"
        )
        return extend_external(request, context, before=recipe)
    for option in ("size", "model", "fit"):
        if getattr(request, option) is not None:
            raise InvalidOptionError(f"--{option} has no effect here: a lingen video keeps its own")
    return Finished(request, context, "longer").extend(request)


def branch(request: BranchRequest, context: Context) -> Job:
    """The job of the beginning of a video and something else after it. Raises as `extend`."""
    check_crossfade(request)
    _refuse_changed(request.video)
    return Finished(request, context, "branch").branch(request)


def retake(request: RetakeRequest, context: Context) -> Job:
    """The job of a video of which a stretch is made anew. Raises as `extend`."""
    _refuse_changed(request.video)
    return Finished(request, context, "retake").retake(request)


def _change(video: Path, recipe: Recipe) -> str:
    """What was changed in a video since lingen made it, in a few words; empty: nothing."""
    from lingen_cli.media.verify_video import differences

    return "; ".join(differences(video, recipe.frame_hashes, recipe.rate, recipe.size))


def _refuse_changed(video: Path) -> None:
    """Raise BadDataError (65) for a video that is not what its recipe says any more."""
    if why := _change(video, recipe_from_video(video)):
        raise BadDataError(
            f"{printable(video)} was changed since lingen made it ({why}); "
            "`lingen extend` and `lingen continue` go on from its pixels"
        )


class Finished:
    """A video that lingen made, with what is needed to go on with it as a request says.

    Raises MissingInputError (66), BadDataError (65: not a video, not made by lingen), and what
    `prepare_again` raises.
    """

    def __init__(
        self, request: ExtendRequest | BranchRequest | RetakeRequest, context: Context, name: str
    ) -> None:
        self.context, self.video, self.prompt = context, request.video, request.prompt
        self.sampling = sampling_given(request.sampling)
        self._fingerprint = fingerprint(self.video)
        self.recipe = recipe_from_video(self.video)
        changes, stem = Changes.of(request), f"{self.video.stem}-{name}"
        job = prepare_again(self.recipe, changes, context, stem=stem, read_image=False)
        sound = sound_again(self.video, self.recipe, context)
        self.job = replace(job, output=replace(job.output, sound=sound))

    def extend(self, request: ExtendRequest) -> Job:
        """The video, longer. Raises InvalidOptionError and UnknownNameError (2)."""
        return self._with(self._added(request, self.job.timeline.frames), copy=True)

    def branch(self, request: BranchRequest) -> Job:
        """The video up to a moment, and something else after it. Raises as `extend`."""
        keep = self._frame("--at", request.at)
        self._check_made("--at", keep - 1)
        if not 1 <= keep < self.job.timeline.frames:
            raise InvalidOptionError(
                f"--at must be inside the video's {self.job.timeline.seconds:g} s, "
                f"not {request.at!r}"
            )
        return self._with(Dropped(keep=keep), self._added(request, keep), copy=False)

    def retake(self, request: RetakeRequest) -> Job:
        """The video with a stretch made anew. Raises as `extend`."""
        begin, end, given = request.begin, request.end, self.sampling
        first = self._frame("--from", begin)
        last = self.job.timeline.frames if end is None else self._frame("--to", end)
        if not 0 <= first < last <= self.job.timeline.frames:
            raise InvalidOptionError(
                "--from and --to must be a stretch of the video's "
                f"{self.job.timeline.seconds:g} s, not {begin!r} to {end!r}"
            )
        self._check_made("--from", first)
        edit = Retaken(begin=first, frames=last - first, **self._inputs(again=True))
        if given.draws_seed or "seed" in given.values or self.prompt is not None:
            return self._with(edit, copy=False)
        # The old seed would give the old part.
        job = self._with(edit.sampled_with(seed=random_seed()), copy=False)
        return replace(job, timeline=replace(job.timeline, draws_seeds=True))

    def _with(self, *edits: Edit, copy: bool) -> Job:
        """The job with these edits; tells what has changed since the video was made."""
        before, recipe = self.job, self.recipe
        if len(before.timeline.edits) + len(edits) > MAX_EDITS:
            raise BadDataError(f"{self.video} was edited {MAX_EDITS} times; begin with a new video")
        whole, sources = (*before.timeline.edits, *edits), self.sampling.sources
        check_edits(before.model.variant, whole, before.timeline.rate, sources=sources)
        same = before.model.hashes.get("autoencoder") == recipe.weights.get("autoencoder")
        origin = Origin(
            path=self.video.absolute(),
            fingerprint=self._fingerprint,
            latents=recipe.latents if same else None,
            done=len(before.timeline.edits),
            copy_packets=copy,
            hashes=recipe.frame_hashes,
        )
        timeline = replace(
            before.timeline,
            edits=whole,
            samplers=samplers_of(self.context.registry, before.model.variant, whole),
            origin=origin,
            draws_seeds=before.timeline.draws_seeds or self.sampling.draws_seed,
        )
        job = replace(before, timeline=timeline, output=replace(before.output, beside=self.video))
        for difference in differences(recipe, job):
            self.context.progress.warn(difference)
        return job

    def _added(self, request: LongerRequest, before: int) -> Added:
        """The new part, behind `before` frames that are there."""
        frames = more_frames(
            request,
            self.context.settings.seconds,
            before,
            self.job.timeline.rate,
            self._foreign,
        )
        return Added(frames=frames, crossfade=request.crossfade, **self._inputs())

    def _inputs(self, again: bool = False) -> dict[str, Any]:
        """What a new part is sampled with; `again`: in the place of what is there."""
        model = self.job.model
        last = next(one for one in reversed(self.job.timeline.edits) if isinstance(one, Sampled))
        prompt = last.prompt if self.prompt is None else prompt_for(model.variant, self.prompt)
        sampling = overridden(
            defaults_for(model.variant, last.sampling, self._plans(prompt, again)),
            self.sampling,
            model.variant,
        )
        if self.sampling.draws_seed:
            sampling = replace(sampling, seed=random_seed())
        return {"prompt": prompt, "sampling": sampling, "windows": model.variant.windows}

    def _plans(self, prompt: str, again: bool) -> bool:
        """Tell whether the layout of a new part is planned; of one that is made `again`, only
        where the prompt stays."""
        job = self.job
        parts = [one for one in job.timeline.edits if isinstance(one, Sampled)]
        if job.timeline.base is not None or job.timeline.last_image is not None:
            return False
        if not self.sampling.values.get("plan_layout", parts[-1].sampling.plan_layout):
            return False
        if again and prompt != parts[-1].prompt:
            return False
        prompts = [*(one.prompt for one in parts), prompt]
        return plans_prompts(job.model.variant, job.model.folder, prompts)

    def _frame(self, option: str, text: str) -> int:
        return round(parse_moment(text, option) * self.job.timeline.rate)

    @property
    def _foreign(self) -> int:
        """Frames that lingen did not make."""
        return 0 if self.job.timeline.base is None else self.job.timeline.base.frames

    def _check_made(self, option: str, frame: int) -> None:
        if self.job.timeline.base is None:
            return
        if frame < self._foreign:
            begin = float(self._foreign / self.job.timeline.rate)
            raise InvalidOptionError(
                f"{option} must be in the part that lingen made, after the first {begin:g} s"
            )
        check_base(self.job.timeline.base)
