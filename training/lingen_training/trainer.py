"""`lingen train`: all stages of a recipe, each resumable, into a folder of weights."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from lingen_models.checkpoints.load_networks import VideoAutoencoder
from lingen_models.checkpoints.pretrained import FrozenAutoencoder, FrozenText, TextReader
from lingen_models.checkpoints.safetensors import (
    CheckpointError,
    load_network,
    load_tensors,
    read_metadata,
    save_network,
    save_tensors,
)
from lingen_models.checkpoints.whole_file import write_whole
from lingen_models.malloc import keep_freed_memory
from lingen_models.network_config import LinGenConfig, WordsConfig
from lingen_models.networks.denoiser import LinGen
from lingen_models.networks.embeddings import grown_positions
from lingen_models.networks.video_autoencoder import SPACE_STRIDE, TemporalAutoencoder
from lingen_models.networks.word_encoder import WordEncoder, hand_on_words
from lingen_models.precision import compute_dtype
from lingen_playground.captions import lexicon
from lingen_plugins.parts import PluginPart
from lingen_plugins.registry import Registry
from lingen_training.datasets.buckets import check_buckets
from lingen_training.datasets.world import (
    PLAYGROUND,
    FolderWorld,
    PreparedWorld,
    World,
    find_world,
)
from lingen_training.frozen_parts import (
    FoundParts,
    check_same,
    check_sizes,
    content_hash,
    encoder_hash,
    find_parts,
    fitted,
    frozen,
    load_whole,
    settle_texts,
    settled,
    text_files,
)
from lingen_training.optimization.launched import (
    RollCall,
    launched,
    launched_rank,
    launched_size,
)
from lingen_training.optimization.loop import Report
from lingen_training.optimization.parallel import Group, grouped, launched_group
from lingen_training.optimization.stage_logs import Watcher
from lingen_training.stages.adapters import add_adapter, write_adapter
from lingen_training.stages.denoising import StageData, train_stage
from lingen_training.stages.pair import Pair
from lingen_training.stages.train_autoencoder import train_autoencoder, train_decoder
from lingen_training.stored_text import StoredText
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
_AUTOENCODER = "autoencoder.safetensors"


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
    shard: bool = False,
    split_clips: bool = False,
    footage: FolderWorld | None = None,
    watchers: Sequence[Watcher] = (),
    roll_call: RollCall | None = None,
) -> Path:
    """Run a recipe into `out`; a second call goes on where the first was stopped.

    `start_from` is a folder with an earlier `denoiser.safetensors` and `text_encoder.safetensors`
    to begin from (and `autoencoder.safetensors`, which is then kept as it is). `model` is the
    denoiser's configuration in place of the recipe's. Where its mixers differ from those of
    `start_from`, they begin anew, and all else from there; its position tables may be smaller
    (`lingen_models.networks.embeddings.grown_positions`). `teacher` is the folder with the
    `denoiser.safetensors` that stages with `distil` learn from. `registry` has the text encoders
    and autoencoders that the recipe may name, whose sizes the denoiser takes, and the datasets.
    `processes` share the batches of a step, and the threads, on a CPU; by default as many as there
    are threads, and never more than a step of every stage has batches. `shard` divides parameters,
    gradients and optimizer state over the processes. With `split_clips` they work on every batch
    together, each on its slab of latent frames. Where a launcher such as torchrun has started
    this process among others, they are the processes, and all call this. `footage` is what a
    recipe with `[data] folder` trains on; where that is prepared already, its autoencoder is taken,
    unless `start_from` has the same, and stays as it is. `watchers` are told of the progress in the
    process that leads. On `roll_call` the processes of a launcher wait for one another, until they
    train together.

    Returns `out`, which then holds autoencoder, denoiser and text_encoder .safetensors, and a log
    of losses per stage (.jsonl). Raises RecipeError for a recipe that is wrong, one
    that differs in what `out` has trained already, or an `out` in use when `resume` is False;
    MissingFolderError and NotHereError for a part of a plugin that is not there.
    """
    inputs = Inputs(recipe_path, out, device, start_from, model, teacher, footage)
    recipe = read_inputs(inputs)
    parts = find_parts(recipe, recipe_path, registry)
    world = find_world(recipe, recipe_path, registry, footage)
    check_buckets(recipe, recipe_path, world)
    check_start(recipe, inputs)
    check_prepared(recipe, inputs, parts)
    count = processes_of(recipe, device, processes, split_clips=split_clips)
    count = launched_size() if launched() else count
    check_shares(recipe, recipe_path, Group(launched_rank(), count, shard, split_clips))
    out.mkdir(parents=True, exist_ok=True)
    _agree(recipe, recipe_path, out, resume)

    def prepared() -> TrainingRun:
        write_whole(out / "recipe.json", recipe.model_dump_json(indent=2).encode())
        run = _prepare(inputs, recipe, parts, world)
        if isinstance(recipe.autoencoder, AutoencoderStage):
            torch.manual_seed(recipe.seed)
            _autoencoder(run, report, watchers)
        return run

    if not recipe.stage:
        assert start_from is not None
        prepared()
        _hand_on(start_from, out)
        return out

    roll_call = roll_call or RollCall()
    roll_call.ready()
    how = {"sharded": shard, "splits_clips": split_clips}
    run = None
    if launched():
        entered = launched_group(device, **how)
    else:
        run = prepared()  # before there are others
        entered = grouped(count, _take_part, {"inputs": inputs}, **how)
    with entered as group:
        if run is None and group.leads:
            run = prepared()
        roll_call.ready()  # for the autoencoder
        run = run or _prepare(inputs, recipe, parts, world)
        tell = report if group.leads else (lambda line: None)
        _train_stages(run, tell, group, watchers, roll_call)
    return out


def check_start(recipe: Recipe, inputs: Inputs) -> None:
    """Raise RecipeError for a decoder or a LoRA without the weights that it is for, or a LoRA on
    layers that the network does not have, and NotHereError without peft."""
    path = inputs.recipe_path
    if not recipe.stage and inputs.start_from is None:
        raise RecipeError(f"{path}: name the weights whose decoder to train, with --start-from")
    if recipe.lora is None:
        return
    if inputs.start_from is None:
        raise RecipeError(f"{path}: lora: name the weights that it is for, with --start-from")
    if recipe.texts:
        raise RecipeError(f"{path}: lora: not with text encoders of plugins")
    with torch.device("meta"):
        pair = Pair(LinGen(recipe.model.config()), None)
        try:
            add_adapter(pair, recipe.lora)
        except ValueError as error:
            raise RecipeError(f"{path}: {error}") from None


def check_prepared(recipe: Recipe, inputs: Inputs, parts: FoundParts) -> None:
    """Raise RecipeError for prepared footage whose latents are not those of the autoencoder that is
    trained on, and for a decoder alone, which needs frames."""
    world, path = inputs.footage, inputs.recipe_path
    if not isinstance(world, PreparedWorld):
        return
    kept, found = inputs.out / _AUTOENCODER, inputs.start_from
    file = kept if kept.exists() or found is None else found / _AUTOENCODER
    own = isinstance(recipe.autoencoder, AutoencoderStage)
    if not recipe.stage:
        raise RecipeError(
            f"{path}: a decoder is trained on frames, and {world.folder} holds latents alone: name "
            "the footage itself with --data"
        )
    digest = parts.autoencoder.digest if parts.autoencoder is not None else None
    if digest is None and file.exists() and (own or kept.exists()):
        digest = encoder_hash(file)
    if digest is not None and digest != world.encoder_hash:
        begun = f" --start-from {found}" if own and found is not None else ""
        raise RecipeError(
            f"{world.folder} was prepared with another autoencoder: lingen data prepare "
            f"{world.footage} -o ANOTHER --recipe {path}{begun}"
        )


@dataclass(frozen=True)
class Inputs:
    """Inputs of `train`, as far as other processes need them."""

    recipe_path: Path
    out: Path
    device: str
    start_from: Path | None
    model: Mapping[str, Any] | None
    teacher: Path | None
    footage: FolderWorld | None = None


@dataclass(frozen=True)
class TrainingRun:
    """A recipe with everything that it names."""

    inputs: Inputs
    recipe: Recipe
    world: World
    config: LinGenConfig
    """The denoiser's."""
    codec: FrozenAutoencoder | None
    """The autoencoder of a plugin; None where the recipe trains one."""
    texts: Sequence[TextReader]
    """The text encoders of plugins; empty where the recipe trains one."""
    teacher: LinGen | None

    @property
    def world_name(self) -> str:
        """Tells the dataset from others; empty for the plain playground."""
        data = self.recipe.data
        if data.fingerprint is not None:
            return f"folder {data.fingerprint}"
        plain = {"folder", "fingerprint"}  # names of other datasets stay what they were
        return data.model_dump_json(exclude=plain) if data != DataSection() else ""


