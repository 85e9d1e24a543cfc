"""Flow matching stages: images, short clips, long clips (paper.md 3)."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lingen_models.checkpoints.load_networks import VideoAutoencoder
from lingen_models.networks.denoiser import LinGen
from lingen_models.networks.video_autoencoder import SPACE_STRIDE
from lingen_models.parallel.slabs import Slabs
from lingen_models.precision import compute_dtype
from lingen_models.sampling.denoise import TextFeatures
from lingen_models.sampling.flow import interpolate, logit_normal_times, velocity
from lingen_training.datasets.buckets import Draw, bucket_lines, draws_of
from lingen_training.datasets.clip_cache import ClipCache, LatentClips, Shard, fill_caches
from lingen_training.datasets.clip_layouts import LayoutBatch, layouts_of, measured_layouts
from lingen_training.datasets.world import PLAYGROUND, MeasuredWorld, World
from lingen_training.optimization.loop import Report, Schedule, run_loop
from lingen_training.optimization.optimizer import MasterWeights
from lingen_training.optimization.parallel import ALONE, Group
from lingen_training.optimization.stage_logs import Sample, Watcher
from lingen_training.stages.alignment import AlignmentHead, ground_truth
from lingen_training.stages.distillation import Question, distil_loss, train_only
from lingen_training.stages.few_steps import Jump, jump_loss
from lingen_training.stages.pair import Pair
from lingen_training.stages.samples import prompts_of, sample_clips, shape_of
from lingen_training.stages.validation import fixed_clips, object_loss
from lingen_training.training_recipe import DenoiserStage, FewSteps, Source

_ALIGNED_AFTER = 4
"""The block whose tokens are aligned with the ground truth."""
_NOISE = ("0-0.2", "0.2-0.4", "0.4-0.6", "0.6-0.8", "0.8-1")
"""Noise levels, 1 minus the flow time, by which losses are logged."""
_FRAMES = ("0", "1-2", "3-6", "7-14", "15-30", "31-62", "63-")
"""Latent frames of a clip by which losses are logged: each bin is twice as long as the one
before."""


@dataclass(frozen=True)
class Batch:
    """Clean latents (B, C, T, h, w), their captions, the number of the first latent frame, and how
    noisy their times are (`Source.time_shift`); `facts` (B, T, h, w, FACTS) per token where a stage
    aligns with the ground truth."""

    latents: Tensor
    captions: list[str]
    first_frame: int
    time_shift: float = 1.0
    facts: Tensor | None = None
    layout: LayoutBatch | None = None

    def tokens(self, patch: tuple[int, int, int]) -> int:
        """Tokens that the denoiser sees."""
        rows, _, frames, high, wide = self.latents.shape
        return rows * frames * (high // patch[1]) * (wide // patch[2])


@dataclass(frozen=True)
class StageData:
    """Data of a stage: where its clips come from, and in which form."""

    autoencoder: VideoAutoencoder
    autoencoder_hash: str
    seed: int
    folder: Path
    world: World = PLAYGROUND
    world_name: str = ""

    def draws(self, stage: DenoiserStage) -> list[Draw]:
        """Sizes and lengths that the batches of a stage are drawn from."""
        return draws_of(stage, self.world, self.world_name)

    def cache(self, draw: Draw) -> ClipCache:
        """The encoded clips of a draw."""
        return ClipCache(
            self.autoencoder,
            self.autoencoder_hash,
            draw.source.clips,
            draw.source.cached_frames,
            draw.size,
            self.seed,
            self.folder / "latents",
            draw.world,
            draw.world_name,
            draw.source.close_up,
            draw.source.alike,
        )


class Supply:
    """Encoded clips of each draw of a stage, of which some are replaced while it trains."""

    def __init__(self, stage: DenoiserStage, data: StageData, report: Report, group: Group) -> None:
        self.stage = stage
        draws = data.draws(stage)
        self.sources = [draw.source for draw in draws]
        self.caches = [data.cache(draw) for draw in draws]
        for line in bucket_lines(draws):
            report(f"{stage.name}: {line}")
        lengths = {source.latent_frames for source in self.sources}
        for frames in sorted(lengths) if group.splits_clips else []:
            if group.slabs(frames) is None:
                report(
                    f"{stage.name}: every process computes clips of {frames} latent frames whole"
                )
        self.report = report
        self.group = group
        self._generations: list[int] = []
        self._clips: list[LatentClips] = []

    def at(self, step: int) -> list[LatentClips]:
        """Clips of `sources` at a step; renders those that are new. A collective call."""
        turns = step // self.stage.refresh if self.stage.refresh else 0
        generations = [turns * source.fresh for source in self.sources]
        if generations == self._generations:
            return self._clips
        self.report(f"{self.stage.name}: clips for step {step} on")
        fill_caches(list(zip(self.caches, generations, strict=True)), self.report, self.group)
        before = self._generations or [-1] * len(generations)
        clips = []
        files: dict[tuple[Shard, ...], LatentClips] = {}  # sources may share them
        for at, (source, cache) in enumerate(zip(self.sources, self.caches, strict=True)):
            if before[at] == generations[at]:
                clips.append(self._clips[at])
                continue
            key = tuple(cache.shards(generations[at]))
            if key not in files:
                files[key] = cache.read(generations[at])
            read = files[key]
            clips.append(read.only(source.motions) if source.motions else read)
        if self.group.leads:
            self._drop_old(before, generations)
        self._generations, self._clips = generations, clips
        return clips

    def _drop_old(self, before: list[int], now: list[int]) -> None:
        """Delete the files of clips that have been replaced."""
        needed = {
            shard.path
            for cache, generation in zip(self.caches, now, strict=True)
            for shard in cache.shards(generation)
        }
        for cache, generation in zip(self.caches, before, strict=True):
            for shard in cache.shards(generation) if generation >= 0 else []:
                if shard.path not in needed:
                    shard.path.unlink(missing_ok=True)


def train_stage(
    pair: Pair,
    stage: DenoiserStage,
    data: StageData,
    report: Report,
    keep: Callable[[], None],
    teacher: LinGen | None = None,
    group: Group = ALONE,
    watchers: Sequence[Watcher] = (),
) -> dict[str, Tensor]:
    """Train `pair` in place through one stage; returns the averaged parameters by name.

    `keep` writes the weights that are in `pair`: it is called with the averaged ones whenever these
    are measured. A stage that distils needs the network that it learns from.
    """
    supply = Supply(stage, data, report, group)
    device = next(data.autoencoder.parameters()).device
    train_only(pair, stage.distil)
    names = [name for name, _ in pair.named_parameters()]
    frozen = {
        name: part.detach().float().clone()
        for name, part in pair.named_parameters()
        if not part.requires_grad
    }
    pair.denoiser.checkpoint_blocks = stage.checkpoint_blocks
    if stage.alignment:
        torch.manual_seed(data.seed)
        pair.alignment = AlignmentHead(pair.denoiser.config.width).to(device)
    dtype = compute_dtype(device.type)
    trained, kind = pair, MasterWeights
    if group.sharded:
        from lingen_training.optimization.sharded import ShardedWeights, shard

        trained, kind = shard(pair, str(device), dtype, group), ShardedWeights
    weights = kind(
        trained,
        learning_rate=stage.learning_rate,
        weight_decay=0.01,
        ema=stage.ema,
        compute_dtype=dtype,
        group=group,
    )
    config = pair.denoiser.config

    def loss_of(step: int, number: int) -> dict[str, Tensor]:
        # The first batch draws what the only batch of a step has always drawn.
        rng = random.Random(f"{data.seed}/{stage.name}/{step}" + (f"/{number}" if number else ""))
        batch = draw_batch(
            stage,
            supply.at(step),
            config.position_grid[0],
            rng,
            data.autoencoder.space_stride,
            data.world,
            supply.sources,
        )
        slabs = group.slabs(batch.latents.shape[2])
        tokens = torch.tensor(batch.tokens(config.patch))
        if group.splits_clips and not group.leads:
            tokens.zero_()  # the first process counts for all
        if stage.distil is None:
            return {**flow_losses(trained, stage, batch, rng, slabs), "tokens": tokens}
        assert teacher is not None
        if stage.few_steps is not None:
            jump = jump_of(pair, stage, stage.few_steps, batch, rng)
            loss = jump_loss(pair.denoiser, teacher, stage.few_steps, jump)
        else:
            loss = distil_loss(pair.denoiser, teacher, question_of(pair, stage, batch, rng))
        return {"loss": loss, "tokens": tokens}

    validate: Callable[[], dict[str, float]] | None = None
    if stage.validate_every:
        # All processes of a sharded network call it at the same time.
        sharing = ALONE if group.sharded else group
        clips = fixed_clips(data.autoencoder, 24, sharing)

        def validate() -> dict[str, float]:
            if group.sharded:
                pair.load_state_dict(pair.state_dict() | weights.averaged())
            if group.leads:
                keep()
            return object_loss(trained, clips, sharing, layout=stage.layout > 0)

    sample: Callable[[], list[Sample]] | None = None
    if stage.sample_every:
        shape = shape_of(data.draws(stage))
        prompts = prompts_of(stage, data.world, still=shape[0] == 1)
        sample = partial(sample_clips, trained, data.autoencoder, stage, prompts, shape)

    run_loop(
        name=stage.name,
        weights=weights,
        loss_of=loss_of,
        schedule=Schedule(stage.learning_rate, stage.steps, warmup=stage.warmup, decay=stage.decay),
        folder=data.folder,
        report=report,
        batches=stage.batches,
        validate=validate,
        validate_every=stage.validate_every,
        sample=sample,
        sample_every=stage.sample_every,
        watchers=watchers,
    )
    pair.alignment = None
    pair.requires_grad_(True)
    kept = frozen | weights.averaged()
    return {name: kept[name] for name in names}


def draw_batch(
    stage: DenoiserStage,
    clips: Sequence[LatentClips],
    positions: int,
    rng: random.Random,
    space_stride: int = SPACE_STRIDE,
    world: World = PLAYGROUND,
    sources: Sequence[Source] | None = None,
) -> Batch:
    """A batch from one of `sources`, by default the stage's, whose cached clips are `clips`; half
    of those that are no images are windows from inside a longer clip.

    A window may stand anywhere in a clip of up to `positions` latent frames, since the world is
    the same at all times: so every time position is trained from the first short clips on.
    """
    sources = stage.source if sources is None else sources
    shares = [source.share for source in sources]
    ((source, cached),) = rng.choices(list(zip(sources, clips, strict=True)), shares)
    frames = source.latent_frames
    last = positions - frames
    inside = frames > 1 and last >= 1 and rng.random() < 0.5
    window = source.crop and (source.crop[0] // space_stride, source.crop[1] // space_stride)
    world = PLAYGROUND if source.replay else world
    knows_scenes = world is PLAYGROUND
    picked = cached.pick(rng, source.batch, frames, inside=inside, window=window)
    starts = [cached.starts[index] for index in picked.indices]
    total, stride = cached.latents.shape[2], cached.time_stride
    captions = []
    for scene in picked.scenes:
        seed = rng.randrange(2**31)
        more: dict[str, Any] = {}
        if stage.place_dropout and knows_scenes:
            more["place"] = rng.random() >= stage.place_dropout
        if stage.natural and knows_scenes:
            more["natural"] = stage.natural
        captions.append(world.caption(scene, seed, still=frames == 1, **more))
    layout = None
    square = picked.latents.shape[-1] == picked.latents.shape[-2]
    if stage.layout and knows_scenes:
        layout = layouts_of(picked, starts, total, source.size, stride, stage.layout, rng)
    elif stage.layout and isinstance(world, MeasuredWorld) and square:
        layout = measured_layouts(picked, world, total, stride, stage.layout, rng)
    first = rng.randint(1, last) if inside else 0
    facts = None
    if stage.alignment and knows_scenes:
        high, wide = picked.latents.shape[-2:]
        grid = (high // 2, wide // 2)
        facts = ground_truth(picked, starts, total, grid, source.size, stride)
    return Batch(picked.latents, captions, first, source.time_shift, facts, layout)


def question_of(pair: Pair, stage: DenoiserStage, batch: Batch, rng: random.Random) -> Question:
    """Noise for a batch, and clean frames, and captions left out, as the stage has them."""
    device = pair.denoiser.patch_in.weight.device
    generator = torch.Generator().manual_seed(rng.randrange(2**31))
    data = batch.latents.float().to(device)
    rows, _, frames = data.shape[:3]
    noise = torch.randn(data.shape, generator=generator).to(device)
    times = logit_normal_times(rows, generator, batch.time_shift)
    t = times[:, None].repeat(1, frames)
    for row in range(rows):
        if frames > 1 and rng.random() < stage.prefix:
            t[row, : _clean_length(rng, frames // 2)] = 1.0
        if frames > 2 and rng.random() < stage.suffix:
            t[row, frames - _clean_length(rng, frames // 3) :] = 1.0
    t = t.to(device)
    prompts = ["" if rng.random() < stage.caption_dropout else text for text in batch.captions]
    features, masks = pair.read(prompts)
    noisy = interpolate(data, noise, t)
    layout = batch.layout
    if layout is not None:
        # Guidance moves away from what has neither a prompt nor a layout.
        kept = torch.tensor([float(bool(text) or rng.random() < 0.5) for text in prompts])
        layout = replace(layout, discs=layout.discs * kept[:, None, None, None, None])
    return Question(
        noisy,
        t,
        features,
        masks,
        batch.first_frame,
        velocity(data, noise),
        None if layout is None else layout.read(pair),
    )


def flow_losses(
    pair: Pair,
    stage: DenoiserStage,
    batch: Batch,
    rng: random.Random,
    slabs: Slabs | None = None,
) -> dict[str, Tensor]:
    """The "loss" to train on, and its parts: "flow", the mean squared error of the velocity over
    the frames that are not clean, by noise level and by latent frame (`binned`), and of a stage
    that aligns "flow" and "alignment", which counts batches that have facts.

    With `slabs`, the network is given the latent frames that this process holds. The losses are
    then those whose mean over the processes is the loss of the batch.
    """
    question = question_of(pair, stage, batch, rng)
    seen: list[Tensor] = []
    handle = None
    if batch.facts is not None:
        block = pair.denoiser.blocks[min(_ALIGNED_AFTER, len(pair.denoiser.blocks)) - 1]
        handle = block.register_forward_hook(lambda module, given, found: seen.append(found))
    try:
        if slabs is None:
            found = question.of(pair.denoiser).float()
        else:
            found = question.of_slab(pair.denoiser, slabs).float()
    finally:
        if handle is not None:
            handle.remove()
    noisy = (question.times < 1).float()
    own, frames, processes = slice(None), noisy.shape[1], 1
    if slabs is not None:
        own, frames, processes = slice(*slabs.own), slabs.size, len(slabs.stretches)
    error = (found - question.target[:, :, own]).square().mean((1, 3, 4))
    flow: Tensor = processes * (error * noisy[:, own]).sum() / noisy.sum()
    parts = {"loss": flow, **binned(error.detach(), question.times, own)}
    if not stage.alignment:
        return parts
    parts |= {"flow": flow, "alignment": torch.zeros(2)}
    if batch.facts is not None and pair.alignment is not None:
        facts = batch.facts[:, own].to(found.device)
        alignment = (pair.alignment(seen[0]).float() - facts).square().mean()
        alignment = alignment * (processes * frames / noisy.shape[1])
        parts["loss"] = flow + stage.alignment * alignment
        parts["alignment"] = torch.stack((alignment, torch.ones_like(alignment)))
    return parts


def binned(error: Tensor, times: Tensor, own: slice = slice(None)) -> dict[str, Tensor]:
    """Sum and count of errors (B, t) of the `own` latent frames at flow times (B, T), clean frames
    left out, by noise level (`noise/0.2-0.4`), and of clips by latent frame (`frame/2-3`)."""
    rows, frames = times.shape
    times = times[:, own]
    noisy = (times < 1).float()
    level = ((1 - times) * len(_NOISE)).long().clamp(0, len(_NOISE) - 1)
    place = torch.arange(frames, device=error.device)[own] + 1
    frame = place.log2().long().clamp(max=len(_FRAMES) - 1).expand(rows, -1)
    both = torch.stack((error * noisy, noisy), -1)
    found: dict[str, Tensor] = {}
    for kind, names, bins in (("noise", _NOISE, level), ("frame", _FRAMES, frame)):
        sums = both.new_zeros((len(names), 2))
        if kind == "noise" or frames > 1:
            sums.index_add_(0, bins.flatten(), both.flatten(0, 1))
        found |= {f"{kind}/{name}": pair for name, pair in zip(names, sums, strict=True)}
    return found


def jump_of(
    pair: Pair, stage: DenoiserStage, few: FewSteps, batch: Batch, rng: random.Random
) -> Jump:
    """A step of the grid, noise for it, and clean frames and captions left out, as the stage has
    them; the clean frames are those of all rows."""
    device = pair.denoiser.patch_in.weight.device
    generator = torch.Generator().manual_seed(rng.randrange(2**31))
    data = batch.latents.float().to(device)
    frames = data.shape[2]
    has_prefix = frames > 1 and rng.random() < stage.prefix
    has_suffix = frames > 2 and rng.random() < stage.suffix
    prompts = ["" if rng.random() < stage.caption_dropout else text for text in batch.captions]
    with torch.no_grad():
        prompt, negative = pair.read(prompts), pair.read([""] * len(prompts))
        layout = None if batch.layout is None else batch.layout.read(pair)
    return Jump(
        data,
        torch.randn(data.shape, generator=generator).to(device),
        TextFeatures(tuple(prompt[0]), tuple(prompt[1]), layout),
        TextFeatures(tuple(negative[0]), tuple(negative[1])),
        step=rng.randrange(few.steps),
        own_path=rng.random() < few.own_path,
        prefix=_clean_length(rng, frames // 2) if has_prefix else 0,
        suffix=_clean_length(rng, frames // 3) if has_suffix else 0,
        first_frame=batch.first_frame,
    )


def _clean_length(rng: random.Random, most: int) -> int:
    """One frame (a given image) in half of the cases, else any number up to `most`."""
    return 1 if rng.random() < 0.5 else rng.randint(1, max(1, most))
