"""`lingen train`: all stages of a recipe, each resumable, into a folder of weights."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from lingen_models.checkpoints.load_networks import VideoAutoencoder
from lingen_models.checkpoints.pretrained import FrozenAutoencoder, FrozenText
from lingen_models.checkpoints.safetensors import (
    CheckpointError,
    build_network,
    load_network,
    load_tensors,
    read_metadata,
    save_network,
    save_tensors,
)
from lingen_models.checkpoints.whole_file import write_whole
from lingen_models.malloc import keep_freed_memory
from lingen_models.network_config import LinGenConfig, TAEConfig, WordsConfig
from lingen_models.networks.denoiser import LinGen
from lingen_models.networks.video_autoencoder import SPACE_STRIDE, TemporalAutoencoder
from lingen_models.networks.word_encoder import WordEncoder, hand_on_words
from lingen_models.precision import compute_dtype
from lingen_playground.captions import lexicon
from lingen_plugins.registry import Registry
from lingen_training.datasets.world import PLAYGROUND, FolderWorld, World, find_world
from lingen_training.frozen_parts import (
    FoundParts,
    check_sizes,
    content_hash,
    find_parts,
    fitted,
    settle_codec,
    settle_texts,
)
from lingen_training.optimization.curves import draw_curves
from lingen_training.optimization.loop import Report
from lingen_training.optimization.parallel import Group, grouped
from lingen_training.stages.denoising import StageData, train_stage
from lingen_training.stages.pair import Pair
from lingen_training.stages.train_autoencoder import train_autoencoder, train_decoder
from lingen_training.training_recipe import (
    AutoencoderStage,
    DataSection,
    PartSection,
    Recipe,
    RecipeError,
    TextSection,
    read_recipe,
)

_WORDS = "text_encoder.safetensors"


def train(
    recipe_path: Path,
    out: Path,
    *,
    device: str = "cpu",
    report: Report = print,
    resume: bool = True,
    start_from: Path | None = None,
    model: Mapping[str, Any] | None = None,
    teacher: Path | None = None,
    registry: Registry | None = None,
    processes: int | None = None,
    data: Path | None = None,
    look: Callable[[Path], FolderWorld] | None = None,
) -> Path:
    """Run a recipe into `out`; a second call goes on where the first was stopped.

    `start_from` is a folder with an earlier `denoiser.safetensors` and `text_encoder.safetensors`
    to begin from (and `autoencoder.safetensors`, which is then kept as it is). `model` is the
    denoiser's configuration in place of the recipe's. Where its mixers differ from those of
    `start_from`, they begin anew, and all else from there. `teacher` is the folder with the
    `denoiser.safetensors` that stages with `distil` learn from. `registry` has the text encoders
    and autoencoders that the recipe may name, whose sizes the denoiser takes, and the datasets.
    `processes` share the batches of a step, and the threads, on a CPU; by default as many as there
    are threads, and never more than a step of every stage has batches. `data` is a folder to train
    on in place of the recipe's data; `look` reads it, or the one that the recipe names.

    Returns `out`, which then holds autoencoder, denoiser and text_encoder .safetensors, a log of
    losses per stage (.jsonl) and the curves. Raises RecipeError for a recipe that is wrong, one
    that differs in what `out` has trained already, or an `out` in use when `resume` is False;
    MissingFolderError and NotHereError for a part of a plugin that is not there.
    """
    recipe, footage = _read(recipe_path, model, data, look)
    inputs = Inputs(recipe_path, recipe, out, device, start_from, teacher, footage)
    parts = find_parts(recipe, recipe_path, registry)
    world = find_world(recipe, recipe_path, registry, footage)
    out.mkdir(parents=True, exist_ok=True)
    _agree(recipe, recipe_path, out, resume)
    run = _prepare(inputs, parts, world)
    if isinstance(recipe.autoencoder, AutoencoderStage):
        torch.manual_seed(recipe.seed)
        _autoencoder(recipe, out, device, report, start_from, run.world)
    count = _processes(recipe, device, processes)
    with grouped(count, _take_part, {"inputs": inputs}) as group:
        _train_stages(run, report, group)
    return out


@dataclass(frozen=True)
class Inputs:
    """Inputs of `train`, as far as other processes need them."""

    recipe_path: Path
    recipe: Recipe
    out: Path
    device: str
    start_from: Path | None
    teacher: Path | None
    footage: FolderWorld | None = None


@dataclass(frozen=True)
class TrainingRun:
    """A recipe with everything that it names."""

    inputs: Inputs
    world: World
    config: LinGenConfig
    """The denoiser's."""
    codec: FrozenAutoencoder | None
    """The autoencoder of a plugin; None where the recipe trains one."""
    texts: Sequence[FrozenText]
    """The text encoders of plugins; empty where the recipe trains one."""
    teacher: LinGen | None

    @property
    def recipe(self) -> Recipe:
        """Recipe of the run."""
        return self.inputs.recipe

    @property
    def world_name(self) -> str:
        """Tells the dataset from others; empty for the plain playground."""
        data = self.recipe.data
        if data.fingerprint is not None:
            return f"folder {data.fingerprint}"
        plain = {"folder", "fingerprint"}  # names of other datasets stay what they were
        return data.model_dump_json(exclude=plain) if data != DataSection() else ""


