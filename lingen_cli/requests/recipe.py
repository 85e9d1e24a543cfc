"""Everything needed to make the same video again; it travels inside the video."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationError

from lingen_cli.errors import BadDataError
from lingen_cli.files.printable import printable
from lingen_cli.media.frame_hashes import FrameHash, Sha256
from lingen_cli.requests.edits import Added, Edit, Record, Sampled
from lingen_models.sampling.params import options

FPS_PATTERN = r"^[1-9][0-9]{0,6}(/[1-9][0-9]{0,6})?$"
MAX_EDITS = 4096
MAX_BASE_FRAMES = 100_000_000
MAX_SIDE = 8192
PathText = Annotated[str, BeforeValidator(lambda one: str(one) if isinstance(one, Path) else one)]
"""A path as text, which it is in a file; a job has it as `Path`."""


class RecordedImage(Record):
    """An image or a video that was given, at the place where it lay."""

    path: PathText
    sha256: Sha256


class GivenDenoiser(Record):
    """A GGUF file that was given in place of a denoiser, at the place where it lay."""

    name: str
    sha256: Sha256


class GivenLora(GivenDenoiser):
    """A LoRA that was given, at the place where it lay."""

    scale: float = Field(ge=-100, le=100, allow_inf_nan=False)


class Base(Record):
    """A video that lingen did not make, with which a video begins."""

    path: PathText
    fingerprint: Sha256
    """SHA-256 of its size and of its first and last bytes."""
    frames: int = Field(ge=1, le=MAX_BASE_FRAMES)
    """Frames that are taken over from it, at the rate of the whole video."""
    width: int = Field(ge=1, le=MAX_SIDE)
    """Width and height of the whole video, in pixels; the model works at the size of the recipe."""
    height: int = Field(ge=1, le=MAX_SIDE)
    fit: Literal["stretch", "pad", "crop"]
    """How its images come to the model's size."""
    headers: int = Field(ge=0, le=31)
    """Number of the new part's parameter sets where its packets are copied; 0: encoded again."""

    @property
    def file(self) -> Path:
        """The video itself."""
        return Path(self.path)


Later = Annotated[Edit, Field(discriminator="kind")]


class Recipe(Sampled):
    """Record of what was asked for, and on what it ran: same recipe, same machine, same frames."""

    format: Literal[2] = 2
    model: str
    weights: dict[str, Sha256]
    """Part (denoiser, autoencoder, text_encoder, ...) -> SHA-256 of its file."""
    weights_folder: PathText | None = None
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
    image: RecordedImage | None = None
    """The video starts from it."""
    last_image: RecordedImage | None = None
    """What was sampled first ends in it."""
    video: RecordedImage | None = None
    """What was sampled first is made from this video."""
    base: Base | None = None
    sound: bool = False
    """The video has the sound that the model made with it."""
    crf: int = Field(ge=1, le=51)
    encoder_preset: str
    device: str
    dtype: str
    threads: int = Field(ge=1, le=4096)
    tiles: bool = False
    """The images were decoded in tiles that are blended: the card was too small for more."""
    versions: dict[str, str]
    """lingen, torch, python, av."""

    sound_packets: Sha256 | None = None
    """Of the encoded sound (`lingen verify`)."""
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
    def all_edits(self) -> tuple[Edit, ...]:
        """The first sampling, and what came later."""
        return (Added(**{name: getattr(self, name) for name in Sampled.model_fields}), *self.edits)

    @property
    def last(self) -> Sampled:
        """The part that was sampled last."""
        return next(one for one in reversed(self.all_edits) if isinstance(one, Sampled))


def sampling_in(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Sampling of a recipe that was not checked, by the names of options; None for what it has not.

    In format 1 they stand beside the others.
    """
    given = recipe.get("sampling")
    found = given if isinstance(given, dict) else recipe
    return {option: found.get(name, found.get(option)) for option, name in options().items()}


def recipe_from_video(path: Path) -> Recipe:
    """The recipe inside `path`. Raises BadDataError (65) when there is none, or a damaged one."""
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
