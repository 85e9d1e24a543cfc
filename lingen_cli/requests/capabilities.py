"""Limits of models from elsewhere, checked before anything of them is looked for or loaded."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

from lingen_cli.errors import InvalidOptionError
from lingen_cli.inputs.frame_rates import Grid
from lingen_cli.inputs.prompts import check_prompt
from lingen_cli.inputs.settings import SamplingOverrides
from lingen_cli.requests.edits import Added, Edit, Retaken, Sampled
from lingen_models.sampling.params import SamplingParams, options
from lingen_plugins.contracts import HubModel, ModelVariant, Sampler
from lingen_plugins.hub.scheduler import SCHEDULER
from lingen_plugins.registry import Registry


def samplers_of(
    registry: Registry, model: ModelVariant | HubModel, edits: Iterable[Edit]
) -> dict[str, Sampler]:
    """Records of the samplers that edits name; a hub model has its own. Raises UnknownNameError
    (2)."""
    names = {edit.sampling.sampler for edit in edits if isinstance(edit, Sampled)}
    if isinstance(model, HubModel):
        return dict.fromkeys(names, SCHEDULER)
    return {name: registry.samplers[name] for name in names}


def params_of(
    model: ModelVariant | HubModel, seed: int = 0, planned: bool = False
) -> SamplingParams:
    """Sampling parameters of `model` where nothing else is said; `planned`: with a layout."""
    params = SamplingParams(
        steps=model.steps,
        guidance_scale=model.guidance,
        sampler=model.sampler if isinstance(model, ModelVariant) else SCHEDULER.name,
        negative_prompt="" if isinstance(model, ModelVariant) else model.negative_prompt,
        shift=0.0 if isinstance(model, ModelVariant) else model.shift,
        seed=seed,
    )
    if planned and isinstance(model, ModelVariant):
        params = replace(params, **model.planned_sampling)
    return params


def plans_prompts(
    model: ModelVariant | HubModel, weights: Path | None, prompts: Iterable[str]
) -> bool:
    """Tell whether a model, without `weights` of the user, plans a layout for each prompt."""
    if not isinstance(model, ModelVariant) or weights is not None or model.plans is None:
        return False
    return all(model.plans(prompt) for prompt in prompts)


def defaults_for(
    model: ModelVariant | HubModel, before: SamplingParams, planned: bool
) -> SamplingParams:
    """Sampling parameters of an edit that goes on as `before`. Where those are defaults of the
    model, they are its defaults for what follows, which is `planned` or not."""
    for was in (True, False):
        if before == replace(params_of(model, before.seed, was), plan_layout=before.plan_layout):
            return replace(params_of(model, before.seed, planned), plan_layout=before.plan_layout)
    return before


def overridden(base: SamplingParams, overrides: SamplingOverrides) -> SamplingParams:
    """`base` with what was set, its negative prompt checked. Raises InvalidOptionError (2)."""
    found = overrides.on(base)
    name = overrides.sources.get("negative_prompt", "")
    negative = check_prompt(
        found.negative_prompt,
        name=name if name.startswith("--") else "negative prompt",
        may_be_empty=True,
    )
    return replace(found, negative_prompt=negative)


def check_edits(
    model: ModelVariant | HubModel,
    edits: Iterable[Edit],
    rate: Fraction,
    *,
    pictures: Collection[str] | None = None,
    sources: Mapping[str, str] | None = None,
) -> None:
    """Raise InvalidOptionError (2) for what a model cannot do.

    `pictures` names those of `image` and `last_image` that are given; None: they were checked
    before. `sources` names where fields of `SamplingParams` were set: an option, a variable or a
    file.
    """
    edits = tuple(edits)
    takes = isinstance(model, ModelVariant) and model.config.get("layout", False)
    if not takes and any(isinstance(edit, Sampled) and edit.layout for edit in edits):
        raise InvalidOptionError(f"{model.name} takes no layout: leave out --layout")
    if isinstance(model, ModelVariant):
        if any(isinstance(edit, Sampled) and edit.sampling.shift for edit in edits):
            raise InvalidOptionError(
                f"{model.name} samples with a schedule of its own: leave out --shift"
            )
        return
    if pictures is not None:
        _check_pictures(model, pictures)
    frames = 0
    for edit in edits:
        if not isinstance(edit, Sampled):
            continue
        _check_supported(model, edit.sampling, sources or {})
        if isinstance(edit, Retaken):
            raise InvalidOptionError(f"{model.name} cannot make a part of a video anew")
        if edit.cut and model.needs:
            raise InvalidOptionError(f"{model.name} begins with a picture: no shot can be cut to")
        if edit.windows is not None and "last_image" in (pictures or ()):
            raise InvalidOptionError(
                f"{model.name} ends in a picture only in one piece: leave out --last-image, or "
                f"make at most {model.trained_seconds:.4g} s"
            )
        if edit.crossfade:
            raise InvalidOptionError(f"{model.name} cannot fade prompts: leave out --crossfade")
        if model.windows is None:
            if frames:
                raise InvalidOptionError(f"{model.name} cannot go on with a video (lingen extend)")
            _check_length(model, edit, rate)
        frames += edit.frames


def _check_pictures(model: HubModel, given: Collection[str]) -> None:
    for name in ("image", "last_image"):
        option = f"--{name.replace('_', '-')}"
        if name in given and name not in model.pictures:
            what = "such picture" if model.pictures else "pictures"
            raise InvalidOptionError(f"{model.name} takes no {what}: leave out {option}")
        if name in model.needs and name not in given:
            raise InvalidOptionError(f"{model.name} begins with a picture: give one with {option}")


def _check_supported(model: HubModel, given: SamplingParams, sources: Mapping[str, str]) -> None:
    """Refuse every field that is not as the model has it and that its pipeline does not follow."""
    own = params_of(model)
    for option, name in options().items():
        if name in model.supports or getattr(given, name) == getattr(own, name):
            continue
        source = sources.get(name, "")
        if source.startswith("--"):
            way_out = f"leave out {source}"
        elif source:
            way_out = f"{option} is set by {source}"
        else:
            way_out = "the recipe of the video has it"
        raise InvalidOptionError(
            f"{model.name} samples without a choice of {option.replace('_', ' ')}: {way_out}"
        )


def _check_length(model: HubModel, edit: Added, rate: Fraction) -> None:
    """One piece is all that there is."""
    grid = Grid(rate, Fraction(model.fps))
    if grid.source(edit.frames - 1) >= model.frames:
        raise InvalidOptionError(
            f"{model.name} makes at most {model.trained_seconds:.4g} s, "
            f"not {float(edit.frames / rate):.4g} s"
        )
