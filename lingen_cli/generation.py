"""From a job to a published video: load, sample, decode and write, verify, publish.

What is unfinished lives in a work folder beside the output, so that an error, Ctrl-C or a kill
leaves nothing at the output path (reliability.md C1).
"""

from __future__ import annotations

import platform
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lingen_cli import __version__
from lingen_cli.destination import held
from lingen_cli.errors import BadDataError, NotAvailableError
from lingen_cli.job import Job
from lingen_cli.progress import Progress
from lingen_cli.publish import reserve_space
from lingen_cli.recipe import FirstFrame, Recipe
from lingen_cli.timing import picked

if TYPE_CHECKING:
    import torch
    from torch import Tensor

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
    from lingen_cli.media.verify import verify_video

    with held(job.destination) as work:
        reserve_space(work.target.parent, job.expected_bytes)
        progress.events.emit(
            "start",
            output=str(work.target),
            prompt=job.prompt,
            seed=job.seed,
            frames=job.frames,
            seconds=job.seconds,
        )
        progress.note(f"{job.seconds:g} s at {job.width}x{job.height}, seed {job.seed}")
        progress.phase("load")
        pipe = load(job)
        progress.advance(1)
        if unknown := pipe.unknown_words(job.prompt):
            names = ", ".join(repr(word) for word in unknown)
            progress.warn(f"words that {job.model.variant.name} never met: {names}", words=unknown)
        recipe = recipe_of(job, pipe)
        source = job.source
        latents = _sample(job, pipe, source[-1] + 1, progress)
        temporary = work.temporary(".mp4")
        _write(job, pipe, latents, source, temporary, work.target, recipe, progress)
        progress.phase("verify")
        verify_video(temporary, frames=job.frames, width=job.width, height=job.height, fps=job.rate)
        work.publish(temporary)
        progress.advance(1)
    progress.events.finish(work.target, job.frames, job.seconds)
    return Result(work.target, recipe, job.frames, job.seconds)


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


def recipe_of(job: Job, pipe: TextToVideo) -> Recipe:
    """What was asked for, and what it runs on."""
    import torch

    image = job.image
    return Recipe(
        prompt=job.prompt,
        negative=job.negative,
        seed=job.seed,
        model=job.model.variant.name,
        weights=job.model.hashes,
        weights_folder=None if job.model.folder is None else str(job.model.folder),
        frames=job.frames,
        fps=str(job.rate),
        width=job.width,
        height=job.height,
        steps=job.steps,
        guidance=job.guidance,
        sampler=job.sampler.name,
        image=None if image is None else FirstFrame(path=str(image.path), sha256=image.sha256),
        crf=job.crf,
        encoder_preset=job.encoder_preset,
        device=str(pipe.device),
        dtype=str(pipe.denoiser.patch_in.weight.dtype).removeprefix("torch."),
        threads=torch.get_num_threads(),
        versions=versions(),
    )


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


def _sample(job: Job, pipe: TextToVideo, frames: int, progress: Progress) -> Tensor:
    import torch

    progress.phase("sample", job.steps)

    def on_step(done: int, total: int, estimate: Tensor) -> None:
        if job.preview and progress.draws_pictures:
            from lingen_cli.preview import sketch

            first = next(iter(pipe.decode(estimate[:, :, :1], 1)))
            progress.picture(sketch(estimate, first[0]))
        progress.advance(done)

    first_frame = None if job.image is None else torch.from_numpy(job.image.pixels)
    return pipe.sample(
        job.prompt,
        frames=frames,
        height=job.height,
        width=job.width,
        steps=job.steps,
        guidance=job.guidance,
        negative=job.negative,
        seed=job.seed,
        first_frame=first_frame,
        sampler=job.sampler.build(),
        schedule=job.sampler.schedule,
        on_step=on_step,
    )


def _write(
    job: Job,
    pipe: TextToVideo,
    latents: Tensor,
    source: list[int],
    path: Path,
    target: Path,
    recipe: Recipe,
    progress: Progress,
) -> None:
    """Decode and encode chunk by chunk, in constant memory."""
    from lingen_cli.media.metadata import recipe_tags
    from lingen_cli.media.writer import VideoWriter

    progress.phase("decode and write", job.frames)
    facts: dict[str, Any] = recipe.model_dump(mode="json", exclude_none=True)
    with VideoWriter(
        path,
        width=job.width,
        height=job.height,
        fps=job.rate,
        metadata=recipe_tags(facts, title=job.prompt),
        crf=job.crf,
        preset=job.encoder_preset,
        target=target,
    ) as writer:
        for frames in picked(pipe.decode(latents, source[-1] + 1), source):
            writer.write(frames)
            progress.advance(writer.frames)
