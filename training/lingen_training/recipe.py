"""Training recipes: TOML, checked whole before anything runs."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, ValidationError

from lingen_models.config import PRESETS, LinGenConfig, TAEConfig, WordsConfig


class RecipeError(ValueError):
    """A recipe that cannot be read or used; the message is one line and names the file."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class AutoencoderStage(_Section):
    """`[autoencoder]`: sizes in pixels, learning rate per step."""

    widths: tuple[int, int, int] = (64, 128, 256)
    depths: tuple[int, int, int] = (1, 2, 2)
    steps: int = Field(ge=1)
    batch: int = Field(default=8, ge=1)
    size: int = Field(default=64, ge=64)
    full_size: int = Field(default=128, ge=64)
    full_batch: int = Field(default=2, ge=1)
    frames: int = Field(default=17, ge=1)
    learning_rate: float = Field(default=3e-4, gt=0)
    decay: float = Field(default=0.4, ge=0, le=1)
    ema: float = Field(default=0.99, ge=0, lt=1)
    kl_weight: float = Field(default=2e-4, ge=0)
    """Rises from almost nothing over the first 60%: early pressure makes colours collapse."""
    noise: float = Field(default=0.08, ge=0)
    """Noise added to the latents that the decoder sees, so that it forgives a sampler's errors."""
    edge_weight: float = Field(default=0.5, ge=0)
    outlier_limit: float = Field(default=4.0, gt=0)
    """Latent means beyond this are penalised (Movie Gen's outlier penalty, paper.md 1.4)."""
    decoder_steps: int = Field(default=0, ge=0)
    """Steps in which at last the decoder alone is trained, on clips of `decoder_frames`: latents
    stay what they are, so a denoiser that knows them goes on with them. A decoder that has seen
    short clips alone leaves outlines of what moves in longer ones."""
    decoder_frames: int = Field(default=41, ge=1)
    decoder_learning_rate: float = Field(default=3e-4, gt=0)

    def config(self) -> TAEConfig:
        """The network that this stage trains."""
        return TAEConfig(widths=self.widths, depths=self.depths)


class TextSection(_Section):
    """`[text]`: the word encoder that is trained with the denoiser."""

    width: int = Field(default=256, ge=64)
    depth: int = Field(default=2, ge=1)
    max_tokens: int = Field(default=64, ge=8)

    def config(self, words: tuple[str, ...]) -> WordsConfig:
        """The encoder over these words."""
        return WordsConfig(
            words=words, width=self.width, depth=self.depth, max_tokens=self.max_tokens
        )


class PartSection(_Section):
    """`[autoencoder]` or `[text]` with a `plugin`: what others trained, which stays as it is."""

    plugin: str
    """The name of an autoencoder or a text encoder, from `lingen plugins list`."""
    weights: str | None = None
    """Its folder, from the folder of the recipe; else what the cache of huggingface_hub has."""
    config: dict[str, Any] = Field(default_factory=dict)
    """What differs from the config of its record."""


_OWN, _PLUGIN, _SEVERAL = "(own)", "(plugin)", "(several)"


def _kind(value: Any) -> str:
    """Which of the sections it is."""
    if isinstance(value, list | tuple):
        return _SEVERAL
    named = isinstance(value, PartSection) or (isinstance(value, Mapping) and "plugin" in value)
    return _PLUGIN if named else _OWN


AutoencoderSection = Annotated[
    Annotated[AutoencoderStage, Tag(_OWN)] | Annotated[PartSection, Tag(_PLUGIN)],
    Discriminator(_kind),
]
TextSections = Annotated[
    Annotated[TextSection, Tag(_OWN)]
    | Annotated[PartSection, Tag(_PLUGIN)]
    | Annotated[tuple[PartSection, ...], Field(min_length=1), Tag(_SEVERAL)],
    Discriminator(_kind),
]


Distilled = Literal["mamba", "mixer", "steps"]
Motion = Literal["moves", "bounces", "circles", "zigzags", "spins", "grows", "still"]


