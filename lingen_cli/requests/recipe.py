"""Everything needed to make the same video again; it travels inside the video."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from lingen_cli.errors import BadDataError
from lingen_cli.inputs.layout_file import DrawnLayout
from lingen_cli.media.frame_hashes import FrameHash, Sha256
from lingen_models.sampling.params import (
    MAX_PROMPT_CHARACTERS,
    SamplingParams,
    described,
    options,
)

WindowSizes = tuple[Annotated[int, Field(ge=2, le=4096)], Annotated[int, Field(ge=1, le=4095)]]
FPS_PATTERN = r"^[1-9][0-9]{0,6}(/[1-9][0-9]{0,6})?$"
MAX_EDITS = 4096
MAX_FRAMES = 1_000_000
MAX_BASE_FRAMES = 100_000_000
MAX_SIDE = 8192
_NEVER_LEFT_OUT = ("steps", "guidance_scale", "sampler", "seed")
"""Sampling parameters that every recipe has; later ones may be missing, and are as they were."""


class GivenPicture(BaseModel):
    """A picture that was given, at the place where it lay."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str
    sha256: Sha256


class GivenLora(BaseModel):
    """A LoRA that was given, at the place where it lay."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    sha256: Sha256
    scale: float = Field(ge=-100, le=100, allow_inf_nan=False)


class GivenDenoiser(BaseModel):
    """A GGUF file that was given in place of a denoiser, at the place where it lay."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    sha256: Sha256


class ForeignBase(BaseModel):
    """The video that lingen did not make, with which the video begins."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str
    fingerprint: Sha256
    frames: int = Field(ge=1, le=MAX_BASE_FRAMES)
    """Of its frames, at the video's rate, which come before those of the recipe."""
    width: int = Field(ge=1, le=MAX_SIDE)
    """Of the whole video; the recipe's own are the model's."""
    height: int = Field(ge=1, le=MAX_SIDE)
    fit: Literal["stretch", "pad", "crop"]
    headers: int = Field(ge=0, le=31)
    """Number of the new parameter sets beside its own; 0: it was encoded again."""


class _Sampled(BaseModel):
    """Inputs that one stretch of a video was sampled with."""

    model_config = ConfigDict(extra="forbid", frozen=True)

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


class Added(_Sampled):
    """A stretch that was added at the end."""

    kind: Literal["add"] = "add"
    cut: bool = False
    """It begins anew, without a past."""
    crossfade: float = Field(0.0, ge=0, le=3600, allow_inf_nan=False)
    """Seconds in which the prompt before gives way to this one."""


class Retaken(_Sampled):
    """A stretch that was sampled anew between its neighbours: `frames` of them from `begin` on."""

    kind: Literal["retake"] = "retake"
    begin: int = Field(ge=0, le=MAX_FRAMES)


class Dropped(BaseModel):
    """The end after the first `keep` frames was dropped."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["cut"] = "cut"
    keep: int = Field(ge=1, le=MAX_FRAMES)


Later = Annotated[Added | Retaken | Dropped, Field(discriminator="kind")]


class Recipe(_Sampled):
    """Record of what was asked for, and on what it ran: same recipe, same machine, same frames."""

    format: Literal[2] = 2
    model: str
    weights: dict[str, Sha256]
    """Part (denoiser, autoencoder, text_encoder, ...) -> SHA-256 of its file."""
    weights_folder: str | None = None
    """Where they lay, when they are not the model's own."""
    loras: tuple[GivenLora, ...] = Field((), max_length=64)
    denoisers: tuple[GivenDenoiser, ...] = Field((), max_length=8)
    quantize: Literal["int8", "fp8", "nf4"] | None = None
    """Format in which the linear layers of denoisers and text encoders were held."""
    edits: tuple[Later, ...] = Field((), max_length=MAX_EDITS)
    """What `extend`, `continue`, `retake` and `branch` did later, in their order; `frames` are
    those of the first sampling alone."""
    latents: Sha256 | None = None
    """The latents of the whole video, under which the cache keeps them."""
    fps: str = Field(pattern=FPS_PATTERN)
    width: int = Field(ge=1)
    height: int = Field(ge=1)
    image: GivenPicture | None = None
    """The video starts from it."""
    last_image: GivenPicture | None = None
    """What was sampled first ends in it."""
    video: GivenPicture | None = None
    """What was sampled first is made from this video."""
    base: ForeignBase | None = None
    crf: int = Field(ge=1, le=51)
    encoder_preset: str
    device: str
    dtype: str
    threads: int = Field(ge=1, le=4096)
    tiles: bool = False
    """The pictures were decoded in tiles that are blended: the card was too small for more."""
    versions: dict[str, str]
    """lingen, torch, python, av."""

    frame_hashes: tuple[FrameHash, ...] = Field((), max_length=1 << 16)
    """Of the frames that lingen made, in their order (`lingen verify`)."""

    @property
    def rate(self) -> Fraction:
        """Frames per second."""
        return Fraction(self.fps)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the video."""
        one = self.base or self
        return one.width, one.height

    @property
    def last(self) -> Recipe | Added | Retaken:
        """The part that was sampled last."""
        return next((one for one in reversed(self.edits) if not isinstance(one, Dropped)), self)


def recipe_from_video(path: Path) -> Recipe:
    """The recipe inside `path`. Raises BadDataError (65) when there is none, or a damaged one."""
    from lingen_cli.files.printable import printable
    from lingen_cli.media.metadata import read_recipe

    found = read_recipe(path)
    if found is None:
        raise BadDataError(f"no recipe in {printable(path)}: it was not made by lingen, or edited")
    try:
        return Recipe.model_validate(found)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "recipe"
        why = first["msg"].removeprefix("Value error, ")
        raise BadDataError(f"damaged recipe in {printable(path)}: {place}: {why}") from error