def read_inputs(inputs: Inputs) -> Recipe:
    """Read the recipe, with the model and the data that are given in place of its own."""
    data, footage = None, inputs.footage
    if footage is not None:
        data = DataSection(folder=str(footage.folder), fingerprint=footage.fingerprint)
    return read_recipe(inputs.recipe_path, inputs.model, data)


def _prepare(inputs: Inputs, recipe: Recipe, parts: FoundParts, world: World) -> TrainingRun:
    path, out, device = inputs.recipe_path, inputs.out, inputs.device
    codec = None
    if parts.autoencoder is not None:
        codec = settled(parts.autoencoder, out / _AUTOENCODER, FrozenAutoencoder)
    texts = _texts(inputs, parts)
    config = fitted(recipe.model.config(), codec, texts)
    check_sizes(recipe, path, config, SPACE_STRIDE if codec is None else codec.space_stride)
    teacher = _teacher(recipe, path, inputs.teacher, config, device)
    return TrainingRun(inputs, recipe, world, config, codec, texts, teacher)


def _texts(inputs: Inputs, parts: FoundParts) -> list[TextReader]:
    """The text encoders of plugins, or what prepared footage has of their features."""
    world, out, device = inputs.footage, inputs.out, inputs.device
    dtype = compute_dtype(device)
    digests = tuple(part.digest for part in parts.texts)
    if not isinstance(world, PreparedWorld) or digests != world.text_encoders:
        return [text.to(device, dtype) for text in settle_texts(parts, out)]
    found: list[TextReader] = []
    files = zip(parts.texts, text_files(parts, out), text_files(parts, world.folder), strict=True)
    for number, (part, path, prepared) in enumerate(files):
        if path.exists():
            check_same(part, path)
        else:
            write_whole(path, prepared.read_bytes())

        def build(part: PluginPart = part) -> FrozenText:
            network = part.build()
            assert isinstance(network, FrozenText)
            return network.to(device, dtype)

        width = int(read_metadata(path)["gives"]["width"])
        found.append(StoredText(partial(world.text_features, number), build, width))
    return found


