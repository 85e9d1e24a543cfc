"""Training recipes: TOML, checked whole before anything runs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    model_validator,
)

from lingen_models.network_config import PRESETS, LinGenConfig, TAEConfig, WordsConfig
from lingen_models.spelling import did_you_mean
from lingen_models.toml_lines import TomlLines
from lingen_training.text_file import TextError, parse_toml

_MEANT = {
    "lr": "learning_rate",
    "batch_size": "batch",
    "epochs": "steps",
    "iterations": "steps",
    "max_steps": "steps",
    "resolution": "size",
    "ema_decay": "ema",
    "warmup_steps": "warmup",
}
"""Keys of other trainers -> what they are here."""


class RecipeError(ValueError):
    """A recipe that cannot be read or used; the message is one line and names the file."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class AutoencoderStage(_Section):
    """`[autoencoder]`: the autoencoder that is trained first. Sizes in pixels."""

    widths: tuple[int, int, int] = (64, 128, 256)
    """Channels at each of its three levels."""
    depths: tuple[int, int, int] = (1, 2, 2)
    """Residual blocks at each level."""
    steps: int = Field(ge=1)
    """Optimiser steps."""
    batch: int = Field(default=8, ge=1)
    """Clips in a step."""
    size: int = Field(default=64, ge=64)
    """Side of the clips in most steps, a multiple of 8."""
    full_size: int = Field(default=128, ge=64)
    """Side of the clips in the other steps."""
    full_batch: int = Field(default=2, ge=1)
    """Clips in one of those steps."""
    frames: int = Field(default=17, ge=1)
    """Frames in a clip: a multiple of 8, and 1 more."""
    learning_rate: float = Field(default=3e-4, gt=0)
    """Peak learning rate."""
    decay: float = Field(default=0.4, ge=0, le=1)
    """Share of the steps, at the end, in which the learning rate falls to 0."""
    ema: float = Field(default=0.99, ge=0, lt=1)
    """Decay of the moving average of the weights, which is what is saved."""
    kl_weight: float = Field(default=2e-4, ge=0)
    """Weight of the KL divergence from a standard normal. Rises from almost nothing over the first
    60%: early pressure makes colors collapse."""
    noise: float = Field(default=0.08, ge=0)
    """Noise added to the latents that the decoder sees, so that it forgives a sampler's errors."""
    edge_weight: float = Field(default=0.5, ge=0)
    """Weight of the loss on differences between neighbouring pixels."""
    outlier_limit: float = Field(default=4.0, gt=0)
    """Latent means beyond this are penalised (Movie Gen's outlier penalty, paper.md 1.4)."""
    decoder_steps: int = Field(default=0, ge=0)
    """Steps in which at last the decoder alone is trained, on clips of `decoder_frames`: latents
    stay what they are, so a denoiser that knows them goes on with them. A decoder that has seen
    short clips alone leaves outlines of what moves in longer ones."""
    decoder_frames: int = Field(default=41, ge=1)
    """Frames in a clip of those steps."""
    decoder_learning_rate: float = Field(default=3e-4, gt=0)
    """Learning rate of those steps."""
    decoder_fast: float = Field(default=0.0, ge=0, le=1)
    """Share of the clips of those steps in which something bounces or moves quickly."""
    decoder_moving_weight: float = Field(default=0.0, ge=0)
    """Weight that a pixel whose color changes has in those steps beside the 1 of every pixel."""
    decoder_replay: float = Field(default=0.0, ge=0, le=1)
    """Share of those steps that are on clips of the playground, where other data is trained on."""
    decoder_validate_every: int = Field(default=0, ge=0)
    """Steps between measurements of the PSNR over held-out clips, and over what moves in them."""

    def config(self) -> TAEConfig:
        """The network that this stage trains."""
        return TAEConfig(widths=self.widths, depths=self.depths)


class TextSection(_Section):
    """`[text]`: the word encoder that is trained with the denoiser."""

    width: int = Field(default=256, ge=64)
    """Size of the features of a word, a multiple of 64; `text_dims` of the model must agree."""
    depth: int = Field(default=2, ge=1)
    """Transformer layers."""
    max_tokens: int = Field(default=64, ge=8)
    """Words of a prompt that are read."""

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


_OF_SCENES = ("crop", "motions", "close_up", "alike")
"""Keys of a source that only the playground can have."""
Distilled = Literal["mamba", "mixer", "steps"]
Motion = Literal["moves", "bounces", "circles", "zigzags", "spins", "grows", "still"]