class Source(_Section):
    """One `[[stage.source]]`: clips of one size and length, or images, which are clips of one
    latent frame (paper.md 3.1, 3.2)."""

    share: float = Field(default=1.0, gt=0)
    """How often this source is drawn from: its part in the sum of the stage's shares."""
    size: int = Field(ge=64, multiple_of=16)
    latent_frames: int = Field(ge=1)
    batch: int = Field(ge=1)
    clips: int = Field(ge=1)
    """Clips in the latent cache of this source."""
    cut_from: int = Field(default=0, ge=0)
    """Latent frames of the cached clips, from which windows are cut; 0 is one more than needed.
    Sources that cut from clips of one length and size share their cache."""
    crop: tuple[int, int] | None = None
    """Width and height in pixels of a window about the objects and all of their way, so that more
    of what is trained on is objects and less is background. Without it frames are whole."""
    motions: tuple[Motion, ...] = ()
    """Where given, only scenes in which every object does one of these: what is hard to learn
    needs to be seen often."""
    close_up: bool = False
    """Scenes seen from half the distance (`playground.close_up_scene`): at half of the usual size,
    objects have as many pixels as in whole frames, and fill the frame."""
    fresh: int = Field(default=0, ge=0)
    """Files of the cache, of 4096 latent frames each, that make room for new ones whenever the
    stage refreshes its clips."""
    alike: float = Field(default=0.0, ge=0, le=1)
    """Share of scenes with two objects in which both have one shape, and mostly also one motion,
    size and colour, so that plurals are true of them."""
    time_shift: float = Field(default=1.0, gt=0)
    """Above 1, times are drawn noisier, as longer clips need."""

    @property
    def cached_frames(self) -> int:
        """Latent frames of the cached clips: for clips at least one more than is needed, since
        what begins later is from inside a clip."""
        return 1 if self.latent_frames == 1 else max(self.cut_from, self.latent_frames + 1)


class FewSteps(_Section):
    """`[stage.few_steps]`: the grid of the student, and how its teacher is sampled."""

    steps: int = Field(default=4, ge=1)
    schedule: Literal["uniform", "shifted"] = "shifted"
    """Where the steps lie in time: a name in `sampling.flow.SCHEDULES` whose grids divide."""
    substeps: int = Field(default=3, ge=1)
    """Steps of the teacher for one of the student."""
    guidance: float = Field(default=4.5, ge=0)
    guided_after: float = Field(default=0.04, ge=0, lt=1)
    """The time before which the teacher is not guided."""
    own_path: float = Field(default=0.7, ge=0, le=1)
    """How often a step begins where the student's own steps end; else it does at noised data."""


class DenoiserStage(_Section):
    """One `[[stage]]`: a schedule over one or several sources. Each step draws from one of them."""

    name: str = Field(pattern=r"^[a-z0-9-]+$")
    steps: int = Field(ge=1)
    learning_rate: float = Field(gt=0)
    warmup: int = Field(default=100, ge=0)
    decay: float = Field(default=0.2, ge=0, le=1)
    ema: float = Field(default=0.999, ge=0, lt=1)
    prefix: float = Field(default=0.2, ge=0, le=1)
    """Share of clips with a clean prefix of random length (extension, image animation)."""
    suffix: float = Field(default=0.0, ge=0, le=1)
    """Share of clips with a clean end of random length (a last picture, a stretch done anew)."""
    caption_dropout: float = Field(default=0.1, ge=0, le=1)
    place_dropout: float = Field(default=0.0, ge=0, le=1)
    """Share of captions that do not name the background. Where frames are clean, it stays theirs: a
    prompt that continues a video need not name it again."""
    layout: float = Field(default=0.0, ge=0, le=1)
    """Share of clips with a layout: where their objects are (`lingen_training.layouts`)."""
    batches: int = Field(default=1, ge=1)
    """Batches in a step, each from a source that is drawn for it. Several processes share them."""
    alignment: float = Field(default=0.0, ge=0)
    """Weight of the alignment with the ground truth (`lingen_training.alignment`)."""
    refresh: int = Field(default=0, ge=0)
    """Steps after which sources get `fresh` clips; 0 is never."""
    validate_every: int = Field(default=0, ge=0)
    """Steps between measurements of the loss on fixed clips (`lingen_training.validation`)."""
    natural: float = Field(default=0.0, ge=0, le=1)
    """Share of captions as people write prompts: in fragments, with plurals, with much unsaid. The
    word encoder of a recipe with any of them knows their words."""
    distil: Distilled | None = None
    """In place of the flow's loss, the Mamba branches, or all of the mixers, learn from those of a
    teacher, layer by layer, and nothing else is trained; or the denoiser learns to make the steps
    of a teacher in fewer ("steps"), and the word encoder stays as it is."""
    few_steps: FewSteps | None = None
    """Of a stage with `distil = "steps"`."""
    source: tuple[Source, ...] = Field(min_length=1)


