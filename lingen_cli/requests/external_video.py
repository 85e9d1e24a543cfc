"""From a video that lingen did not make to a job that goes on with it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from lingen_cli.errors import BadDataError, InvalidOptionError
from lingen_cli.inputs.output_path import destination
from lingen_cli.inputs.request import ExtendRequest
from lingen_cli.inputs.settings import load, sampling_given
from lingen_cli.media.images.resize import FitName, canvas_size, crop_size
from lingen_cli.media.probe import ForeignVideo, examine, fingerprint
from lingen_cli.media.writer import check_encoder
from lingen_cli.requests.capabilities import (
    check_edits,
    defaults_for,
    overridden,
    params_of,
    prompt_for,
    samplers_of,
)
from lingen_cli.requests.context import Context
from lingen_cli.requests.edits import Added
from lingen_cli.requests.job import Job, Output, Runtime, Timeline
from lingen_cli.requests.new_part import more_frames
from lingen_cli.requests.new_video import check_device, parse_size, random_seed
from lingen_cli.requests.recipe import MAX_BASE_FRAMES, Base, Recipe
from lingen_cli.terminal.progress import Progress
from lingen_cli.zoo import licenses
from lingen_cli.zoo.locate import side_step
from lingen_plugins.contracts import HubModel

FITS: tuple[FitName, ...] = ("stretch", "pad", "crop")


def extend_external(request: ExtendRequest, context: Context, before: Recipe | None = None) -> Job:
    """The job of a video made longer, in its own size and at its own rate.

    One that lingen made, and somebody changed, has a recipe `before`: prompt, model and sampling
    are those of its end, where nothing else is given.

    The model sees it at the size that is set, or at one of the same proportions with about as many
    pixels as the model was trained with. Raises what `examine` and `new_video` raise.
    """
    video, registry = request.video, context.registry
    model, weights, given = request.model, request.weights, request.prompt
    if before is not None:
        given = before.last.prompt if given is None else given
        model = before.model if model is None else model
        if weights is None and model == before.model and before.weights_folder is not None:
            weights = Path(before.weights_folder)
    flags = {"size": request.size, "model": model, "preview": request.preview}
    loaded = load(flags | dict(request.sampling))
    settings, options = loaded.values, sampling_given(request.sampling)
    if given is None:
        raise InvalidOptionError(
            "lingen did not make this video: say with --prompt what it shows and what follows"
        )
    fit = request.fit or "stretch"
    name = next((one for one in FITS if one == fit), None)
    if name is None:
        raise InvalidOptionError(f"--fit must be one of {', '.join(FITS)}, not {fit!r}")
    weights = weights or settings.weights
    variant = context.model(settings.model, weights)
    prompt = prompt_for(variant, given)
    step = side_step(registry, variant, weights)
    found = examine(video)
    seen = (found.width, found.height)
    if settings.size is not None:
        canvas = parse_size(settings.size, step)
    elif name == "stretch":
        canvas = canvas_size(seen, parse_size(variant.size, step), step)
    else:
        canvas = parse_size(variant.size, step)
    width, height = crop_size(seen, canvas if name == "crop" else seen)
    check_encoder(
        width=width,
        height=height,
        fps=found.rate,
        crf=settings.crf,
        preset=settings.encoder_preset,
    )
    _say(found, (width, height), context.progress)
    if found.frames > MAX_BASE_FRAMES:
        raise BadDataError(f"{video} has more than {MAX_BASE_FRAMES} frames")
    base = Base(
        path=str(video.absolute()),
        fingerprint=fingerprint(video),
        frames=found.frames,
        width=width,
        height=height,
        fit=name,
        headers=found.headers if (width, height) == seen else 0,
    )
    sampling = overridden(params_of(variant, random_seed()), loaded.sampling, variant)
    if before is not None and before.model == variant.name:
        again = defaults_for(variant, before.last.sampling, planned=False)
        sampling = overridden(replace(again, seed=random_seed()), options, variant)
    edit = Added(
        prompt=prompt,
        sampling=sampling,
        frames=more_frames(request, settings.seconds, found.frames, found.rate, found.frames),
        windows=variant.windows,
    )
    if variant.windows is None:
        raise InvalidOptionError(f"{variant.name} cannot go on with a video (lingen extend)")
    if isinstance(variant, HubModel) and not variant.from_pixels:
        raise InvalidOptionError(f"{variant.name} goes on only with videos that it made itself")
    check_edits(variant, (edit,), found.rate, sources=loaded.sampling.sources)
    if request.accept_license and isinstance(variant, HubModel):
        licenses.accept(variant)
    stem = f"{video.stem}-longer"
    return Job(
        timeline=Timeline(
            edits=(edit,),
            samplers=samplers_of(registry, variant, (edit,)),
            rate=found.rate,
            width=canvas[0],
            height=canvas[1],
            base=base,
            image=None,
            draws_seeds="seed" not in (loaded.sampling if before is None else options).values,
        ),
        model=context.locate(settings.model, weights),
        runtime=Runtime(
            device=check_device(request.device or settings.device),
            cache=loaded.cache,
            preview=settings.preview,
            offload=settings.offload,
        ),
        output=Output(
            destination=destination(request.output, Path(), stem=stem, overwrite=request.overwrite),
            crf=settings.crf,
            encoder_preset=settings.encoder_preset,
            beside=base.file,
        ),
    )


def _say(found: ForeignVideo, size: tuple[int, int], progress: Progress) -> None:
    """What a user should know before hours of work."""
    if found.missing:
        progress.warn(
            f"the video is cut short: {found.missing:.1f} s are missing at its end; "
            "it goes on after its last frame"
        )
    if size != (found.width, found.height):
        width, height = size
        progress.warn(f"its images of {found.width}x{found.height} are cut to {width}x{height}")
    if found.other_rate:
        progress.warn(f"its images are timed anew: {found.other_rate}")
    if found.why_not:
        progress.warn(f"its packets cannot be copied ({found.why_not}): it is encoded again")
