"""Everything about a run that can be checked before torch is imported or a weight is read."""

from __future__ import annotations

import re
import secrets
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

from lingen_cli.errors import InvalidOptionError
from lingen_cli.files.names import slug
from lingen_cli.inputs.frame_rates import frame_count, parse_rate
from lingen_cli.inputs.layout_file import read_layout
from lingen_cli.inputs.output_path import destination
from lingen_cli.inputs.request import GenerateRequest
from lingen_cli.inputs.settings import load
from lingen_cli.inputs.story import Shot, read_story
from lingen_cli.inputs.weight_files import find_denoiser, parse_lora
from lingen_cli.requests.capabilities import (
    check_edits,
    check_formats,
    check_video,
    overridden,
    params_of,
    plans_prompts,
    prompt_for,
    samplers_of,
)
from lingen_cli.requests.context import Context
from lingen_cli.requests.edits import Added
from lingen_cli.requests.job import (
    GivenImage,
    GivenVideo,
    Job,
    Output,
    Runtime,
    Timeline,
    WeightChanges,
)
from lingen_cli.zoo import licenses
from lingen_cli.zoo.load_model import check_loras
from lingen_cli.zoo.locate import side_step
from lingen_models.checkpoints.safetensors import sha256_file
from lingen_plugins.contracts import IMAGES, HubModel

MAX_SIDE = 2048
_RANDOM_SEEDS = 2**31


def new_video(request: GenerateRequest, context: Context) -> Job:
    """Check everything and settle every open choice.

    Raises InvalidOptionError and UnknownNameError (2), MissingInputError (66), BadDataError (65),
    NotAvailableError (69), PermissionDeniedError (77).
    """
    from lingen_cli.media.writer import check_encoder

    names = ("model", "weights", "device", "size", "fps", "preview", "offload")
    flags = {name: getattr(request, name) for name in names}
    loaded, registry = load(flags | dict(request.sampling)), context.registry
    settings = loaded.values
    shots = [] if request.story is None else _shots(request, request.story)
    if not shots and request.prompt is None:
        raise InvalidOptionError("say what the video shows: a PROMPT, or --story FILE")
    variant = context.model(settings.model, settings.weights)
    for place, one in enumerate(shots):
        name = f"line {one.line} of the story: prompt"
        shots[place] = replace(one, prompt=prompt_for(variant, one.prompt, name=name))
    prompts = [one.prompt for one in shots] or [prompt_for(variant, request.prompt or "")]
    prompt = prompts[0]
    rate = parse_rate(variant.fps if settings.fps is None else settings.fps)
    check_video(variant, request.video)
    video = None if request.video is None else given_video(request.video)
    default_seconds = settings.seconds
    if video is not None:
        default_seconds = min(video.seconds, variant.trained_seconds)
    if shots:
        frames = max(1, round(shots[0].end * rate))
    else:
        frames = frame_count(
            rate,
            minutes=request.minutes,
            seconds=request.seconds,
            frames=request.frames,
            default_seconds=default_seconds,
        )
        check_covered(video, frames, rate)
    size = variant.size if settings.size is None else settings.size
    width, height = parse_size(size, side_step(registry, variant, settings.weights))
    planned = (
        loaded.sampling.values.get("plan_layout", True)
        and request.last_image is None
        and (request.layout is not None or plans_prompts(variant, settings.weights, prompts))
    )
    sampling = overridden(params_of(variant, random_seed(), planned), loaded.sampling, variant)
    streams = request.output == "-"
    into = destination(
        None if streams else request.output,
        settings.output_folder,
        stem=slug(prompt) if request.story is None else slug(request.story.stem),
        overwrite=request.overwrite,
    )
    check_encoder(
        width=width, height=height, fps=rate, crf=settings.crf, preset=settings.encoder_preset
    )
    first = Added(
        prompt=prompt,
        sampling=sampling,
        frames=frames,
        windows=variant.windows if float(frames / rate) > variant.trained_seconds else None,
        layout=None if request.layout is None else read_layout(request.layout),
    )
    edits = (first, *(_later(first, shot, rate, variant.windows) for shot in shots[1:]))
    given = [name for name in IMAGES if getattr(request, name) is not None]
    check_edits(variant, edits, rate, images=given, sources=loaded.sampling.sources)
    loras = tuple(parse_lora(one) for one in request.lora or ())
    check_formats(variant, request.quantize, request.denoiser or (), settings.offload)
    denoisers = tuple(find_denoiser(one) for one in request.denoiser or ())
    weights = WeightChanges(loras=loras, denoisers=denoisers, quantize=request.quantize)
    context.check_packages(weights.formats)
    if request.accept_license and isinstance(variant, HubModel):
        licenses.accept(variant)
    model = context.locate(settings.model, settings.weights, own_denoisers=not denoisers)
    check_loras(model, loras)
    image = None if request.image is None else given_image(request.image, width, height)
    last_image = None
    if request.last_image is not None:
        if frames < 2:
            raise InvalidOptionError("--last-image needs a video of at least 2 frames")
        last_image = given_image(request.last_image, width, height)
    return Job(
        timeline=Timeline(
            edits=edits,
            samplers=samplers_of(registry, variant, edits),
            rate=rate,
            width=width,
            height=height,
            image=image,
            last_image=last_image,
            video=video,
            draws_seeds="seed" not in loaded.sampling.values,
        ),
        model=model,
        weights=weights,
        runtime=Runtime(
            device=settings.device,
            cache=loaded.cache,
            preview=settings.preview,
            offload=settings.offload,
            frugal=request.save_memory,
        ),
        output=Output(
            destination=replace(into, streams=streams),
            crf=settings.crf,
            encoder_preset=settings.encoder_preset,
            subtitles=bool(shots) and not streams,
            sound=isinstance(variant, HubModel) and variant.sound and not request.no_sound,
        ),
    )