class ModelSection(_Section):
    """`[model]`: a preset and what differs from it."""

    preset: Literal["mini", "small", "base", "1b", "4b"] = "mini"
    overrides: dict[str, Any] = Field(default_factory=dict)

    def config(self) -> LinGenConfig:
        """The denoiser's configuration."""
        return LinGenConfig.from_dict({**PRESETS[self.preset].to_dict(), **self.overrides})


class DataSection(_Section):
    """`[data]`: what clips and captions are drawn from."""

    dataset: str = "playground"
    """The name of a dataset that a plugin registers."""
    config: dict[str, Any] = Field(default_factory=dict)
    """Its settings."""


class Recipe(_Section):
    """A whole recipe."""

    name: str = Field(pattern=r"^[a-z0-9-]+$")
    seed: int = 0
    data: DataSection = DataSection()
    autoencoder: AutoencoderSection
    text: TextSections = TextSection()
    model: ModelSection = ModelSection()
    stage: tuple[DenoiserStage, ...] = Field(min_length=1)

    @property
    def texts(self) -> tuple[PartSection, ...]:
        """The text encoders of plugins; none where one of its own is trained."""
        if isinstance(self.text, TextSection):
            return ()
        return (self.text,) if isinstance(self.text, PartSection) else self.text


def read_recipe(path: Path, model: Mapping[str, Any] | None = None) -> Recipe:
    """Read and check a recipe, with the denoiser's configuration `model` in place of its own.

    Raises RecipeError with one line, OSError if it can't be read.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise RecipeError(f"{path}: not valid TOML: {error}") from None
    try:
        recipe = Recipe.model_validate(values)
        if model is not None:
            recipe = recipe.model_copy(update={"model": ModelSection(overrides=dict(model))})
        _check(recipe)
    except ValidationError as error:
        first = error.errors()[0]
        kinds = (_OWN, _PLUGIN, _SEVERAL)
        where = ".".join(str(part) for part in first["loc"] if part not in kinds)
        raise RecipeError(f"{path}: {where}: {first['msg']}") from None
    except ValueError as error:
        raise RecipeError(f"{path}: {error}") from None
    return recipe


def _check(recipe: Recipe) -> None:
    """Raise ValueError, naming the field, for parts that do not fit together."""
    try:
        model = recipe.model.config()
    except (ValueError, TypeError, ArithmeticError) as error:
        raise ValueError(f"model: {error}") from None
    if isinstance(recipe.text, TextSection):
        _check_words(recipe.text, model)
    if isinstance(recipe.autoencoder, AutoencoderStage):
        _check_autoencoder(recipe.autoencoder, model)
    names = ["autoencoder", "denoiser", "text_encoder"]
    for index, stage in enumerate(recipe.stage):
        if stage.name in names:
            raise ValueError(f"stage.{index}.name: {stage.name!r} is taken")
        names.append(stage.name)
        _check_data(recipe, stage, f"stage.{index}")
        if (stage.distil == "steps") != (stage.few_steps is not None):
            raise ValueError(
                f'stage.{index}: distil = "steps" and [stage.few_steps] belong together'
            )
        for number, source in enumerate(stage.source):
            if any(side not in range(16, source.size + 1, 16) for side in source.crop or ()):
                raise ValueError(
                    f"stage.{index}.source.{number}.crop: multiples of 16 up to the size,"
                    f" {source.size}"
                )


def _check_data(recipe: Recipe, stage: DenoiserStage, where: str) -> None:
    """Only the playground knows where things are, and how they move."""
    if recipe.data.dataset == "playground":
        return
    for name in ("place_dropout", "natural", "layout", "alignment", "validate_every"):
        if getattr(stage, name):
            raise ValueError(f"{where}.{name}: only the playground knows its scenes")
    for number, source in enumerate(stage.source):
        for name in ("crop", "motions", "close_up", "alike"):
            if getattr(source, name):
                raise ValueError(f"{where}.source.{number}.{name}: only the playground knows it")


def _check_words(text: TextSection, model: LinGenConfig) -> None:
    if model.text_dims != (text.width,):
        raise ValueError(
            f"model: text_dims {list(model.text_dims)} must be [{text.width}] (text.width)"
        )
    if text.width % text.config(()).head_dim:
        raise ValueError(f"text.width: {text.width} is not a multiple of the head size 64")


def _check_autoencoder(codec: AutoencoderStage, model: LinGenConfig) -> None:
    if model.latent_channels != codec.config().latent_channels:
        raise ValueError(f"model: latent_channels must be {codec.config().latent_channels}")
    if codec.size % 8 or codec.full_size % 8 or codec.frames % 8 != 1:
        raise ValueError("autoencoder: sizes must be multiples of 8, and frames 1 more")