class Buckets(_Section):
    """`[stage.source.buckets]`: sizes and lengths among which the clips of a folder are divided."""

    sizes: tuple[str, ...] = Field(min_length=1)
    """Width and height in pixels, such as "176x96", multiples of 16. A clip goes to the one whose
    proportions are the nearest, and is cut to them."""
    latent_frames: tuple[int, ...] = Field(min_length=1)
    """Lengths, each at least 2. A video goes to the longest that it fills, or to the shortest.
    Images are clips of one latent frame."""
    images: float | None = Field(default=None, ge=0, le=1)
    """Share of the batches that are images; without it by their number among the files."""

    @property
    def sides(self) -> list[tuple[int, int]]:
        """Widths and heights."""
        pairs = (one.split("x") for one in self.sizes)
        return [(int(width), int(height)) for width, height in pairs]

    @model_validator(mode="after")
    def _fits(self) -> Self:
        for size in self.sizes:
            if not re.fullmatch(r"[0-9]{2,5}x[0-9]{2,5}", size):
                raise ValueError(f"sizes: {size!r} is not WIDTHxHEIGHT, such as 176x96")
        for side in (side for pair in self.sides for side in pair):
            if side % 16 or side < 64:
                raise ValueError(f"sizes: {side} is no multiple of 16, or below 64")
        if min(self.latent_frames) < 2:
            raise ValueError("latent_frames: at least 2, images have buckets of their own")
        return self


class Source(_Section):
    """One `[[stage.source]]`: clips of one size and length, or images, which are clips of one
    latent frame (paper.md 3.1, 3.2)."""

    share: float = Field(default=1.0, gt=0)
    """How often this source is drawn from: its part in the sum of the stage's shares."""
    size: int = Field(default=0, ge=0, multiple_of=16)
    """Side of the images in pixels, at least 64; needed without `buckets`."""
    latent_frames: int = Field(default=0, ge=0)
    """Length, needed without `buckets`: 1 is images, and each further one stands for 8 frames (half
    a second)."""
    buckets: Buckets | None = None
    """Sizes and lengths in place of one: clips of a folder are not all cut to one square. A batch
    is of one bucket."""
    batch: int = Field(ge=1)
    """Clips in a batch; of the largest of `buckets`, and of others as many as hold as many
    tokens."""
    clips: int = Field(ge=1)
    """Clips in the latent cache of this source, of all its buckets together."""
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
    size and color, so that plurals are true of them."""
    time_shift: float = Field(default=1.0, gt=0)
    """Above 1, times are drawn noisier, as longer clips need."""
    replay: bool = False
    """Clips of the playground, whatever `[data]` names, so that what the model knew is kept."""

    @property
    def cached_frames(self) -> int:
        """Latent frames of the cached clips: for clips at least one more than is needed, since
        what begins later is from inside a clip."""
        return 1 if self.latent_frames == 1 else max(self.cut_from, self.latent_frames + 1)

    @model_validator(mode="after")
    def _has_a_size(self) -> Self:
        missing = [name for name in ("size", "latent_frames") if not getattr(self, name)]
        if self.buckets is None and missing:
            raise ValueError(f"{missing[0]} is missing")
        if 0 < self.size < 64:
            raise ValueError(f"size: {self.size} is less than 64")
        if self.buckets is not None and len(missing) < 2:
            raise ValueError("buckets stand in place of size and latent_frames")
        return self


class FewSteps(_Section):
    """`[stage.few_steps]`: the grid of the student, and how its teacher is sampled."""

    steps: int = Field(default=4, ge=1)
    """Steps of the student."""
    schedule: Literal["uniform", "shifted"] = "shifted"
    """Where the steps lie in time: a name in `sampling.flow.SCHEDULES` whose grids divide."""
    substeps: int = Field(default=3, ge=1)
    """Steps of the teacher for one of the student."""
    guidance: float = Field(default=4.5, ge=0)
    """Guidance scale of the teacher."""
    guided_after: float = Field(default=0.04, ge=0, lt=1)
    """The time before which the teacher is not guided."""
    own_path: float = Field(default=0.7, ge=0, le=1)
    """How often a step begins where the student's own steps end; else it does at noised data."""


