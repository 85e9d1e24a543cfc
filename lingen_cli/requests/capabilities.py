"""Limits of models from elsewhere, checked before anything of them is looked for or loaded."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction

from lingen_cli.errors import InvalidOptionError
from lingen_cli.requests.frame_rates import Grid
from lingen_cli.requests.job import Edit, Stretch
from lingen_plugins.contracts import HubModel, ModelVariant, Sampler
from lingen_plugins.hub.scheduler import SCHEDULER
from lingen_plugins.registry import Registry


def sampler_of(registry: Registry, model: ModelVariant | HubModel, name: str | None) -> Sampler:
    """The sampler `name`, or the model's. Raises UnknownNameError and InvalidOptionError (2)."""
    if isinstance(model, ModelVariant):
        return registry.samplers[name or model.sampler]
    if name not in (None, SCHEDULER.name):
        raise InvalidOptionError(
            f"{model.name} samples with the scheduler that it comes with: leave out --sampler "
            "(and sampler in lingen.toml)"
        )
    return SCHEDULER


def check_edits(
    model: ModelVariant | HubModel, edits: Iterable[Edit], rate: Fraction, *, pictures: bool = False
) -> None:
    """Raise InvalidOptionError (2) for what a model from elsewhere cannot do."""
    if isinstance(model, ModelVariant):
        return
    if pictures:
        raise InvalidOptionError(f"{model.name} takes no pictures: leave out --image, --last-image")
    frames = 0
    for edit in edits:
        if not isinstance(edit, Stretch):
            continue
        if edit.guidance_interval is not None:
            raise InvalidOptionError(
                f"{model.name} is guided at all times: leave out --guidance-interval"
            )
        if edit.step_cache:
            raise InvalidOptionError(f"{model.name} has no step cache: leave out --step-cache")
        if edit.at is not None:
            raise InvalidOptionError(f"{model.name} cannot make a part of a video anew")
        if edit.crossfade:
            raise InvalidOptionError(f"{model.name} cannot fade prompts: leave out --crossfade")
        if model.windows is None:
            if frames:
                raise InvalidOptionError(f"{model.name} cannot go on with a video (lingen extend)")
            _check_length(model, edit, rate)
        frames += edit.frames


def _check_length(model: HubModel, edit: Stretch, rate: Fraction) -> None:
    """One piece is all that there is."""
    grid = Grid(rate, Fraction(model.fps))
    if grid.source(edit.frames - 1) >= model.frames:
        raise InvalidOptionError(
            f"{model.name} makes at most {model.trained_seconds:.4g} s, "
            f"not {float(edit.frames / rate):.4g} s"
        )
