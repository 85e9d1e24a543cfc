"""From a job to a published video: load, sample, decode and write, verify, publish.

What is unfinished lives in a work folder beside the output, so that an error, Ctrl-C or a kill
leaves nothing at the output path (reliability.md C1).
"""

from __future__ import annotations

import platform
from dataclasses import dataclass, fields
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lingen_cli import __version__, latent_cache
from lingen_cli.destination import held
from lingen_cli.errors import BadDataError, NotAvailableError
from lingen_cli.job import Base, Cut, Edit, GivenImage, Job, Stretch
from lingen_cli.progress import Progress
from lingen_cli.publish import check_target, publish, reserve_space
from lingen_cli.recipe import Added, Dropped, ForeignBase, GivenPicture, Recipe, Retaken

if TYPE_CHECKING:
    import torch

    from lingen_cli.latents import Latents
    from lingen_cli.zoo import LocatedModel
    from lingen_models.pipeline import TextToVideo


@dataclass(frozen=True)
class Result:
    """A video that was published."""

    path: Path
    recipe: Recipe
    frames: int
    seconds: float


def generate(job: Job, progress: Progress) -> Result:
    """Make the video of `job`.

    Raises BadDataError (65), NotAvailableError (69), OutputExistsError (73), WriteFailedError (74),
    LockedError (75), PermissionDeniedError (77); the output is whole or absent.
    """
    from lingen_cli.filming import film
    from lingen_cli.latents import latents_of
    from lingen_cli.story import subtitles as subtitles_of

    with held(job.destination) as work:
        reserve_space(work.target.parent, job.expected_bytes)
        subtitles = work.target.with_suffix(".srt") if job.subtitles else None
        if subtitles is not None:
            check_target(subtitles, job.destination.overwrite)
        new = job.sampled[-1]
        progress.events.emit(
            "start",
            output=str(work.target),
            prompt=new.prompt,
            seed=new.seed,
            frames=job.frames,
            seconds=job.seconds,
        )
        width, height = job.size
        progress.note(f"{job.seconds:g} s at {width}x{height}, seed {new.seed}")
        progress.phase("load")
        pipe = load(job)
        progress.advance(1)
        prompts = " ".join(stretch.prompt for stretch in job.sampled)
        if unknown := pipe.unknown_words(prompts):
            names = ", ".join(repr(word) for word in unknown)
            progress.warn(f"words that {job.model.variant.name} never met: {names}", words=unknown)
        latents = latents_of(job, pipe, progress)
        digest = latent_cache.digest_of(latents.values) if latents.whole else None
        recipe = recipe_of(job, pipe, digest)
        temporary = film(job, pipe, latents, work, recipe, progress)
        progress.phase("verify")
        _verify(job, temporary)
        if digest is not None:
            _keep(latents, digest, job.cache_bytes, progress)
        if subtitles is not None:
            words = work.temporary(".srt")
            words.write_text(subtitles_of(job.parts), encoding="utf-8")
            publish(words, subtitles, job.destination.overwrite)
        work.publish(temporary)
        progress.advance(1)
    progress.events.finish(work.target, job.frames, job.seconds)
    return Result(work.target, recipe, job.frames, job.seconds)


def _verify(job: Job, path: Path) -> None:
    """Read back what was written; of a base that lingen did not make, only the end."""
    from lingen_cli.media.verify import verify_joined, verify_video

    width, height = job.size
    facts: dict[str, Any] = {"frames": job.frames, "width": width, "height": height}
    if job.base is None:
        verify_video(path, fps=job.rate, **facts)
    else:
        verify_joined(path, fps=job.rate, since=job.base.frames, **facts)


def _keep(latents: Latents, digest: str, limit: int, progress: Progress) -> None:
    """Put the latents into the cache; a video is not lost because that failed."""
    try:
        latent_cache.store(latents.values, digest, limit)
    except OSError as error:
        progress.warn(f"the latents were not kept: {error.strerror or error}")


def load(job: Job) -> TextToVideo:
    """Import torch and read the weights that `job` asks for, with its threads and dtype."""
    import torch

    if job.threads is not None:
        torch.set_num_threads(job.threads)
    return load_model(job.model, job.device, job.dtype)


def load_model(model: LocatedModel, device: str, dtype: str | None = None) -> TextToVideo:
    """Read the weights of `model`; `device` may be `auto`, `dtype` defaults to the device's own.

    Raises BadDataError (65) for weights that are damaged, NotAvailableError (69) for a device that
    is not there.
    """
    from lingen_models.checkpoint import CheckpointError
    from lingen_models.pipeline import TextToVideo

    try:
        return TextToVideo.load(
            denoiser=model.files["denoiser"],
            autoencoder=model.files["autoencoder"],
            text_encoders=model.text_encoders,
            device=find_device(device),
            dtype=None if dtype is None else _dtype(dtype),
        )
    except CheckpointError as error:
        raise BadDataError(str(error)) from error


def find_device(name: str) -> str:
    """`auto` is the GPU where there is one. Raises NotAvailableError (69) for an absent one."""
    import torch

    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise NotAvailableError("device cuda is not available; use --device cpu")
    if name == "auto":
        return "cuda" if available else "cpu"
    return name


def recipe_of(job: Job, pipe: TextToVideo, digest: str | None) -> Recipe:
    """What was asked for, and what it runs on; `digest` names the latents in the cache."""
    import torch

    first, *rest = job.edits
    assert isinstance(first, Stretch)
    return Recipe(
        **_sampled(first),
        model=job.model.variant.name,
        weights=job.model.hashes,
        weights_folder=None if job.model.folder is None else str(job.model.folder),
        edits=tuple(_later(edit) for edit in rest),
        latents=digest,
        fps=str(job.rate),
        width=job.width,
        height=job.height,
        image=_picture(job.image),
        last_image=_picture(job.last_image),
        base=None if job.base is None else ForeignBase.model_validate(_plain(job.base)),
        crf=job.crf,
        encoder_preset=job.encoder_preset,
        device=str(pipe.device),
        dtype=str(pipe.denoiser.patch_in.weight.dtype).removeprefix("torch."),
        threads=torch.get_num_threads(),
        versions=versions(),
    )


def _later(edit: Edit) -> Added | Retaken | Dropped:
    if isinstance(edit, Cut):
        return Dropped(keep=edit.keep)
    if edit.at is None:
        return Added(**_sampled(edit), cut=edit.cut, crossfade=edit.crossfade)
    begin, end = edit.at
    return Retaken(**_sampled(edit) | {"begin": begin, "frames": end - begin})


def _picture(image: GivenImage | None) -> GivenPicture | None:
    return None if image is None else GivenPicture(path=str(image.path), sha256=image.sha256)


def _plain(base: Base) -> dict[str, Any]:
    plain = {field.name: getattr(base, field.name) for field in fields(base)}
    return plain | {"path": str(base.path)}


def _sampled(stretch: Stretch) -> dict[str, Any]:
    plain = {field.name: getattr(stretch, field.name) for field in fields(stretch)}
    del plain["at"], plain["cut"], plain["crossfade"]
    return plain | {"sampler": stretch.sampler.name}


def versions() -> dict[str, str]:
    """What the frames and the bytes of a video depend on, beside the recipe."""
    return {
        "lingen": __version__,
        "torch": version("torch"),
        "av": version("av"),
        "python": platform.python_version(),
    }


def _dtype(name: str) -> torch.dtype:
    import torch

    known = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    if name not in known:
        raise BadDataError(f"the recipe names an unknown dtype: {name!r}")
    return known[name]