class DenoiserStage(_Section):
    """One `[[stage]]`: a schedule over one or several sources. Each step draws from one of them."""

    name: str = Field(pattern=r"^[a-z0-9-]+$")
    """Name of the stage: in messages, and of its file of losses."""
    steps: int = Field(ge=1)
    """Optimiser steps."""
    learning_rate: float = Field(gt=0)
    """Peak learning rate."""
    warmup: int = Field(default=100, ge=0)
    """Steps in which the learning rate rises to its peak."""
    decay: float = Field(default=0.2, ge=0, le=1)
    """Share of the steps, at the end, in which the learning rate falls to 0."""
    ema: float = Field(default=0.999, ge=0, lt=1)
    """Decay of the moving average of the weights, which is what is saved."""
    prefix: float = Field(default=0.2, ge=0, le=1)
    """Share of clips with a clean prefix of random length (extension, image animation)."""
    suffix: float = Field(default=0.0, ge=0, le=1)
    """Share of clips with a clean end of random length (a last image, a stretch done anew)."""
    caption_dropout: float = Field(default=0.1, ge=0, le=1)
    """Share of clips without a caption, as classifier-free guidance needs them."""
    place_dropout: float = Field(default=0.0, ge=0, le=1)
    """Share of captions that do not name the background. Where frames are clean, it stays theirs: a
    prompt that continues a video need not name it again."""
    layout: float = Field(default=0.0, ge=0, le=1)
    """Share of clips with a layout: the places of their objects (`datasets.clip_layouts`)."""
    batches: int = Field(default=1, ge=1)
    """Batches in a step, each from a source that is drawn for it. Several processes share them."""
    checkpoint_blocks: bool = False
    """Blocks are computed again for their gradients: a fraction of the memory of activations, for a
    third more operations."""
    alignment: float = Field(default=0.0, ge=0)
    """Weight of the alignment with the ground truth (`lingen_training.stages.alignment`)."""
    refresh: int = Field(default=0, ge=0)
    """Steps after which sources get `fresh` clips; 0 is never."""
    validate_every: int = Field(default=0, ge=0)
    """Steps between measurements of the loss on fixed clips (`stages.validation`)."""
    sample_every: int = Field(default=0, ge=0)
    """Steps between short clips that the averaged weights make of `sample_prompts`, for the report
    of the training; 0 is never. The weights do not depend on them."""
    sample_prompts: tuple[str, ...] = ()
    """Their prompts; without any, four captions of held-out scenes of the playground, or of
    `[data]`."""
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
    """`[[stage.source]]`: at least one."""

    def trains_as(self, other: DenoiserStage) -> bool:
        """Tell whether both end in the same weights: what is sampled meanwhile does not matter."""
        unseen = {"sample_every", "sample_prompts"}
        return self.model_dump(exclude=unseen) == other.model_dump(exclude=unseen)


class ModelSection(_Section):
    """`[model]`: a preset and what differs from it."""

    preset: Literal["mini", "small", "base", "1b", "4b"] = "mini"
    """Size of the network."""
    overrides: dict[str, Any] = Field(default_factory=dict)
    """Fields of `LinGenConfig` (`lingen_models/network_config.py`) that differ from the preset."""

    def config(self) -> LinGenConfig:
        """The denoiser's configuration."""
        return LinGenConfig.from_dict({**PRESETS[self.preset].to_dict(), **self.overrides})


class LoraSection(_Section):
    """`lora`: a LoRA on the weights of `--start-from` is trained, in place of the weights."""

    rank: int = Field(default=16, ge=1, le=1024)
    """Rank of its matrices."""
    alpha: int = Field(default=16, ge=1)
    """What it adds is `alpha / rank` times the product of its matrices."""
    targets: tuple[str, ...] = Field(
        default=("qkv", "q", "kv", "out", "in_proj", "out_proj"), min_length=1
    )
    """Names of the layers of a block that get one: those of attention and Mamba2; `up` and `down`
    are the feed-forward's."""


class DataSection(_Section):
    """`[data]`: what clips and captions are drawn from."""

    dataset: str = "playground"
    """The name of a dataset that a plugin registers."""
    config: dict[str, Any] = Field(default_factory=dict)
    """Its settings."""
    folder: str | None = None
    """A folder of videos and images with captions, from the folder of the recipe, in place of a
    dataset (`lingen data check`)."""
    fingerprint: str | None = None
    """Hash of its clips and captions, filled in when a training begins."""

    @property
    def knows_scenes(self) -> bool:
        """True for the playground, which knows where objects are, and how they move."""
        return self.dataset == "playground" and self.folder is None


class Recipe(_Section):
    """A whole recipe."""

    name: str = Field(pattern=r"^[a-z0-9-]+$")
    """Name of the training, which is written into the weights."""
    seed: int = 0
    """Seed of the weights, the data and the noise."""
    data: DataSection = DataSection()
    """`[data]`."""
    autoencoder: AutoencoderSection
    """`[autoencoder]`."""
    text: TextSections = TextSection()
    """`[text]`."""
    model: ModelSection = ModelSection()
    """`[model]`."""
    lora: LoraSection | None = None
    """`lora = { rank = 16 }`: a LoRA is trained, and written as `lora.safetensors`."""
    stage: tuple[DenoiserStage, ...] = ()
    """`[[stage]]`, in their order. Without any, the decoder of the weights that a training begins
    from is all that is trained, and `decoder_steps` of `[autoencoder]` is at least 1."""

    @property
    def texts(self) -> tuple[PartSection, ...]:
        """The text encoders of plugins; none where one of its own is trained."""
        if isinstance(self.text, TextSection):
            return ()
        return (self.text,) if isinstance(self.text, PartSection) else self.text


