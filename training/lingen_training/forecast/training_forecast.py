"""Forecast of a training from its recipe: nothing is rendered, encoded, read whole or written."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, cast

import torch

from lingen_models.checkpoints.load_networks import VideoAutoencoder
from lingen_models.flops import Shape
from lingen_models.network_config import LinGenConfig, TAEConfig
from lingen_models.precision import compute_dtype
from lingen_plugins.contracts import Autoencoder
from lingen_plugins.registry import Registry
from lingen_training.datasets.buckets import Draw, check_buckets, draws_of
from lingen_training.datasets.clip_cache import Shard, clips_at_once
from lingen_training.datasets.world import PreparedWorld, find_world, sides
from lingen_training.forecast import held_memory
from lingen_training.forecast.device_kinds import DeviceKind
from lingen_training.forecast.stage_costs import (
    Parameters,
    autoencoder_flops,
    batch_flops,
    meta_autoencoder,
    meta_denoiser,
    parameters_of,
)
from lingen_training.frozen_parts import check_sizes, fitted, part_records
from lingen_training.optimization.parallel import Group
from lingen_training.stages.adapters import add_adapter
from lingen_training.stages.denoising import StageData
from lingen_training.stages.distillation import train_only
from lingen_training.stages.pair import Pair
from lingen_training.trainer import (
    Inputs,
    TrainingRun,
    check_shares,
    check_start,
    pair_of,
    processes_of,
    read_inputs,
    teacher_config,
)
from lingen_training.training_recipe import AutoencoderStage, DenoiserStage

_WORDS = 12
"""Words of a caption of the playground."""
PROCESS = 510_000_000
"""Bytes of a process of torch on a CPU by itself: its libraries, and what they allocate once."""
FRAGMENTATION = 1.2
"""Resident memory over the tensors of a step on a CPU, for the gaps of malloc. Measured."""


class ForecastError(ValueError):
    """Devices that a recipe cannot be trained on; the message is one line."""


@dataclass(frozen=True)
class StageForecast:
    """One stage. `memory` is bytes on each device, by what holds them; `tokens` are those of all
    steps."""

    name: str
    steps: int
    tokens_per_step: float
    flops: float
    seconds: float
    memory: dict[str, int]

    @property
    def tokens(self) -> float:
        """Tokens of all steps."""
        return self.tokens_per_step * self.steps

    @property
    def peak(self) -> int:
        """Bytes on each device."""
        return sum(self.memory.values())

    def to_dict(self) -> dict[str, Any]:
        """Return what `--json` prints of it."""
        return {
            "name": self.name,
            "steps": self.steps,
            "tokens_per_step": round(self.tokens_per_step),
            "tokens": round(self.tokens),
            "flops": self.flops,
            "seconds": self.seconds,
            "memory": {**self.memory, "total": self.peak},
        }


@dataclass(frozen=True)
class Forecast:
    """A whole training on `devices` devices of one kind. Bytes and seconds."""

    recipe: str
    kind: DeviceKind
    devices: int
    processes: int
    split: int
    """Devices, or processes of one, that divide every clip; 1 where none does."""
    dtype: str
    parameters: int
    stages: tuple[StageForecast, ...]
    latents: int
    checkpoints: int
    not_counted: tuple[str, ...] = field(default=())

    @property
    def days(self) -> float:
        """Time of all stages."""
        return sum(stage.seconds for stage in self.stages) / 86400

    @property
    def peak(self) -> int:
        """Bytes on each device, in all of its processes."""
        return self.processes * max(stage.peak for stage in self.stages)

    def to_dict(self) -> dict[str, Any]:
        """Return what `--json` prints."""
        return {
            "recipe": self.recipe,
            "device": {
                "kind": self.kind.name,
                "count": self.devices,
                "processes": self.processes,
                "split": self.split,
                "dtype": self.dtype,
                "peak_flops": self.kind.peak_flops,
                "utilization": self.kind.utilization,
                "memory": self.kind.memory,
            },
            "parameters": self.parameters,
            "stages": [stage.to_dict() for stage in self.stages],
            "tokens": round(sum(stage.tokens for stage in self.stages)),
            "flops": sum(stage.flops for stage in self.stages),
            "memory": self.peak,
            "fits": self.peak <= self.kind.memory,
            "disk": {"latents": self.latents, "checkpoints": self.checkpoints},
            "days": self.days,
            "not_counted": list(self.not_counted),
        }


def forecast(
    inputs: Inputs,
    kind: DeviceKind,
    devices: int = 1,
    *,
    registry: Registry | None = None,
    processes: int | None = None,
    split_clips: bool = False,
) -> Forecast:
    """Tell what `lingen_training.trainer.train` of these inputs would take on `devices` devices.

    On more than one, the steps of the optimizers, and with them master weights, EMA and moments,
    are taken to be divided among the devices. With `split_clips` these, or the processes of a CPU,
    divide every clip. Raises RecipeError as `train` does, and ForecastError for more devices than a
    step has batches.
    """
    recipe, path = read_inputs(inputs), inputs.recipe_path
    codec, texts = part_records(recipe, path, registry)
    config = fitted(recipe.model.config(), codec, texts)
    check_sizes(recipe, path, config, 8 if codec is None else codec.space_stride)
    if kind.is_cpu:
        processes = processes_of(recipe, inputs.device, processes, split_clips=split_clips)
    together = processes or 1 if kind.is_cpu else devices
    check_shares(recipe, path, Group(0, together, splits_clips=split_clips))
    for stage in recipe.stage:
        if devices > stage.batches and not split_clips:
            raise ForecastError(
                f"{path}: stage {stage.name!r}: a step has {stage.batches} batches, too few for "
                f"{devices} devices: set batches = {devices}, or name fewer devices"
            )
    teacher = teacher_config(recipe, path, inputs.teacher, config)
    world = find_world(recipe, path, registry, inputs.footage)
    check_buckets(recipe, path, world)
    check_start(recipe, inputs)
    run = TrainingRun(inputs, recipe, world, config, None, (), None)
    dtype = torch.bfloat16 if not kind.is_cpu else compute_dtype("cpu")
    text_tokens = tuple(int(text.config.get("max_tokens", _WORDS)) for text in texts) or (_WORDS,)
    split = together if split_clips else 1
    costs = _Costs(run, kind, devices, dtype, teacher, text_tokens, codec, split)
    first = costs.autoencoder()
    stages = [*([] if first is None else [first]), *map(costs.stage, recipe.stage)]
    files = {shard: draw for stage in recipe.stage for shard, draw in costs.shards(stage).items()}
    latents = sum(
        costs.latent_bytes(shard, draw)
        for shard, draw in files.items()
        if not isinstance(draw.world, PreparedWorld)
    )
    counted = parameters_of(costs.pair)
    own = isinstance(recipe.autoencoder, AutoencoderStage)
    missing = [f"text encoder {record.name}" for record in texts]
    missing += [] if own else ["encoding clips, and the autoencoder that does"]
    return Forecast(
        recipe.name,
        kind,
        devices,
        processes or 1 if kind.is_cpu else 1,
        split,
        str(dtype).removeprefix("torch."),
        counted.all,
        tuple(stages),
        latents,
        len(recipe.stage) * (counted.state_bytes + 4 * counted.trained),
        tuple(missing),
    )


@dataclass(frozen=True)
class _Costs:
    """Costs of the stages of a run."""

    run: TrainingRun
    kind: DeviceKind
    devices: int
    dtype: torch.dtype
    teacher: LinGenConfig | None
    text_tokens: tuple[int, ...]
    """Of a prompt for each text encoder, at most."""
    codec: Autoencoder | None
    """The record of a plugin's autoencoder."""
    split: int
    """Devices, or processes of one, that divide every clip."""

    @cached_property
    def pair(self) -> Pair:
        """The networks that are trained, on the meta device."""
        with torch.device("meta"):
            pair = pair_of(self.run)
            if self.run.recipe.lora is not None:
                add_adapter(pair, self.run.recipe.lora)
            return pair

    def own_codec(self) -> tuple[TAEConfig, int] | None:
        """The configuration of the recipe's own autoencoder, and its parameters."""
        section = self.run.recipe.autoencoder
        if not isinstance(section, AutoencoderStage):
            return None
        return section.config(), parameters_of(meta_autoencoder(section.config())).all

    def autoencoder(self) -> StageForecast | None:
        """The training of the autoencoder, or of its decoder; None where it is a plugin's, or there
        already."""
        section, inputs = self.run.recipe.autoencoder, self.run.inputs
        file = "autoencoder.safetensors"
        if not isinstance(section, AutoencoderStage) or (inputs.out / file).exists():
            return None
        if isinstance(inputs.footage, PreparedWorld):  # it has one
            return None
        if inputs.start_from is not None and (inputs.start_from / file).exists():
            if not section.decoder_steps:
                return None
            section = section.model_copy(update={"steps": 0})  # the decoder alone
        counted = parameters_of(meta_autoencoder(section.config()))
        sizes = ((section.batch, section.size), (section.full_batch, section.full_size))
        cases = [(batch, section.frames, size) for batch, size in sizes if section.steps]
        if section.decoder_steps:
            cases += [(max(1, batch // 2), section.decoder_frames, size) for batch, size in sizes]
        held = max(
            held_memory.held_by_autoencoder_step(section.config(), *case, self.dtype)
            for case in cases
        )
        flops = autoencoder_flops(section)
        memory = self.memory(counted, held - counted.all * self.dtype.itemsize, 0, 0)
        steps = section.steps + section.decoder_steps
        return StageForecast("autoencoder", steps, 0, flops, flops / self.kind.flops, memory)

    def stage(self, stage: DenoiserStage) -> StageForecast:
        """One stage of the denoiser."""
        config, pair = self.run.config, self.pair
        train_only(pair, stage.distil)
        draws = draws_of(stage, self.run.world, self.run.world_name)
        shares = sum(draw.source.share for draw in draws)
        counted = parameters_of(pair)
        gradients = counted.all * self.dtype.itemsize  # those that a step of the network leaves
        tokens = flops = each = held = clips = 0.0
        for draw in draws:
            source = draw.source
            part, shape = source.share / shares, self.shape(draw)
            count = shape[0] * shape[1] * shape[2] // (config.patch[1] * config.patch[2])
            tokens += part * source.batch * count
            products = part * batch_flops(
                stage,
                config,
                self.teacher,
                source.batch,
                shape,
                self.text_tokens,
                frozen=pair.has_adapter,
            )
            divided = self.split if shape[0] >= self.split else 1
            flops += products
            each += products * -(-shape[0] // divided) / shape[0]
            step = held_memory.held_by_step(
                config,
                source.batch,
                shape,
                self.dtype,
                self.text_tokens,
                stage.checkpoint_blocks,
                divided,
            )
            held = max(held, step - gradients, self.encoding(draw))
        clips = sum(self.latent_bytes(shard, draw) for shard, draw in self.shards(stage).items())
        flops *= stage.batches
        rounds = -(-stage.batches // self.devices)  # of batches, one on each device
        if self.split > 1:  # all on each; the processes of a CPU share its speed
            rounds = stage.batches * (self.split if self.kind.is_cpu else 1)
        seconds = stage.steps * each * rounds / self.kind.flops
        others = 0
        if (own := self.own_codec()) is not None:
            others += own[1] * self.dtype.itemsize
        if self.teacher is not None:
            others += parameters_of(meta_denoiser(self.teacher)).all * self.dtype.itemsize
        memory = self.memory(counted, int(held), int(clips), others)
        return StageForecast(
            stage.name, stage.steps, tokens * stage.batches, stage.steps * flops, seconds, memory
        )

    def shape(self, draw: Draw) -> Shape:
        """Latents of a clip."""
        source = draw.source
        wide, high = source.crop or sides(draw.size)
        stride = 8 if self.codec is None else self.codec.space_stride
        return source.latent_frames, high // stride, wide // stride

    def encoding(self, draw: Draw) -> int:
        """Bytes that are held while clips are encoded; 0 where a plugin's autoencoder does it, or
        they are encoded already."""
        own = self.own_codec()
        if own is None or isinstance(draw.world, PreparedWorld):
            return 0
        frames = 1 + 8 * (draw.source.cached_frames - 1)
        at_once = min(draw.source.clips, clips_at_once(frames, draw.size))
        size = sides(draw.size)
        return held_memory.held_by_encoding(own[0], at_once, frames, size, self.dtype)

    def shards(self, stage: DenoiserStage) -> dict[Shard, Draw]:
        """Files of encoded clips; sources may share some."""
        data = StageData(
            cast(VideoAutoencoder, None),  # asked for nothing: names and numbers of clips alone
            "",
            self.run.recipe.seed,
            self.run.inputs.out,
            self.run.world,
            self.run.world_name,
        )
        return {shard: draw for draw in data.draws(stage) for shard in data.cache(draw).shards()}

    def latent_bytes(self, shard: Shard, draw: Draw) -> int:
        """Size of a file of encoded clips."""
        stride = 8 if self.codec is None else self.codec.space_stride
        wide, high = (side // stride for side in sides(draw.size))
        numbers = shard.count * draw.source.cached_frames * wide * high
        return 2 * numbers * self.run.config.latent_channels

    def memory(self, counted: Parameters, held: int, clips: int, others: int) -> dict[str, int]:
        """Bytes on a device by what holds them; `held` are those of a step, without gradients.

        Clips, the process, and a file that is being written are not in the memory of a GPU.
        """
        size = self.dtype.itemsize
        gradients = counted.trained * size
        update = (counted.trained * 4 + counted.muon * size) // self.devices
        activations = max(held, update)  # of a batch, or while optimizers step
        memory = {
            "weights": counted.all * size,
            "gradients": gradients,
            "master_weights": 4 * counted.all // self.devices,
            "optimizer": 4 * counted.moments // self.devices,
            "ema": 4 * counted.trained // self.devices,
            "activations": activations,
            "other_networks": others,
        }
        if not self.kind.is_cpu:
            return memory
        memory["activations"] = int(FRAGMENTATION * activations)
        memory["clips"] = clips
        memory["saving"] = 2 * counted.state_bytes + 4 * counted.trained
        memory["process"] = PROCESS
        return memory