def _read(
    path: Path,
    model: Mapping[str, Any] | None,
    data: Path | None,
    look: Callable[[Path], FolderWorld] | None,
) -> tuple[Recipe, FolderWorld | None]:
    """Read a recipe, and the folder that it is to be trained on, if there is one."""
    found: list[FolderWorld] = []

    def settle(said: DataSection) -> DataSection:
        folder = path.parent / said.folder if data is None and said.folder is not None else data
        if folder is None or look is None:
            return said
        footage = look(folder)
        found.append(footage)
        return DataSection(folder=str(footage.folder), fingerprint=footage.fingerprint)

    return read_recipe(path, model, settle), found[0] if found else None


def _prepare(inputs: Inputs, parts: FoundParts, world: World) -> TrainingRun:
    path, out, device, recipe = inputs.recipe_path, inputs.out, inputs.device, inputs.recipe
    codec = settle_codec(parts, out)
    texts = [text.to(device, compute_dtype(device)) for text in settle_texts(parts, out)]
    config = fitted(recipe.model.config(), codec, texts)
    check_sizes(recipe, path, config, SPACE_STRIDE if codec is None else codec.space_stride)
    teacher = _teacher(recipe, path, inputs.teacher, config, device)
    return TrainingRun(inputs, world, config, codec, texts, teacher)


def _take_part(inputs: Inputs, group: Group) -> None:
    """Train beside the process that called `train`, once it has an autoencoder."""
    recipe, path = inputs.recipe, inputs.recipe_path
    parts, world = find_parts(recipe, path, None), find_world(recipe, path, None, inputs.footage)
    run = _prepare(inputs, parts, world)
    _train_stages(run, lambda line: None, group)


def _train_stages(run: TrainingRun, report: Report, group: Group) -> None:
    """Train the denoiser through all stages; the first process of the group writes and reports."""
    recipe, out, device = run.recipe, run.inputs.out, run.inputs.device
    start_from = run.inputs.start_from
    if device == "cpu":
        keep_freed_memory()
    path = out / "autoencoder.safetensors"
    autoencoder: VideoAutoencoder = (
        load_autoencoder(path, device) if run.codec is None else run.codec.to(device)
    )
    data = StageData(autoencoder, content_hash(path), recipe.seed, out, run.world, run.world_name)
    torch.manual_seed(recipe.seed)  # a resumed run skips what the autoencoder has drawn
    pair = _pair(run)
    if start_from is not None:
        begun = start_from / "denoiser.safetensors"
        if new := load_network(begun, pair.denoiser, anew=(".mixer.", "layout_in.")):
            report(f"{len(new)} tensors that {begun} lacks begin anew: {new[0]}, ...")
        if pair.text_encoder is not None:
            _load_words(start_from / _WORDS, pair.text_encoder, run.world)
    pair.to(device)
    began = time.monotonic()
    for stage in recipe.stage:
        done = out / f"{stage.name}.averaged.safetensors"
        trained = done.exists()
        group.wait()  # all have looked before the first one writes
        if not trained:
            keep = partial(write_weights, pair, recipe, stage.name, data.autoencoder_hash, out)
            average = train_stage(pair, stage, data, report, keep, run.teacher, group)
            if group.leads:
                save_tensors(done, average, {})
                draw_curves(out)
            group.wait()
        pair.float().load_state_dict(load_tensors(done)[0])
        if group.leads:
            write_weights(pair, recipe, stage.name, data.autoencoder_hash, out)
            report(f"{stage.name}: done, {(time.monotonic() - began) / 60:.1f} min in this run")


def _processes(recipe: Recipe, device: str, asked: int | None) -> int:
    """Processes that train together: one on a GPU; else `asked`, or as many as have work."""
    if device != "cpu":
        return 1
    least = min(stage.batches for stage in recipe.stage)
    return min(least, torch.get_num_threads() if asked is None else asked)


def write_weights(
    pair: Pair, recipe: Recipe, last_stage: str, autoencoder_hash: str, out: Path
) -> None:
    """Write the denoiser and its own text encoder in bf16, with what made them in the metadata."""
    training: dict[str, Any] = {
        "recipe": json.loads(recipe.model_dump_json()),
        "last_stage": last_stage,
        "autoencoder_sha256": autoencoder_hash,
        "torch": torch.__version__,
    }
    for name, kind, network in (
        ("denoiser", "lingen", pair.denoiser),
        ("text_encoder", "words", pair.text_encoder),
    ):
        if network is None:
            continue
        save_network(
            out / f"{name}.safetensors",
            network,
            {"kind": kind, "config": network.config.to_dict(), "training": training},
            torch.bfloat16,
        )