def read_recipe(
    path: Path, model: Mapping[str, Any] | None = None, data: DataSection | None = None
) -> Recipe:
    """Read and check a recipe, with the denoiser's configuration `model`, and `data`, in place of
    its own.

    Raises RecipeError with one line, OSError if it can't be read.
    """
    try:
        read = parse_toml(path.read_bytes())
    except TextError as error:
        raise RecipeError(f"{path}:{error.line}: {error}") from None
    try:
        recipe = Recipe.model_validate(read.values)
        if model is not None:
            recipe = recipe.model_copy(update={"model": ModelSection(overrides=dict(model))})
        if data is not None:
            recipe = recipe.model_copy(update={"data": data})
        _check(recipe)
    except ValidationError as error:
        raise RecipeError(f"{path}:{_complaint(error, read.text, read.values)}") from None
    except ValueError as error:
        raise RecipeError(f"{path}: {error}") from None
    return recipe


def _complaint(error: ValidationError, text: str, values: Mapping[str, Any]) -> str:
    """The line, the key and what is wrong: first of all keys that nobody knows, since what they
    were meant to be is missing then."""
    found = sorted(error.errors(), key=lambda one: one["type"] != "extra_forbidden")[0]
    place = [part for part in found["loc"] if part not in (_OWN, _PLUGIN, _SEVERAL)]
    what = found["msg"]
    if found["type"] == "extra_forbidden":
        key, known = str(place[-1]), _keys_at(place[:-1])
        meant = _MEANT.get(key)
        if key in known:  # of the other kind of this section
            hint = "not with what else is said there"
        else:
            hint = f"did you mean {meant!r}?" if meant in known else did_you_mean(key, known)
        what = f"unknown key; {hint}"
    elif found["type"] == "missing":
        what = "is missing"
    whose = ""
    if len(place) > 1 and place[0] == "stage" and isinstance(place[1], int):
        stage = values["stage"][place[1]]
        name = stage.get("name") if isinstance(stage, dict) else None
        whose = f" (stage {name!r})" if isinstance(name, str) else ""
    return f"{TomlLines(text).of(place)}: {'.'.join(map(str, place))}: {what}{whose}"


def _keys_at(place: Sequence[int | str]) -> list[str]:
    """The keys of the table at a place."""
    sections: list[type[BaseModel]] = [Recipe]
    for name in place:
        if isinstance(name, str):
            fields = [one.model_fields[name] for one in sections if name in one.model_fields]
            sections = [section for one in fields for section in sections_in(one.annotation)]
    return list(dict.fromkeys(key for one in sections for key in one.model_fields))


def sections_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """Sections that a field's type is made of."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from sections_in(part)


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
    if not recipe.stage and not (
        isinstance(recipe.autoencoder, AutoencoderStage) and recipe.autoencoder.decoder_steps
    ):
        raise ValueError("stage: at least one, or decoder_steps of the autoencoder")
    names = ["autoencoder", "denoiser", "text_encoder"]
    for index, stage in enumerate(recipe.stage):
        if stage.name in names:
            raise ValueError(f"stage.{index}.name: {stage.name!r} is taken")
        names.append(stage.name)
        _check_data(recipe, stage, f"stage.{index}")
        if recipe.lora is not None:
            for key in ("distil", "alignment", "validate_every"):
                if getattr(stage, key):
                    raise ValueError(f"stage.{index}.{key}: not with a lora")
        if stage.sample_prompts and not stage.sample_every:
            raise ValueError(f"stage.{index}.sample_prompts: set sample_every, the steps between")
        if (stage.distil == "steps") != (stage.few_steps is not None):
            raise ValueError(
                f'stage.{index}: distil = "steps" and [stage.few_steps] belong together'
            )


def _check_data(recipe: Recipe, stage: DenoiserStage, where: str) -> None:
    """Raise ValueError for sources that do not fit together with the data, and for settings of the
    playground where none of its clips are drawn."""
    knows_scenes = recipe.data.knows_scenes
    if not knows_scenes and not any(source.replay for source in stage.source):
        for name in ("place_dropout", "natural", "layout", "alignment", "validate_every"):
            if getattr(stage, name):
                raise ValueError(f"{where}.{name}: only the playground knows its scenes")
    for number, source in enumerate(stage.source):
        at = f"{where}.source.{number}"
        if source.buckets is not None and (recipe.data.folder is None or source.replay):
            raise ValueError(
                f"{at}.buckets: only a folder has clips of several sizes: name one with --data, or "
                "as `folder` in [data]"
            )
        for name in () if knows_scenes or source.replay else _OF_SCENES:
            if getattr(source, name):
                raise ValueError(f"{at}.{name}: only the playground knows it")
        if any(side not in range(16, source.size + 1, 16) for side in source.crop or ()):
            raise ValueError(f"{at}.crop: multiples of 16 up to the size, {source.size}")


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
