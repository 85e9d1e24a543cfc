"""Limits of models from elsewhere, checked before anything of them is looked for or loaded."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

from lingen_cli.errors import InvalidOptionError
from lingen_cli.inputs.frame_rates import Grid
from lingen_cli.inputs.prompts import check_prompt
from lingen_cli.inputs.request_options import option_name
from lingen_cli.inputs.settings import SamplingOverrides
from lingen_cli.requests.edits import Added, Edit, Retaken, Sampled
from lingen_models.sampling.params import SamplingParams, options
from lingen_plugins.contracts import IMAGES, QUANTIZATIONS, HubModel, ModelVariant, Sampler
from lingen_plugins.hub.fit_ladder import OFFLOADS
from lingen_plugins.hub.scheduler import SCHEDULER
from lingen_plugins.hub.weight_formats import no_places
from lingen_plugins.registry import Registry

_MOST_CHARACTERS = 600_000
"""Of the million that a recipe may have; the rest is for the hashes of frames."""


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
    params = SamplingParams(steps=model.steps, guidance_scale=model.guidance, seed=seed)
    if isinstance(model, ModelVariant):
        more = model.planned_sampling if planned else {}
        return replace(params, **{"sampler": model.sampler, **more})
    return replace(
        params,
        sampler=SCHEDULER.name,
        negative_prompt=model.negative_prompt,
        shift=model.shift,
    )


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


def prompt_for(
    model: ModelVariant | HubModel, text: str, *, name: str = "prompt", may_be_empty: bool = False
) -> str:
    """A prompt as a model reads it: exactly as it is given, where that is one from elsewhere.

    Raises as `check_prompt`.
    """
    exact = isinstance(model, HubModel)
    return check_prompt(text, name=name, may_be_empty=may_be_empty, exact=exact)


def overridden(
    base: SamplingParams, overrides: SamplingOverrides, model: ModelVariant | HubModel
) -> SamplingParams:
    """`base` with what was set, its negative prompt checked. Raises InvalidOptionError (2)."""
    found = overrides.on(base)
    name = overrides.sources.get("negative_prompt", "")
    negative = prompt_for(
        model,
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
    images: Collection[str] | None = None,
    sources: Mapping[str, str] | None = None,
) -> None:
    """Raise InvalidOptionError (2) for what a model cannot do.

    `images` names those of `IMAGES` that are given; None: they were checked before. `sources`
    names where fields of `SamplingParams` were set: an option, a variable or a file.
    """
    edits = tuple(edits)
    _check_characters(edits)
    takes = isinstance(model, ModelVariant) and model.config.get("layout", False)
    if not takes and any(isinstance(edit, Sampled) and edit.layout for edit in edits):
        raise InvalidOptionError(f"{model.name} takes no layout: leave out --layout")
    if isinstance(model, ModelVariant):
        if any(isinstance(edit, Sampled) and edit.sampling.shift for edit in edits):
            raise InvalidOptionError(
                f"{model.name} samples with a schedule of its own: leave out --shift"
            )
        return
    if images is not None:
        _check_images(model, images)
    frames = 0
    for edit in edits:
        if not isinstance(edit, Sampled):
            continue
        _check_supported(model, edit.sampling, sources or {})
        if isinstance(edit, Retaken):
            raise InvalidOptionError(f"{model.name} cannot make a part of a video anew")
        if edit.cut and model.needs:
            raise InvalidOptionError(f"{model.name} begins with an image: no shot can be cut to")
        whole = {"last_image": "ends in an image", "video": "is made from a video"}
        for name, what in whole.items():
            if edit.windows is not None and name in (images or ()):
                raise InvalidOptionError(
                    f"{model.name} {what} only in one piece: leave out {option_name(name)}, or "
                    f"make at most {model.trained_seconds:.4g} s"
                )
        if edit.crossfade:
            raise InvalidOptionError(f"{model.name} cannot fade prompts: leave out --crossfade")
        if model.windows is None:
            if frames:
                raise InvalidOptionError(f"{model.name} cannot go on with a video (lingen extend)")
            _check_length(model, edit, rate)
        frames += edit.frames


def check_formats(
    model: ModelVariant | HubModel, quantize: str | None, denoisers: Sequence[object], offload: str
) -> None:
    """Raise InvalidOptionError (2) for formats of weights that a model, or a place where they wait,
    cannot have."""
    if quantize is not None and quantize not in QUANTIZATIONS:
        raise InvalidOptionError(
            f"--quantize must be {', '.join(QUANTIZATIONS[:-1])} or {QUANTIZATIONS[-1]}, "
            f"not {quantize[:20]!r}"
        )
    for option, given in (("--quantize", quantize), ("--denoiser", denoisers)):
        if given and not (isinstance(model, HubModel) and model.takes_formats):
            raise InvalidOptionError(
                f"{model.name} holds its weights in one way: leave out {option}"
            )
    if denoisers and isinstance(model, HubModel) and len(denoisers) != len(model.denoisers):
        names = ", ".join(model.denoisers)
        raise InvalidOptionError(
            f"{model.name} has {len(model.denoisers)} denoisers ({names}): give --denoiser for "
            f"each, in this order, not {len(denoisers)}"
        )
    if set(OFFLOADS[offload]) <= set(no_places(quantize)):
        raise InvalidOptionError(
            f"--quantize {quantize} and --offload {offload} exclude each other: leave out --offload"
        )


def check_video(model: ModelVariant | HubModel, video: object) -> None:
    """Raise InvalidOptionError (2) where a model takes no video to make another from."""
    if video is not None and not (isinstance(model, HubModel) and "video" in model.images):
        raise InvalidOptionError(f"{model.name} is made from no video: leave out --video")


def _check_images(model: HubModel, given: Collection[str]) -> None:
    check_video(model, True if "video" in given else None)
    for name in IMAGES:
        option = option_name(name)
        if name in given and name not in model.images:
            what = "such image" if model.images else "images"
            raise InvalidOptionError(f"{model.name} takes no {what}: leave out {option}")
        if name in model.needs and name not in given:
            begins = "is made from a video" if name == "video" else "begins with an image"
            raise InvalidOptionError(f"{model.name} {begins}: give one with {option}")


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


def _check_characters(edits: Iterable[Edit]) -> None:
    """All prompts go into the recipe, which a video can hold only so much of."""
    parts = [one for one in edits if isinstance(one, Sampled)]
    texts = [text for one in parts for text in (one.prompt, one.sampling.negative_prompt)]
    total = sum(len(json.dumps(text)) for text in texts)
    if total > _MOST_CHARACTERS:
        raise InvalidOptionError(
            f"the prompts of {len(parts)} parts take {total:,} characters of the recipe, which "
            f"holds {_MOST_CHARACTERS:,}: write shorter ones, or make several videos"
        )


def _check_length(model: HubModel, edit: Added, rate: Fraction) -> None:
    """One piece is all that there is."""
    grid = Grid(rate, Fraction(model.fps))
    if grid.source(edit.frames - 1) >= model.frames:
        raise InvalidOptionError(
            f"{model.name} makes at most {model.trained_seconds:.4g} s, "
            f"not {float(edit.frames / rate):.4g} s"
        )
