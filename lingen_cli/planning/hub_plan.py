"""Plans for models that diffusers runs: what they need on a card, wherever their networks are put.

Counted from configurations, without a weight being read; how long it takes is not known.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.filesize import decimal

from lingen_cli.installation import plugin_parts
from lingen_cli.requests.job import Job
from lingen_cli.zoo.load_model import find_device
from lingen_cli.zoo.locate_hub import cached
from lingen_plugins.contracts import HubModel
from lingen_plugins.hub import fit_ladder as fit
from lingen_plugins.hub.found import skeleton
from lingen_plugins.hub.loading import class_of, read_index
from lingen_plugins.hub.signatures import strides_of
from lingen_plugins.hub.weight_formats import held_in, no_places


@dataclass(frozen=True, kw_only=True)
class HubPlan:
    """Sizes in bytes; None where nothing is known."""

    model: str
    device: str
    seconds: float
    frames: int
    width: int
    height: int
    steps: int
    passes: int
    """Passes of the denoiser, two a step with guidance."""
    weights: int
    """Of all parts in memory."""
    parts: dict[str, int]
    formats: str | None
    """Formats of weights in fewer bits, in words."""
    places: dict[str, int]
    """The most that is on the card, by where the networks are; empty where no configuration is
    here."""
    place: str | None
    """Where they would be on the card of this machine."""
    tiles: bool
    """The card is too small to decode in any other way."""


def plan_hub(job: Job, model: HubModel) -> HubPlan:
    """Plan what a job needs. Raises NotAvailableError (69) for an absent device, BadDataError (65)
    for a damaged configuration."""
    from lingen_models.precision import compute_dtype

    device = find_device(job.runtime.device)
    size = compute_dtype(device).itemsize
    each = {part: 4 if part == "vae" else size for part in model.parameters}
    parts = {part: int(count) * each[part] for part, count in model.parameters.items()}
    folder = job.model.folder or cached(model)
    places: dict[str, int] = {}
    place, tiles = None, False
    if folder is not None:
        needs = _needs(job, model, folder, each)
        parts = {part: one.whole for part, one in needs.parts.items()}
        if device != "cpu":
            free, *_ = fit.free_of_card(device)
            tiles = needs.decodes_in_tiles(free)
            open_places = needs.places(job.runtime.offload, free, fit.free_memory())
            place = next(one for one in open_places if one not in no_places(job.weights.quantize))
        places = {name: needs.on_card(name, tiled=tiles) for name in fit.PLACES if name != "cpu"}
    passes = 0
    for edit in job.timeline.sampled:
        latents = 1 + math.ceil(
            (math.ceil(edit.frames * model.fps / job.timeline.rate) - 1) / model.time_stride
        )
        windows = edit.windows
        pieces = 1 if windows is None else math.ceil(latents / (windows[0] - windows[1]))
        passes += pieces * edit.sampling.steps * (2 if edit.sampling.guidance_scale > 1 else 1)
    return HubPlan(
        model=model.name,
        device=device,
        seconds=job.timeline.seconds,
        frames=job.timeline.frames,
        width=job.timeline.width,
        height=job.timeline.height,
        steps=job.timeline.sampled[0].sampling.steps,
        passes=passes,
        weights=sum(parts.values()),
        parts=parts,
        formats=_formats(job),
        places=places,
        place=place,
        tiles=tiles,
    )


def _formats(job: Job) -> str | None:
    given = [job.weights.quantize] if job.weights.quantize is not None else []
    given += ["denoisers from GGUF"] if job.weights.denoisers else []
    return ", ".join(given) or None


def _needs(job: Job, model: HubModel, folder: Path, each: dict[str, int]) -> Any:
    with plugin_parts.found():
        pipe = skeleton(class_of("diffusers", model.pipelines[0]), folder, read_index(folder))
    time, space = strides_of(pipe)
    frames = min(job.grid.source(job.timeline.frames - 1) + 1, model.frames)
    if job.timeline.sampled[0].windows is not None:
        frames = 1 + time * (job.timeline.sampled[0].windows[0] - 1)
    channels = int(pipe.vae.config.get("z_dim") or pipe.vae.config["latent_channels"])
    shape = (
        1,
        channels,
        1 + -(-(frames - 1) // time),
        job.timeline.height // space,
        job.timeline.width // space,
    )
    counts = {part: (int(model.parameters[part]), each[part]) for part in model.parameters}
    held = held_in(folder, job.weights.formats, counts)
    return fit.needs_of(pipe, shape, each, held, tiles=model.tiles)


def rows(plan: HubPlan) -> list[tuple[str, str]]:
    """Names and values, in words."""
    parts = ", ".join(f"{name} {decimal(size)}" for name, size in plan.parts.items())
    held = "" if plan.formats is None else f", {plan.formats}"
    if held and not plan.places:
        held += " counted only where its configuration is here"
    found = [
        ("video", f"{plan.seconds:g} s, {plan.frames} frames of {plan.width}x{plan.height}"),
        ("model", f"{plan.model} on {plan.device}, run by diffusers"),
        ("sampling", f"{plan.steps} steps, {plan.passes} passes of the denoiser"),
        ("weights", f"{decimal(plan.weights)} ({parts}){held}"),
        ("time", "not known"),
    ]
    sizes = ", ".join(f"{name} {decimal(size)}" for name, size in plan.places.items())
    found.append(("card", sizes or "not known before its configuration is here"))
    if plan.place is not None:
        tiles = ", images decoded in tiles" if plan.tiles else ""
        found.append(("here", f"--offload auto begins with: {plan.place}{tiles}"))
    return found
