"""Flow matching stages: images, short clips, long clips (paper.md 3)."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lingen_models.autoencoder import SPACE_STRIDE
from lingen_models.flow import interpolate, logit_normal_times, velocity
from lingen_models.frozen import FrozenText
from lingen_models.lingen import LinGen
from lingen_models.loading import VideoAutoencoder
from lingen_models.precision import compute_dtype
from lingen_models.sampling import TextFeatures
from lingen_models.words import WordEncoder
from lingen_training.data import PLAYGROUND, World
from lingen_training.distil import Question, distil_loss, train_only
from lingen_training.few_steps import Jump, jump_loss
from lingen_training.latents import LatentClips, latent_clips
from lingen_training.loop import Report, Schedule, run_loop
from lingen_training.optimiser import MasterWeights
from lingen_training.recipe import DenoiserStage, FewSteps


class Pair(nn.Module):
    """The denoiser and its word encoder, trained as one; or the denoiser, with frozen encoders."""

    def __init__(
        self,
        denoiser: LinGen,
        text_encoder: WordEncoder | None,
        frozen: Sequence[FrozenText] = (),
    ) -> None:
        super().__init__()
        self.denoiser = denoiser
        self.text_encoder = text_encoder
        self.frozen = tuple(frozen)
        """Not registered: they are neither trained, nor saved, nor cast."""

    def read(self, prompts: Sequence[str]) -> tuple[list[Tensor], list[Tensor]]:
        """Features and masks of prompts, by text encoder."""
        pairs: list[tuple[Tensor, Tensor]] = []
        if self.text_encoder is not None:
            pairs.append(self.text_encoder(self.text_encoder.tokens(prompts)))
        with torch.no_grad():
            pairs += [encoder(encoder.tokens(prompts)) for encoder in self.frozen]
        like = self.denoiser.patch_in.weight
        masks = [mask.to(like.device) for _, mask in pairs]
        return [features.to(like) for features, _ in pairs], masks


@dataclass(frozen=True)
class Batch:
    """Clean latents (B, C, T, h, w), their captions, the number of the first latent frame, and how
    noisy their times are (`Source.time_shift`)."""

    latents: Tensor
    captions: list[str]
    first_frame: int
    time_shift: float = 1.0


def train_stage(
    pair: Pair,
    autoencoder: VideoAutoencoder,
    autoencoder_hash: str,
    stage: DenoiserStage,
    seed: int,
    folder: Path,
    report: Report,
    teacher: LinGen | None = None,
    world: World = PLAYGROUND,
    world_name: str = "",
) -> dict[str, Tensor]:
    """Train `pair` in place through one stage; returns the averaged parameters by name. A stage
    that distils needs the network that it learns from."""
    clips = [
        latent_clips(
            autoencoder,
            autoencoder_hash=autoencoder_hash,
            clips=source.clips,
            latent_frames=source.cached_frames,
            size=source.size,
            seed=seed,
            folder=folder / "latents",
            report=report,
            world=world,
            world_name=world_name,
            alike=source.alike,
        )
        for source in stage.source
    ]
    clips = [
        found.only(source.motions) if source.motions else found
        for source, found in zip(stage.source, clips, strict=True)
    ]
    device = pair.denoiser.patch_in.weight.device
    begun = {name: part.detach().float().clone() for name, part in pair.named_parameters()}
    train_only(pair, stage.distil)
    weights = MasterWeights(
        pair,
        learning_rate=stage.learning_rate,
        weight_decay=0.01,
        ema=stage.ema,
        compute_dtype=compute_dtype(device.type),
    )
    positions = pair.denoiser.config.position_grid[0]

    def loss_of(step: int) -> dict[str, Tensor]:
        rng = random.Random(f"{seed}/{stage.name}/{step}")
        batch = draw_batch(stage, clips, positions, rng, autoencoder.space_stride, world)
        if stage.distil is None:
            return {"loss": flow_loss(pair, stage, batch, rng)}
        assert teacher is not None
        if stage.few_steps is not None:
            jump = jump_of(pair, stage, stage.few_steps, batch, rng)
            return {"loss": jump_loss(pair.denoiser, teacher, stage.few_steps, jump)}
        asked = question_of(pair, stage, batch, rng)
        return {"loss": distil_loss(pair.denoiser, teacher, asked)}

    run_loop(
        name=stage.name,
        weights=weights,
        loss_of=loss_of,
        schedule=Schedule(stage.learning_rate, stage.steps, warmup=stage.warmup, decay=stage.decay),
        folder=folder,
        report=report,
    )
    pair.requires_grad_(True)
    return begun | weights.averaged()


def draw_batch(
    stage: DenoiserStage,
    clips: Sequence[LatentClips],
    positions: int,
    rng: random.Random,
    space_stride: int = SPACE_STRIDE,
    world: World = PLAYGROUND,
) -> Batch:
    """A batch from one of the stage's sources, whose cached clips are `clips`; half of those that
    are no images are windows from inside a longer clip.

    A window may stand anywhere in a clip of up to `positions` latent frames, since the world is
    the same at all times: so every time position is trained from the first short clips on.
    """
    shares = [source.share for source in stage.source]
    ((source, cached),) = rng.choices(list(zip(stage.source, clips, strict=True)), shares)
    frames = source.latent_frames
    last = positions - frames
    inside = frames > 1 and last >= 1 and rng.random() < 0.5
    window = source.crop and (source.crop[0] // space_stride, source.crop[1] // space_stride)
    latents, scenes = cached.pick(rng, source.batch, frames, inside=inside, window=window)
    captions = []
    for scene in scenes:
        seed = rng.randrange(2**31)
        more: dict[str, Any] = {}
        if stage.place_dropout:
            more["place"] = rng.random() >= stage.place_dropout
        if stage.natural:
            more["natural"] = stage.natural
        captions.append(world.caption(scene, seed, still=frames == 1, **more))
    first = rng.randint(1, last) if inside else 0
    return Batch(latents, captions, first, source.time_shift)


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
    return Question(noisy, t, features, masks, batch.first_frame, velocity(data, noise))


def flow_loss(pair: Pair, stage: DenoiserStage, batch: Batch, rng: random.Random) -> Tensor:
    """Mean squared error of the velocity over the frames that are not clean."""
    asked = question_of(pair, stage, batch, rng)
    error = (asked.of(pair.denoiser).float() - asked.target).square().mean((1, 3, 4))
    noisy = (asked.times < 1).float()
    loss: Tensor = (error * noisy).sum() / noisy.sum()
    return loss


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
    return Jump(
        data,
        torch.randn(data.shape, generator=generator).to(device),
        TextFeatures(*map(tuple, prompt)),
        TextFeatures(*map(tuple, negative)),
        step=rng.randrange(few.steps),
        own_path=rng.random() < few.own_path,
        prefix=_clean_length(rng, frames // 2) if has_prefix else 0,
        suffix=_clean_length(rng, frames // 3) if has_suffix else 0,
        first_frame=batch.first_frame,
    )


def _clean_length(rng: random.Random, most: int) -> int:
    """One frame (a given picture) in half of the cases, else any number up to `most`."""
    return 1 if rng.random() < 0.5 else rng.randint(1, max(1, most))
