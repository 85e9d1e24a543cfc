"""From a finished video to a job that goes on with it, branches off, or makes a part anew."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from lingen_cli.errors import BadDataError, InvalidOptionError
from lingen_cli.inputs.frame_rates import MAX_SECONDS, frame_count, parse_moment
from lingen_cli.inputs.prompts import check_prompt
from lingen_cli.requests.capabilities import check_edits, overridden, sampler_of
from lingen_cli.requests.job import Cut, Edit, Job, Origin, Stretch
from lingen_cli.requests.new_video import random_seed
from lingen_cli.requests.read_recipe import Changes, check_base, prepare_again
from lingen_cli.requests.recipe import MAX_EDITS, Recipe, recipe_from_video
from lingen_cli.settings import SamplingOverrides

if TYPE_CHECKING:
    from fractions import Fraction

    from lingen_plugins.registry import Registry


@dataclass(frozen=True, kw_only=True)
class Wish:
    """How the new part is sampled; None is as the end of the video was."""

    prompt: str | None = None
    sampling: SamplingOverrides = field(default_factory=SamplingOverrides)
    crossfade: float = 0.0
    """Seconds in which the prompt before gives way to this one."""


@dataclass(frozen=True, kw_only=True)
class Length:
    """How much is added; at most one is given, and `default` counts where none is."""

    seconds: float | None = None
    minutes: float | None = None
    to: str | None = None
    """Length of the whole video."""
    default: float


class Finished:
    """A video that lingen made, with what is needed to go on with it.

    Raises MissingInputError (66), BadDataError (65: not a video, not made by lingen, or changed
    since), and what `prepare_again` raises.
    """

    def __init__(self, video: Path, changes: Changes, registry: Registry, name: str) -> None:
        self.video = video
        self.registry = registry
        self.recipe: Recipe = recipe_from_video(video)
        stem = f"{video.stem}-{name}"
        self.job = prepare_again(self.recipe, changes, registry, stem=stem, read_image=False)
        self._check_unchanged()

    def extend(self, length: Length, wish: Wish) -> Job:
        """The video, longer. Raises InvalidOptionError and UnknownNameError (2)."""
        frames = more_frames(length, self.job.frames, self.job.rate, self._foreign)
        return self._with(self._stretch(wish, frames), wish=wish, copy=True)

    def branch(self, at: str, length: Length, wish: Wish) -> Job:
        """The video up to `at`, and something else after it. Raises as `extend`."""
        keep = self._frame("--at", at)
        self._check_made("--at", keep - 1)
        if not 1 <= keep < self.job.frames:
            raise InvalidOptionError(
                f"--at must be inside the video's {self.job.seconds:g} s, not {at!r}"
            )
        frames = more_frames(length, keep, self.job.rate, self._foreign)
        return self._with(Cut(keep=keep), self._stretch(wish, frames), wish=wish, copy=False)

    def retake(self, begin: str, end: str | None, wish: Wish) -> Job:
        """The video with the stretch from `begin` to `end` (or its end) made anew."""
        first = self._frame("--from", begin)
        last = self.job.frames if end is None else self._frame("--to", end)
        if not 0 <= first < last <= self.job.frames:
            raise InvalidOptionError(
                f"--from and --to must be a stretch of the video's {self.job.seconds:g} s, "
                f"not {begin!r} to {end!r}"
            )
        self._check_made("--from", first)
        stretch = replace(self._stretch(wish, 0), at=(first, last))
        if "seed" in wish.sampling.values or wish.prompt is not None:
            return self._with(stretch, wish=wish, copy=False)
        # The old seed would give the old part.
        stretch = replace(stretch, sampling=replace(stretch.sampling, seed=random_seed()))
        return replace(self._with(stretch, wish=wish, copy=False), draws_seeds=True)

    def _with(self, *edits: Edit, wish: Wish, copy: bool) -> Job:
        before, recipe = self.job, self.recipe
        if len(before.edits) + len(edits) > MAX_EDITS:
            raise BadDataError(f"{self.video} was edited {MAX_EDITS} times; begin with a new video")
        whole, sources = (*before.edits, *edits), wish.sampling.sources
        check_edits(before.model.variant, whole, before.rate, sources=sources)
        same = before.model.hashes.get("autoencoder") == recipe.weights.get("autoencoder")
        origin = Origin(
            path=self.video,
            latents=recipe.latents if same else None,
            done=len(before.edits),
            copy=copy,
            hashes=recipe.frame_hashes,
        )
        return replace(before, edits=whole, origin=origin)

    def _stretch(self, wish: Wish, frames: int) -> Stretch:
        last = next(one for one in reversed(self.job.edits) if isinstance(one, Stretch))
        sampling = overridden(last.sampling, wish.sampling)
        return Stretch(
            prompt=last.prompt if wish.prompt is None else check_prompt(wish.prompt),
            sampling=sampling,
            sampler=sampler_of(self.registry, self.job.model.variant, sampling.sampler),
            frames=frames,
            crossfade=wish.crossfade,
            windows=self.job.model.variant.windows,
        )

    def _frame(self, option: str, text: str) -> int:
        return round(parse_moment(text, option) * self.job.rate)

    @property
    def _foreign(self) -> int:
        """Frames that lingen did not make."""
        return 0 if self.job.base is None else self.job.base.frames

    def _check_made(self, option: str, frame: int) -> None:
        if self.job.base is None:
            return
        if frame < self._foreign:
            begin = float(self._foreign / self.job.rate)
            raise InvalidOptionError(
                f"{option} must be in the part that lingen made, after the first {begin:g} s"
            )
        check_base(self.job.base)

    def _check_unchanged(self) -> None:
        from lingen_cli.files.printable import printable
        from lingen_cli.media.probe import video_info

        info, job = video_info(self.video), self.job
        found, wanted = (info.width, info.height), job.size
        if info.frames is not None and (info.frames, found) != (job.frames, wanted):
            size, said = (f"{width}x{height}" for width, height in (found, wanted))
            raise BadDataError(
                f"{printable(self.video)} has {info.frames} frames of {size}, its recipe says "
                f"{job.frames} of {said}: it was edited since"
            )


def more_frames(length: Length, before: int, rate: Fraction, foreign: int) -> int:
    """Frames to add to the `before` that are there, of which lingen did not make `foreign`.

    Raises InvalidOptionError (2).
    """
    if length.to is None:
        frames = frame_count(
            rate,
            minutes=length.minutes,
            seconds=length.seconds,
            default_seconds=length.default,
        )
    elif length.seconds is not None or length.minutes is not None:
        raise InvalidOptionError("--to and a length say the same thing; give one of them")
    else:
        frames = round(parse_moment(length.to, "--to") * rate) - before
        if frames < 1:
            raise InvalidOptionError(
                f"--to must be above the {float(before / rate):g} s that are there, "
                f"not {length.to!r}"
            )
    if before - foreign + frames > int(MAX_SECONDS * rate):
        raise InvalidOptionError(f"lingen would make more than {MAX_SECONDS / 3600:g} hour of it")
    return frames
