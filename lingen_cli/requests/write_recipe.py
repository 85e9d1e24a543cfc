"""From a job to the recipe that travels inside its video."""

from __future__ import annotations

import platform
from functools import cache
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from lingen_cli import __version__
from lingen_cli.requests.edits import Added, Sampled
from lingen_cli.requests.job import Job
from lingen_cli.requests.recipe import Recipe

if TYPE_CHECKING:
    from lingen_models.pipelines.protocol import VideoPipeline

_MACHINE = frozenset(
    ["latents", "device", "dtype", "threads", "tiles", "versions", "frame_hashes", "sound_packets"]
)
"""What a recipe says about where it ran and what came out."""
_version = cache(version)
"""Reads the version of a package once: its metadata are a long text."""


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
    return settings_in(Recipe(**_settings(job), device="", dtype="", threads=1, versions={}))


def settings_in(recipe: Recipe) -> dict[str, Any]:
    """Return the same as `settings_of` from a recipe."""
    return recipe.model_dump(mode="json", exclude=set(_MACHINE))


def _settings(job: Job) -> dict[str, Any]:
    first, *rest = job.timeline.edits
    assert isinstance(first, Added)
    return {name: getattr(first, name) for name in Sampled.model_fields} | {
        "model": job.model.variant.name,
        "weights": job.model.hashes,
        "weights_folder": job.model.folder,
        "loras": job.weights.loras,
        "denoisers": job.weights.denoisers,
        "quantize": job.weights.quantize,
        "edits": tuple(rest),
        "fps": str(job.timeline.rate),
        "width": job.timeline.width,
        "height": job.timeline.height,
        "image": job.timeline.image,
        "last_image": job.timeline.last_image,
        "video": job.timeline.video,
        "sound": job.output.sound,
        "base": job.timeline.base,
        "crf": job.output.crf,
        "encoder_preset": job.output.encoder_preset,
    }


def versions() -> dict[str, str]:
    """Return the versions that the frames and the bytes of a video depend on, beside the recipe."""
    return {
        "lingen": __version__,
        "torch": _version("torch"),
        "av": _version("av"),
        "python": platform.python_version(),
    }