def _take_part(inputs: Inputs, group: Group) -> None:
    """Train beside the process that called `train`, once it has an autoencoder."""
    recipe = read_inputs(inputs)
    path = inputs.recipe_path
    parts, world = find_parts(recipe, path, None), find_world(recipe, path, None, inputs.footage)
    run = _prepare(inputs, recipe, parts, world)
    _train_stages(run, lambda line: None, group, (), RollCall())


def _begin(run: TrainingRun, report: Report) -> tuple[Pair, StageData, str | None]:
    """Load what the stages begin with, once there is an autoencoder: the networks, the data, and of
    a LoRA the hash of the denoiser that it is for."""
    recipe, out, device = run.recipe, run.inputs.out, run.inputs.device
    start_from = run.inputs.start_from
    path = out / _AUTOENCODER
    autoencoder: VideoAutoencoder = (
        load_autoencoder(path, device) if run.codec is None else run.codec.to(device)
    )
    data = StageData(autoencoder, content_hash(path), recipe.seed, out, run.world, run.world_name)
    torch.manual_seed(recipe.seed)  # a resumed run skips what the autoencoder has drawn
    pair = pair_of(run)
    base = None
    if start_from is not None:
        begun = start_from / "denoiser.safetensors"
        anew = (".mixer.", "layout_in.")
        if new := load_network(begun, pair.denoiser, anew=anew, fit=grown_positions):
            report(f"{len(new)} tensors that {begun} lacks begin anew: {new[0]}, ...")
        if pair.text_encoder is not None:
            _load_words(start_from / _WORDS, pair.text_encoder, run.world)
        if recipe.lora is not None:
            base = content_hash(begun)
            add_adapter(pair, recipe.lora)
            own = run.world is not PLAYGROUND
            if own and (unknown := unknown_words(pair, run.world)):
                some = ", ".join(unknown[:8]) + (", ..." if len(unknown) > 8 else "")
                report(f"{len(unknown)} words of the captions mean nothing to {begun}: {some}")
    return pair, data, base


