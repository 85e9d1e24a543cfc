"""Edits, the steps in which a video is made: one schema for jobs, journals and recipes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from lingen_cli.inputs.layout_file import DrawnLayout
from lingen_models.sampling.params import (
    MAX_PROMPT_CHARACTERS,
    SamplingParams,
    described,
    options,
)

WindowSizes = tuple[Annotated[int, Field(ge=2, le=4096)], Annotated[int, Field(ge=1, le=4095)]]
MAX_FRAMES = 1_000_000
_NEVER_LEFT_OUT = ("steps", "guidance_scale", "sampler", "seed")
"""Sampling parameters that every recipe has; later ones may be missing, and are as they were."""


class Record(BaseModel):
    """A part of a recipe: read from a file, or made of a record of a job with the same names."""

    model_config = ConfigDict(extra="forbid", frozen=True, from_attributes=True)


class Sampled(Record):
    """A part of a video that is sampled with one prompt and one seed."""

    prompt: str = Field(min_length=1, max_length=MAX_PROMPT_CHARACTERS)
    sampling: SamplingParams
    frames: int = Field(ge=1, le=MAX_FRAMES)
    windows: WindowSizes | None = None
    """Latent frames of a window and of its past; None: sampled in one piece."""
    layout: DrawnLayout | None = None
    """Where the objects are, as the user has drawn it; its times count from the video's begin."""

    @model_validator(mode="before")
    @classmethod
    def _lift(cls, values: Any) -> Any:
        """Read a recipe of format 1, in which the sampling parameters lay beside the prompt."""
        if not isinstance(values, Mapping):
            return values
        if values.get("format") not in (None, 1, 2):
            raise ValueError(f"format {str(values['format'])[:20]!r} is not known")
        if "sampling" not in values and values.get("format") != 2:
            old = options()
            sampling = {old[key]: value for key, value in values.items() if key in old}
            values = {key: value for key, value in values.items() if key not in old}
            values["sampling"] = sampling
            if "format" in values:
                values["format"] = 2
        given = values.get("sampling")
        if isinstance(given, Mapping):
            for name in _NEVER_LEFT_OUT:
                if name not in given:
                    raise ValueError(f"{name} is missing")
            if unknown := sorted(map(str, set(given) - set(described()))):
                raise ValueError(f"unknown sampling parameter {unknown[0][:40]!r}")
        return values

    def sampled_with(self, **changes: Any) -> Self:
        """The same part with other values of fields of `SamplingParams`."""
        return self.model_copy(update={"sampling": replace(self.sampling, **changes)})


class Added(Sampled):
    """A part that is added at the end."""

    kind: Literal["add"] = "add"
    cut: bool = False
    """It begins anew, without a past."""
    crossfade: float = Field(default=0.0, ge=0, le=3600, allow_inf_nan=False)
    """Seconds in which the prompt before gives way to this one."""


class Retaken(Sampled):
    """A part that is sampled anew between its neighbors: `frames` of them from `begin` on."""

    kind: Literal["retake"] = "retake"
    begin: int = Field(ge=0, le=MAX_FRAMES)

    @property
    def end(self) -> int:
        """Frame after its last one."""
        return self.begin + self.frames


class Dropped(Record):
    """Everything after the first `keep` frames is dropped."""

    kind: Literal["cut"] = "cut"
    keep: int = Field(ge=1, le=MAX_FRAMES)


Edit = Added | Retaken | Dropped
"""One step in the making of a video; the first is an `Added`."""
