"""Sampling parameters: one record from the option to the network, standard library only.

A field's type, limits, default and help text stand here and nowhere else: options, settings,
environment variables, batch lines and recipes are derived from them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import cache
from typing import Annotated, Any, get_type_hints

from lingen_models.sampling.guidance import Guidance

MAX_PROMPT_CHARACTERS = 10_000
"""Of any model; those of lingen's own read fewer."""
Interval = tuple[float, float]


def parse_interval(value: object) -> Interval | None:
    """Two flow times from text such as `0.05,0.8`, or from two numbers; None for None.

    Raises ValueError unless they are from 0 to 1 and the smaller comes first.
    """
    if value is None:
        return None
    parts = value.split(",") if isinstance(value, str) else value
    if isinstance(parts, list | tuple) and len(parts) == 2:
        with contextlib.suppress(TypeError, ValueError):
            start, stop = map(float, parts)
            if 0 <= start < stop <= 1:
                return start, stop
    raise ValueError(
        "must be two times from 0 (noise) to 1 (data), the smaller first, such as 0.05,0.8"
    )


@dataclass(frozen=True)
class Param:
    """Description of one field of `SamplingParams`."""

    help: str
    least: float | None = None
    most: float | None = None
    """Limits of a number, both included."""
    longest: int | None = None
    """Limit of a text, in characters."""
    option: str = ""
    """Name of the option and of the setting; empty where it is the field's."""
    metavar: str | None = None
    parse: Callable[[object], object] | None = None
    """Reads and checks a value that is no plain number or text; raises ValueError."""
    default: str = "the model's"
    """Meaning of a setting that is not set."""


@dataclass(frozen=True, kw_only=True)
class SamplingParams:
    """Choices that one sampling is made with, beside its prompt and its shape.

    Raises ValueError for values outside the limits.
    """

    steps: Annotated[int, Param("Number of denoising steps.", least=1, most=1000)] = 20
    guidance_scale: Annotated[
        float,
        Param(
            "Scale of classifier-free guidance: how closely the prompt is followed.",
            least=0,
            most=100,
            option="guidance",
        ),
    ] = 3.0
    guidance_interval: Annotated[
        Interval | None,
        Param(
            "Apply guidance only between these flow times (0 is noise, 1 is data), "
            "such as 0.05,0.8.",
            metavar="START,STOP",
            parse=parse_interval,
            default="the sampler's",
        ),
    ] = None
    step_cache: Annotated[
        float,
        Param(
            "Reuse the previous step when its input changed by less than this (TeaCache; try 0.2): "
            "faster, slightly worse. 0 computes every step.",
            least=0,
            most=10,
            default="0",
        ),
    ] = 0.0
    sampler: Annotated[
        str, Param("Name of the sampler: dpm-multistep, heun, euler and variants, or a plugin's.")
    ] = "euler"
    negative_prompt: Annotated[
        str,
        Param(
            "Negative prompt: what the video must not show.",
            longest=MAX_PROMPT_CHARACTERS,
            option="negative",
            default="empty",
        ),
    ] = ""
    shift: Annotated[
        float,
        Param(
            "Shift of the noise schedule (flow shift) of a model that diffusers runs: more for "
            "larger images; 0 is the model's own.",
            least=0,
            most=1000,
        ),
    ] = 0.0
    plan_layout: Annotated[
        bool,
        Param(
            "Let the model plan from the prompt of a new video where its objects are, in every "
            "frame, chosen by the seed.",
            default="yes",
        ),
    ] = True
    seed: Annotated[
        int,
        Param(
            "Seed of the noise: the same seed on the same machine gives the same frames; -1 is "
            "random.",
            least=0,
            most=2**63 - 1,
            default="random",
        ),
    ] = 0

    def __post_init__(self) -> None:
        for name, param in described().items():
            value = getattr(self, name)
            if param.longest is not None and len(value) > param.longest:
                raise ValueError(f"{name} must have at most {param.longest} characters")
            least, most = param.least, param.most
            if least is not None and most is not None and not least <= value <= most:  # nan, too
                raise ValueError(f"{name} must be from {least} to {most}, not {value}")
            if param.parse is not None:
                try:
                    param.parse(value)
                except ValueError as error:
                    raise ValueError(f"{name} {error}") from error

    def guidance(self, start: float = 0.0) -> Guidance:
        """Guidance in `guidance_interval`; without one, from `start`, the sampler's own, on."""
        return Guidance(self.guidance_scale, *(self.guidance_interval or (start, 1.0)))


@cache
def described() -> dict[str, Param]:
    """Field of `SamplingParams` -> its description, in their order."""
    hints = get_type_hints(SamplingParams, include_extras=True)
    return {one.name: hints[one.name].__metadata__[0] for one in fields(SamplingParams)}


@cache
def types() -> dict[str, Any]:
    """Field of `SamplingParams` -> its type."""
    hints = get_type_hints(SamplingParams)
    return {one.name: hints[one.name] for one in fields(SamplingParams)}


@cache
def options() -> dict[str, str]:
    """Name of an option, without hyphens, and of a setting -> field of `SamplingParams`."""
    return {param.option or name: name for name, param in described().items()}