def _train_stages(
    run: TrainingRun,
    report: Report,
    group: Group,
    watchers: Sequence[Watcher],
    roll_call: RollCall,
) -> None:
    """Train the denoiser through all stages; the first process of the group writes and reports."""
    recipe, out, device = run.recipe, run.inputs.out, run.inputs.device
    pair, data, base = _begin(run, report)
    roll_call.ready()
    roll_call.end()
    if device == "cpu":
        keep_freed_memory()
    if not group.sharded:  # else copies of it are trained there
        pair.to(device)
    began = time.monotonic()
    for stage in recipe.stage:
        done = out / f"{stage.name}.averaged.safetensors"
        trained = done.exists()
        group.wait()  # all have looked before the first one writes
        keep = partial(write_weights, pair, recipe, stage.name, data.autoencoder_hash, out, base)
        if not trained:
            average = train_stage(pair, stage, data, report, keep, run.teacher, group, watchers)
            if group.leads:
                save_tensors(done, average, {})
            group.wait()
        pair.float().load_state_dict(load_tensors(done)[0])
        if group.leads:
            keep()
            report(f"{stage.name}: done, {(time.monotonic() - began) / 60:.1f} min in this run")


def processes_of(
    recipe: Recipe, device: str, requested: int | None, *, split_clips: bool = False
) -> int:
    """Processes that train together: one on a GPU, or for a decoder alone; else `requested`, or as
    many as have work."""
    if device != "cpu" or not recipe.stage:
        return 1
    wanted = torch.get_num_threads() if requested is None else requested
    return wanted if split_clips else min(wanted, *(stage.batches for stage in recipe.stage))


def check_shares(recipe: Recipe, path: Path, group: Group) -> None:
    """Raise RecipeError for what the processes of a training cannot share."""
    if not recipe.stage:
        _check_alone(path, group)
        return
    if group.splits_clips:
        _check_slabs(recipe, path, group)
    if not group.sharded:
        return
    if recipe.lora is not None:
        raise RecipeError(f"{path}: a LoRA is small, and not divided: leave out --shard")
    if group.splits_clips:
        return  # all work on the same batches, and what they draw is alike
    for stage in recipe.stage:
        if stage.batches % group.size:
            raise RecipeError(
                f"{path}: stage {stage.name} has {stage.batches} batches in a step, which "
                f"{group.size} processes do not share evenly: batches = {group.size}"
            )
        if stage.distil is not None:
            raise RecipeError(
                f"{path}: stage {stage.name} distils, which --shard cannot: leave out --shard"
            )
        if stage.layout and any(source.replay for source in stage.source):
            raise RecipeError(
                f"{path}: stage {stage.name} has layouts in some of its sources alone, which "
                "--shard cannot: layout = 0, or leave out --shard"
            )