def _shots(request: GenerateRequest, story: Path) -> list[Shot]:
    """The shots of the story; nothing else may say what they say."""
    others = {
        "a PROMPT": request.prompt,
        "--minutes": request.minutes,
        "--seconds": request.seconds,
        "--frames": request.frames,
        "--last-image": request.last_image,
        "--layout": request.layout,
    }
    for name, value in others.items():
        if value is not None:
            raise InvalidOptionError(f"--story says what is shown and when; leave out {name}")
    return read_story(story)


def _later(first: Added, shot: Shot, rate: Fraction, windows: tuple[int, int] | None) -> Added:
    """A shot that is not the first; its noise is its own."""
    begin, end = round(shot.begin * rate), round(shot.end * rate)
    if begin == end:
        raise InvalidOptionError(f"line {shot.line} of the story: a shot shorter than a frame")
    return Added(
        prompt=shot.prompt,
        sampling=first.sampling,
        frames=end - begin,
        windows=windows,
        layout=first.layout,
        cut=shot.cut,
        crossfade=shot.crossfade,
    )


def check_device(name: str) -> str:
    """Return `name`; raises InvalidOptionError (2) unless it is auto, cpu or cuda. No torch."""
    if name not in ("auto", "cpu", "cuda"):
        raise InvalidOptionError(f"--device must be auto, cpu or cuda, not {name!r}")
    return name


def parse_size(value: int | str, step: int) -> tuple[int, int]:
    """`128` or `192x128` as (width, height). Raises InvalidOptionError (2)."""
    found = re.fullmatch(r"(\d{1,5})(?:x(\d{1,5}))?", str(value).strip())
    sides = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
    if any(side % step or not step <= side <= MAX_SIDE for side in sides):
        raise InvalidOptionError(
            f"--size must be one side or WIDTHxHEIGHT, each a multiple of {step} "
            f"up to {MAX_SIDE}, not {str(value)[:20]!r}"
        )
    return sides


def random_seed() -> int:
    """A seed for a video that was given none."""
    return secrets.randbelow(_RANDOM_SEEDS)


def check_covered(video: GivenVideo | None, frames: int, rate: Fraction) -> None:
    """Raise InvalidOptionError (2) for more frames than a video to make them from lasts."""
    if video is not None and (frames - 1) / rate >= video.seconds + 0.5 / float(rate):
        raise InvalidOptionError(
            f"the video to make it from lasts {video.seconds:.4g} s, "
            f"not {float(frames / rate):.4g} s: ask for less"
        )


def given_video(path: Path) -> GivenVideo:
    """Look at a video that another is made from. Raises as `open_video` does."""
    from lingen_cli.media.probe import examine

    found = examine(path)
    return GivenVideo(
        path=path.absolute(),
        sha256=sha256_file(path),
        size=(found.width, found.height),
        seconds=float(found.frames / found.rate),
    )


def given_image(path: Path, width: int, height: int) -> GivenImage:
    """Read an image and cut and scale it to the video's size. Raises as `read_image` does."""
    from lingen_cli.media.images.image_files import fit_image, read_image

    pixels = fit_image(read_image(path), width, height)
    return GivenImage(path=path.absolute(), sha256=sha256_file(path), pixels=pixels)
