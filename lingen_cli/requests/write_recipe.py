"""From a job to the recipe that travels inside its video."""

from __future__ import annotations

import platform
from dataclasses import fields
from functools import cache
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from lingen_cli import __version__
from lingen_cli.requests.edits import Added, Sampled
from lingen_cli.requests.job import Base, GivenImage, Job
from lingen_cli.requests.recipe import ForeignBase, GivenDenoiser, GivenLora, Recipe, RecordedImage

if TYPE_CHECKING:
    from lingen_models.pipelines.protocol import VideoPipeline

_MACHINE = (
    *("latents", "device", "dtype", "threads", "tiles", "versions", "frame_hashes"),
    "sound_packets",
)
"""What a recipe says about where it ran and what came out."""


def recipe_of(job: Job, pipe: VideoPipeline, digest: str | None) -> Recipe:
    """Return the recipe of a job, and what it runs on; `digest` names the latents in the cache."""
    import torch

    return Recipe(
        **_settings(job),
        latents=digest,
        device=str(pipe.device),
        dtype=str(pipe.dtype).removeprefix("torch."),
        threads=torch.get_num_threads(),
        tiles=pipe.tiles,
        versions=versions(),
    )


def settings_of(job: Job) -> dict[str, Any]:
    """Return what was asked for alone, as JSON: two jobs with the same make the same video."""
    recipe = Recipe(**_settings(job), device="", dtype="", threads=1, versions={})
    return recipe.model_dump(mode="json", exclude=set(_MACHINE))


def settings_in(recipe: Recipe) -> dict[str, Any]:
    """Return the same as `settings_of` from a recipe."""
    return recipe.model_dump(mode="json", exclude=set(_MACHINE))


def _settings(job: Job) -> dict[str, Any]:
    first, *rest = job.timeline.edits
    assert isinstance(first, Added)
    return {name: getattr(first, name) for name in Sampled.model_fields} | {
        "model": job.model.variant.name,
        "weights": job.model.hashes,
        "weights_folder": None if job.model.folder is None else str(job.model.folder),
        "loras": tuple(
            GivenLora(name=one.name, sha256=one.sha256, scale=one.scale)
            for one in job.weights.loras
        ),
        "denoisers": tuple(
            GivenDenoiser(name=one.name, sha256=one.sha256) for one in job.weights.denoisers
        ),
        "quantize": job.weights.quantize,
        "edits": tuple(rest),
        "fps": str(job.timeline.rate),
        "width": job.timeline.width,
        "height": job.timeline.height,
        "image": _image(job.timeline.image),
        "last_image": _image(job.timeline.last_image),
        "video": None
        if job.timeline.video is None
        else RecordedImage(path=str(job.timeline.video.path), sha256=job.timeline.video.sha256),
        "sound": job.output.sound,
        "base": None
        if job.timeline.base is None
        else ForeignBase.model_validate(_plain(job.timeline.base)),
        "crf": job.output.crf,
        "encoder_preset": job.output.encoder_preset,
    }


def _image(image: GivenImage | None) -> RecordedImage | None:
    return None if image is None else RecordedImage(path=str(image.path), sha256=image.sha256)


def _plain(base: Base) -> dict[str, Any]:
    plain = {field.name: getattr(base, field.name) for field in fields(base)}
    return plain | {"path": str(base.path)}


@cache
def _version(package: str) -> str:
    """Read the version of a package once: its metadata are a long text."""
    return version(package)


def versions() -> dict[str, str]:
    """Return the versions that the frames and the bytes of a video depend on, beside the recipe."""
    return {
        "lingen": __version__,
        "torch": _version("torch"),
        "av": _version("av"),
        "python": platform.python_version(),
    }