def _check_alone(path: Path, group: Group) -> None:
    """Raise RecipeError where several processes would train a decoder, which one does."""
    one = f"{path}: has no [[stage]], and one process trains the decoder"
    for name, given in (("--split-clips", group.splits_clips), ("--shard", group.sharded)):
        if given:
            raise RecipeError(f"{one}: leave out {name}")
    if group.size > 1:
        raise RecipeError(f"{one}: start it without torchrun, on one device")


def _check_slabs(recipe: Recipe, path: Path, group: Group) -> None:
    """Raise RecipeError where the processes cannot divide clips among them."""
    if group.size < 2:
        raise RecipeError(
            f"{path}: one process has nothing to split clips with: --processes 2, or torchrun"
        )
    if recipe.model.config().mixer != "mate":
        raise RecipeError(
            f"{path}: full attention cannot be split over processes: leave out --split-clips"
        )
    for stage in recipe.stage:
        if stage.distil is not None:
            raise RecipeError(
                f"{path}: stage {stage.name} distils, which --split-clips cannot: leave it out"
            )
    longest = max(
        length
        for stage in recipe.stage
        for source in stage.source
        for length in (source.buckets.latent_frames if source.buckets else [source.latent_frames])
    )
    if longest < group.size:
        raise RecipeError(
            f"{path}: clips of at most {longest} latent frames cannot be split over {group.size} "
            f"processes: --processes {longest}, or leave out --split-clips"
        )


def write_weights(
    pair: Pair,
    recipe: Recipe,
    last_stage: str,
    autoencoder_hash: str,
    out: Path,
    base_sha256: str | None = None,
) -> None:
    """Write the denoiser and its own text encoder in bf16, with what made them in the metadata; of
    a pair with a LoRA, only that, with the hash of the denoiser that it is for."""
    if pair.has_adapter:
        assert base_sha256 is not None
        write_adapter(pair, recipe, last_stage, base_sha256, out)
        return
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


def _hand_on(start_from: Path, out: Path) -> None:
    """Copy denoiser and text encoder into `out`, for the autoencoder there, whose latents are those
    that they were trained on."""
    changed = content_hash(out / _AUTOENCODER)
    for name in ("denoiser", "text_encoder"):
        source = start_from / f"{name}.safetensors"
        tensors, metadata = load_tensors(source)[0], read_metadata(source)
        training = {**metadata.get("training", {}), "autoencoder_sha256": changed}
        text = json.dumps({**metadata, "training": training})
        save_tensors(out / f"{name}.safetensors", tensors, {"lingen": text})


def load_autoencoder(path: Path, device: str) -> TemporalAutoencoder:
    """A frozen autoencoder, in the dtype that the device computes in."""
    return frozen(load_whole(path, TemporalAutoencoder), device)


def pair_of(run: TrainingRun) -> Pair:
    """Build the networks that `run` trains, with weights that were drawn."""
    denoiser = LinGen(run.config)
    if not isinstance(run.recipe.text, TextSection):
        return Pair(denoiser, None, run.texts)
    natural = any(stage.natural for stage in run.recipe.stage)
    if run.world is PLAYGROUND and not natural:
        words = set(lexicon.plain_vocabulary())
    else:
        words = set(run.world.vocabulary())
    if run.recipe.lora is not None:
        words = set()  # a LoRA brings no words: those of its base are all there are
    elif any(source.replay for stage in run.recipe.stage for source in stage.source):
        words |= set(PLAYGROUND.vocabulary())
    if run.inputs.start_from is not None:
        words |= set(_words_of(run.inputs.start_from / _WORDS))
    return Pair(denoiser, WordEncoder(run.recipe.text.config(tuple(sorted(words)))))


def unknown_words(pair: Pair, world: World) -> list[str]:
    """Words of a world's captions that mean nothing to the text encoder of `pair`."""
    if pair.text_encoder is None:
        return []
    return [word for word in world.vocabulary() if pair.text_encoder.unknown_words(word)]


def _words_of(path: Path) -> tuple[str, ...]:
    """The words of the encoder in a file."""
    return WordsConfig.from_dict(read_metadata(path)["config"]).words


