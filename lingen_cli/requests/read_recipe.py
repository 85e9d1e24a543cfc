"""From the recipe of a video back to a job."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Self

from lingen_cli.errors import BadDataError
from lingen_cli.files.numbered import images_at
from lingen_cli.files.printable import printable
from lingen_cli.inputs.output_path import destination
from lingen_cli.inputs.request import Request, RerunRequest
from lingen_cli.inputs.settings import SamplingOverrides
from lingen_cli.inputs.weight_files import find_denoiser, find_lora
from lingen_cli.media.probe import fingerprint
from lingen_cli.media.tracks.sound import made_track
from lingen_cli.media.writer import check_encoder
from lingen_cli.requests.capabilities import (
    check_edits,
    check_formats,
    overridden,
    prompt_for,
    samplers_of,
)
from lingen_cli.requests.context import Context
from lingen_cli.requests.edits import MAX_FRAMES, Added, Dropped, Edit, Retaken
from lingen_cli.requests.job import (
    GivenImage,
    GivenVideo,
    Job,
    Output,
    Runtime,
    Timeline,
    WeightChanges,
)
from lingen_cli.requests.new_video import check_device, given_image, given_video, parse_size
from lingen_cli.requests.recipe import Base, Recipe, RecordedImage, recipe_from_video
from lingen_cli.requests.write_recipe import versions
from lingen_cli.zoo import licenses
from lingen_cli.zoo.locate import side_step
from lingen_plugins.contracts import IMAGES, HubModel, ModelVariant


@dataclass(frozen=True, kw_only=True)
class Changes:
    """Choices that may differ from the first time."""

    output: str | None = None
    overwrite: bool = False
    image: Path | None = None
    last_image: Path | None = None
    given_video: Path | None = None
    weights: Path | None = None
    device: str | None = None
    preview: bool | None = None
    accept_license: bool = False

    @classmethod
    def of(cls, request: Request) -> Self:
        """Take the changes from a request."""
        names = [one.name for one in fields(cls)]
        return cls(**{name: getattr(request, name) for name in names if hasattr(request, name)})


def rerun(request: RerunRequest, context: Context) -> Job:
    """The job that made a video, again; tells what has changed since. Raises as `prepare_again`."""
    video, changes = request.video, Changes.of(request)
    recipe, images = recipe_from_video(video), images_at(video)
    stem = images[0].parent.name if images else video.stem
    again = prepare_again(recipe, changes, context, stem=f"{stem}-again")
    if not images:
        sound = sound_again(video, recipe, context)
        again = replace(again, output=replace(again.output, beside=video, sound=sound))
    if again.timeline.base is not None:
        check_base(again.timeline.base)
    for difference in differences(recipe, again):
        context.progress.warn(difference)
    return again


def prepare_again(
    recipe: Recipe, changes: Changes, context: Context, *, stem: str, read_image: bool = True
) -> Job:
    """The job of a recipe; raises the errors of `new_video.new_video`.

    A recipe comes out of a file that anybody may have written, so its values are checked like
    those of a command line.
    """
    registry, settings = context.registry, context.settings
    used = "cpu" if recipe.device.startswith("cpu") else "cuda"
    device = check_device(changes.device or used)
    folder = changes.weights
    if folder is None and recipe.weights_folder is not None:
        folder = Path(recipe.weights_folder)
    variant = context.model(recipe.model, folder)
    step = side_step(registry, variant, folder)
    width, height = parse_size(f"{recipe.width}x{recipe.height}", step)
    for wide, high in ((width, height), recipe.size):  # the model's size, and the video's
        check_encoder(
            width=wide, height=high, fps=recipe.rate, crf=recipe.crf, preset=recipe.encoder_preset
        )

    def given_again(given: RecordedImage | None, moved: Path | None) -> GivenImage | None:
        if given is None:
            return None
        if read_image:
            return given_image(moved or Path(given.path), width, height)
        return GivenImage(path=Path(given.path), sha256=given.sha256, pixels=None)

    def source(given: RecordedImage | None) -> GivenVideo | None:
        if given is None:
            return None
        if read_image:
            return given_video(changes.given_video or Path(given.path))
        return GivenVideo(path=Path(given.path), sha256=given.sha256, size=(0, 0), seconds=0)

    edits = edits_of(recipe, variant)
    given = [name for name in IMAGES if getattr(recipe, name) is not None]
    check_edits(variant, edits, recipe.rate, images=given)
    if changes.accept_license and isinstance(variant, HubModel):
        licenses.accept(variant)
    denoisers = tuple(find_denoiser(one.name, one.sha256) for one in recipe.denoisers)
    check_formats(variant, recipe.quantize, denoisers, settings.offload)
    into = destination(changes.output, Path(), stem=stem, overwrite=changes.overwrite)
    loras = tuple(find_lora(one.name, one.scale, one.sha256) for one in recipe.loras)
    weights = WeightChanges(loras=loras, denoisers=denoisers, quantize=recipe.quantize)
    context.check_packages(weights.formats)
    return Job(
        timeline=Timeline(
            edits=edits,
            samplers=samplers_of(registry, variant, edits),
            rate=recipe.rate,
            width=width,
            height=height,
            base=recipe.base,
            image=given_again(recipe.image, changes.image),
            last_image=given_again(recipe.last_image, changes.last_image),
            video=source(recipe.video),
        ),
        model=context.locate(recipe.model, folder, own_denoisers=not denoisers),
        weights=weights,
        runtime=Runtime(
            device=device,
            dtype=recipe.dtype,
            threads=recipe.threads,
            cache=context.cache,
            preview=settings.preview if changes.preview is None else changes.preview,
            offload=settings.offload,
            tiles=recipe.tiles,
        ),
        output=Output(
            destination=into,
            crf=recipe.crf,
            encoder_preset=recipe.encoder_preset,
            sound=recipe.sound,
        ),
    )


def sound_again(video: Path, recipe: Recipe, context: Context) -> bool:
    """Tell whether the sound of a video is made anew by its model; one that was changed since is
    not, and that is told."""
    if not recipe.sound or made_track(video, recipe.sound_packets) is not None:
        return recipe.sound
    context.progress.warn(
        f"the sound of {printable(video)} was changed since lingen made it: it stays as it is, and "
        "the model's is left out"
    )
    return False


def edits_of(recipe: Recipe, model: ModelVariant | HubModel) -> tuple[Edit, ...]:
    """The steps that made a video. Raises BadDataError (65) for steps that no video can have."""
    edits: list[Edit] = []
    total = 0
    for edit in recipe.all_edits:
        if isinstance(edit, Dropped):
            if edit.keep >= total:
                raise BadDataError(f"damaged recipe: {total} frames are not cut to {edit.keep}")
            total = edit.keep
            edits.append(edit)
            continue
        if isinstance(edit, Added):
            total += edit.frames
        elif edit.end > total:
            raise BadDataError(f"damaged recipe: frame {edit.end} is beyond {total}")
        if total > MAX_FRAMES:
            raise BadDataError(f"damaged recipe: more than {MAX_FRAMES} frames")
        edits.append(_checked(edit, model))
    return tuple(edits)


def check_base(base: Base) -> None:
    """Raises what `open_file` raises, and BadDataError (65) when it is not the video it was."""
    if fingerprint(base.file) != base.fingerprint:
        raise BadDataError(f"{printable(base.path)} is not the video that was made longer")


def check_inputs(job: Job) -> None:
    """Raises as `check_base` when a video that `job` goes on with is not the one it was, as for a
    run that takes hours."""
    origin = job.timeline.origin
    if job.timeline.base is not None and (origin is None or not origin.copy_packets):
        check_base(job.timeline.base)
    if origin is not None and fingerprint(origin.path) != origin.fingerprint:
        raise BadDataError(f"{printable(origin.path)} was changed since this run began")


def _checked(edit: Added | Retaken, model: ModelVariant | HubModel) -> Added | Retaken:
    windows = edit.windows
    if windows is not None and windows[1] >= windows[0]:
        raise BadDataError(f"damaged recipe: windows of {windows[0]} cannot hold {windows[1]}")
    sampling = overridden(edit.sampling, SamplingOverrides(), model)
    return edit.model_copy(update={"prompt": prompt_for(model, edit.prompt), "sampling": sampling})


def differences(recipe: Recipe, job: Job) -> Iterator[str]:
    """One line for each reason why the frames may differ from the first time."""
    now = versions()
    for name, then in recipe.versions.items():
        if name in now and now[name] != then:
            yield f"{name} is {now[name]}, the video was made with {then}"
    yield from changed_files(recipe, job)
    if not recipe.device.startswith(job.runtime.device):
        yield f"device is {job.runtime.device}, the video was made on {recipe.device}"


def changed_files(recipe: Recipe, job: Job) -> Iterator[str]:
    """One line for each of the weights and images that is not what it was."""
    for part, digest in recipe.weights.items():
        if job.model.hashes.get(part) != digest:
            yield f"the {part} weights are not those the video was made with"
    images = (
        ("first", recipe.image, job.timeline.image),
        ("last", recipe.last_image, job.timeline.last_image),
    )
    for name, wanted, given in images:
        if wanted and given and wanted.sha256 != given.sha256:
            yield f"the {name} image is not the one the video was made with"
    if recipe.video and job.timeline.video and recipe.video.sha256 != job.timeline.video.sha256:
        yield "the video that it is made from is not the one it was"