def load_autoencoder(path: Path, device: str) -> TemporalAutoencoder:
    """A frozen autoencoder, in the dtype that the device computes in."""
    network = build_network(
        path, read_metadata(path), lambda config: TemporalAutoencoder(TAEConfig.from_dict(config))
    )
    assert isinstance(network, TemporalAutoencoder)
    load_network(path, network)
    return network.to(device, compute_dtype(device)).eval().requires_grad_(False)


def _pair(run: TrainingRun) -> Pair:
    denoiser = LinGen(run.config)
    if not isinstance(run.recipe.text, TextSection):
        return Pair(denoiser, None, run.texts)
    natural = any(stage.natural for stage in run.recipe.stage)
    if run.world is PLAYGROUND and not natural:
        words = set(lexicon.plain_vocabulary())
    else:
        words = set(run.world.vocabulary())
    if any(source.replay for stage in run.recipe.stage for source in stage.source):
        words |= set(PLAYGROUND.vocabulary())
    if run.inputs.start_from is not None:
        words |= set(_words_of(run.inputs.start_from / _WORDS))
    return Pair(denoiser, WordEncoder(run.recipe.text.config(tuple(sorted(words)))))


def _words_of(path: Path) -> tuple[str, ...]:
    """The words of the encoder in a file."""
    return WordsConfig.from_dict(read_metadata(path)["config"]).words


def _load_words(path: Path, encoder: WordEncoder, world: World) -> None:
    """Fill `encoder` from a file, whose words are some of its own."""
    config = encoder.config
    if dataclasses.replace(config, words=_words_of(path)) == config:
        load_network(path, encoder)
        return
    earlier = build_network(
        path, read_metadata(path), lambda config: WordEncoder(WordsConfig.from_dict(config))
    )
    assert isinstance(earlier, WordEncoder)
    load_network(path, earlier)
    if dataclasses.replace(earlier.config, words=config.words) != config:
        raise CheckpointError(f"weights do not fit the model: {path} has another size or depth")
    hand_on_words(earlier, encoder, lexicon.synonyms() if world is PLAYGROUND else {})


def _teacher(
    recipe: Recipe, path: Path, folder: Path | None, own: LinGenConfig, device: str
) -> LinGen | None:
    """The frozen network that stages with `distil` learn from; None where there are none."""
    if all(stage.distil is None for stage in recipe.stage):
        return None
    if folder is None:
        raise RecipeError(f"{path}: has a stage that distils: name a folder with --teacher")
    file = folder / "denoiser.safetensors"
    network = build_network(
        file, read_metadata(file), lambda config: LinGen(LinGenConfig.from_dict(config))
    )
    assert isinstance(network, LinGen)
    load_network(file, network)
    for name in ("width", "depth", "patch", "latent_channels", "text_dims"):
        if getattr(network.config, name) != getattr(own, name):
            raise RecipeError(
                f"{file}: its {name} is {getattr(network.config, name)}, that of the model to "
                f"train is {getattr(own, name)}"
            )
    return network.to(device, compute_dtype(device)).eval().requires_grad_(False)


def _agree(recipe: Recipe, path: Path, out: Path, resume: bool) -> None:
    """Keep the recipe in `out`, and refuse to go on with another one than was begun."""
    kept = out / "recipe.json"
    if kept.exists():
        if not resume:
            raise RecipeError(f"{out}: holds a training already; choose another folder")
        try:
            begun = Recipe.model_validate_json(kept.read_bytes())
        except ValueError:
            raise RecipeError(f"{kept}: not a recipe; choose another folder") from None
        old = {stage.name: stage for stage in begun.stage}
        changed = [
            name
            for name in ("seed", "data", "autoencoder", "text", "model")
            if _said(getattr(begun, name)) != _said(getattr(recipe, name))
        ]
        changed += [
            f"stage {stage.name}"
            for stage in recipe.stage
            if (out / f"{stage.name}.averaged.safetensors").exists()
            and old.get(stage.name) != stage
        ]
        if changed:
            raise RecipeError(
                f"{path}: {changed[0]} differs from what {out} has trained; choose another folder"
            )
    write_whole(kept, recipe.model_dump_json(indent=2).encode())


def _said(section: Any) -> Any:
    """A section without where its weights lie: what they are is told by their sums."""
    if isinstance(section, tuple):
        return tuple(map(_said, section))
    if isinstance(section, PartSection):
        return section.model_copy(update={"weights": None})
    return section


def _autoencoder(
    recipe: Recipe,
    out: Path,
    device: str,
    report: Report,
    start_from: Path | None,
    world: World,
) -> Path:
    path = out / "autoencoder.safetensors"
    if path.exists():
        return path
    stage, seed = recipe.autoencoder, recipe.seed
    assert isinstance(stage, AutoencoderStage)
    whole = out / "autoencoder.whole.safetensors" if stage.decoder_steps else path
    given = None if start_from is None else start_from / path.name
    if not whole.exists() and given is not None and given.exists():
        write_whole(whole, given.read_bytes())
    elif not whole.exists():
        train_autoencoder(stage, seed, out, device, report, world, whole.name)
    if stage.decoder_steps:
        train_decoder(stage, whole, seed, out, device, report, world)
    return path
