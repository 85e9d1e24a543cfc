"""From a finished video to a job that goes on with it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from lingen_cli.errors import BadDataError, InvalidOptionError
from lingen_cli.job import Job, Origin, Stretch
from lingen_cli.preflight import check_seed
from lingen_cli.prompts import check_prompt
from lingen_cli.recipe import MAX_STRETCHES, Recipe, recipe_from_video
from lingen_cli.repeat import Changes, prepare_again
from lingen_cli.timing import MAX_SECONDS, frame_count

if TYPE_CHECKING:
    from lingen_plugins.registry import Registry


@dataclass(frozen=True, kw_only=True)
class More:
    """What is to follow; None is what the end of the video was made with."""

    seconds: float | None = None
    minutes: float | None = None
    to: float | None = None
    """Length of the whole video in seconds."""
    prompt: str | None = None
    negative: str | None = None
    seed: int | None = None
    sampler: str | None = None
    steps: int | None = None
    guidance: float | None = None


def prepare_extension(
    video: Path, more: More, changes: Changes, registry: Registry, *, default_seconds: float
) -> tuple[Recipe, Job]:
    """The recipe of `video`, and the job that makes it longer.

    Raises InvalidOptionError and UnknownNameError (2), MissingInputError (66), BadDataError (65:
    not a video, not made by lingen, or cut since), NotAvailableError (69).
    """
    recipe = recipe_from_video(video)
    _check_whole(video, recipe)
    if len(recipe.additions) >= MAX_STRETCHES:
        raise BadDataError(f"{video} was extended {MAX_STRETCHES} times; extend a copy made anew")
    stem = f"{video.stem}-longer"
    before = prepare_again(recipe, changes, registry, stem=stem, read_image=False)
    frames = _new_frames(before, more, default_seconds)
    same_codec = before.model.hashes.get("autoencoder") == recipe.weights.get("autoencoder")
    last = before.stretches[-1]
    sampler = last.sampler if more.sampler is None else registry.samplers[more.sampler]
    negative = last.negative if more.negative is None else more.negative
    stretch = Stretch(
        prompt=last.prompt if more.prompt is None else check_prompt(more.prompt),
        negative=check_prompt(negative, name="--negative", may_be_empty=True),
        seed=last.seed if more.seed is None else check_seed(more.seed),
        frames=frames,
        sampler=sampler,
        steps=last.steps if more.steps is None else more.steps,
        guidance=last.guidance if more.guidance is None else more.guidance,
        windows=before.model.variant.windows,
    )
    origin = Origin(path=video, latents=recipe.latents if same_codec else None)
    return recipe, replace(before, stretches=(*before.stretches, stretch), origin=origin)


def _new_frames(before: Job, more: More, default_seconds: float) -> int:
    rate = before.rate
    limit = int(MAX_SECONDS * rate)
    if more.to is not None:
        if more.seconds is not None or more.minutes is not None:
            raise InvalidOptionError("--to and a length say the same thing; give one of them")
        if not before.seconds < more.to <= MAX_SECONDS:  # also refuses nan
            raise InvalidOptionError(
                f"--to must be above the video's {before.seconds:g} s and at most "
                f"{MAX_SECONDS:g}, not {more.to}"
            )
        frames = round(Fraction(more.to) * rate) - before.frames
    else:
        frames = frame_count(
            rate, minutes=more.minutes, seconds=more.seconds, default_seconds=default_seconds
        )
    if before.frames + frames > limit:
        raise InvalidOptionError(f"the video would be longer than {MAX_SECONDS / 3600:g} hour")
    return max(1, frames)


def _check_whole(video: Path, recipe: Recipe) -> None:
    """Raise BadDataError (65) for a file that has been cut or changed since its recipe."""
    from lingen_cli.media.info import video_info
    from lingen_cli.media.write_errors import printable

    info = video_info(video)
    found = (info.frames, info.width, info.height)
    if info.frames is not None and found != (recipe.frames, recipe.width, recipe.height):
        size, said = f"{info.width}x{info.height}", f"{recipe.width}x{recipe.height}"
        raise BadDataError(
            f"{printable(video)} has {info.frames} frames of {size}, its recipe says "
            f"{recipe.frames} of {said}: it was edited since"
        )