def _load_words(path: Path, encoder: WordEncoder, world: World) -> None:
    """Fill `encoder` from a file, whose words are some of its own."""
    config = encoder.config
    if dataclasses.replace(config, words=_words_of(path)) == config:
        load_network(path, encoder)
        return
    earlier = load_whole(path, WordEncoder)
    if dataclasses.replace(earlier.config, words=config.words) != config:
        raise CheckpointError(f"weights do not fit the model: {path} has another size or depth")
    hand_on_words(earlier, encoder, lexicon.synonyms() if world is PLAYGROUND else {})


def _teacher(
    recipe: Recipe, path: Path, folder: Path | None, own: LinGenConfig, device: str
) -> LinGen | None:
    """The frozen network that stages with `distil` learn from; None where there are none."""
    if teacher_config(recipe, path, folder, own) is None:
        return None
    assert folder is not None
    return frozen(load_whole(folder / "denoiser.safetensors", LinGen), device)


def teacher_config(
    recipe: Recipe, path: Path, folder: Path | None, own: LinGenConfig
) -> LinGenConfig | None:
    """Read the configuration of the network that stages with `distil` learn from; None where there
    are none.

    Raises RecipeError without a folder, and for a network of another size than `own`.
    """
    if all(stage.distil is None for stage in recipe.stage):
        return None
    if folder is None:
        raise RecipeError(f"{path}: has a stage that distils: name a folder with --teacher")
    file = folder / "denoiser.safetensors"
    found = LinGenConfig.from_dict(read_metadata(file)["config"])
    for name in ("width", "depth", "patch", "latent_channels", "text_dims"):
        if getattr(found, name) != getattr(own, name):
            raise RecipeError(
                f"{file}: its {name} is {getattr(found, name)}, that of the model to "
                f"train is {getattr(own, name)}"
            )
    return found


def _agree(recipe: Recipe, path: Path, out: Path, resume: bool) -> None:
    """Refuse to go on in `out` with another recipe than was begun."""
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
            for name in ("seed", "data", "autoencoder", "text", "model", "lora")
            if _said(getattr(begun, name)) != _said(getattr(recipe, name))
        ]
        changed += [
            f"stage {stage.name}"
            for stage in recipe.stage
            if (out / f"{stage.name}.averaged.safetensors").exists()
            and not ((then := old.get(stage.name)) and then.trains_as(stage))
        ]
        if changed:
            raise RecipeError(
                f"{path}: {changed[0]} differs from what {out} has trained; choose another folder"
            )


def _said(section: Any) -> Any:
    """A section without where its weights lie: what they are is told by their sums."""
    if isinstance(section, tuple):
        return tuple(map(_said, section))
    if isinstance(section, PartSection):
        return section.model_copy(update={"weights": None})
    return section


def _autoencoder(run: TrainingRun, report: Report, watchers: Sequence[Watcher]) -> None:
    recipe, out, start_from = run.recipe, run.inputs.out, run.inputs.start_from
    path = out / _AUTOENCODER
    if path.exists():
        return
    stage, seed, device = recipe.autoencoder, recipe.seed, run.inputs.device
    assert isinstance(stage, AutoencoderStage)
    given = None if start_from is None else start_from / path.name
    if isinstance(run.world, PreparedWorld):
        if given is None or not given.exists():
            given = run.world.autoencoder
        if stage.decoder_steps:
            report("decoder: stays as it is, since prepared footage has no frames to train it on")
            stage = stage.model_copy(update={"decoder_steps": 0})
    whole = out / "autoencoder.whole.safetensors" if stage.decoder_steps else path
    if not whole.exists() and given is not None and given.exists():
        write_whole(whole, given.read_bytes())
    elif not whole.exists():
        train_autoencoder(stage, seed, out, device, report, run.world, whole.name, watchers)
    if stage.decoder_steps:
        train_decoder(stage, whole, seed, out, device, report, run.world, watchers)
