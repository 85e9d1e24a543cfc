"""Flow matching stages: images, short clips, long clips (paper.md 3)."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from lingen_models.autoencoder import SPACE_STRIDE, TemporalAutoencoder
from lingen_models.flow import interpolate, logit_normal_times, velocity
from lingen_models.lingen import LinGen
from lingen_models.pipeline import compute_dtype
from lingen_models.words import WordEncoder
from lingen_training.latents import LatentClips, latent_clips
from lingen_training.loop import Report, Schedule, run_loop
from lingen_training.optimiser import MasterWeights
from lingen_training.playground import caption
from lingen_training.recipe import DenoiserStage


class Pair(nn.Module):
    """The denoiser and its word encoder, trained as one."""

    def __init__(self, denoiser: LinGen, text_encoder: WordEncoder) -> None:
        super().__init__()
        self.denoiser = denoiser
        self.text_encoder = text_encoder


@dataclass(frozen=True)
class Batch:
    """Clean latents (B, C, T, h, w), their captions, and the number of the first latent frame."""

    latents: Tensor
    captions: list[str]
    first_frame: int


def train_stage(
    pair: Pair,
    autoencoder: TemporalAutoencoder,
    autoencoder_hash: str,
    stage: DenoiserStage,
    seed: int,
    folder: Path,
    report: Report,
) -> dict[str, Tensor]:
    """Train `pair` in place through one stage; returns the averaged parameters by name."""
    cache = folder / "latents"

    def clips(count: int, latent_frames: int) -> LatentClips:
        return latent_clips(
            autoencoder,
            autoencoder_hash=autoencoder_hash,
            clips=count,
            latent_frames=latent_frames,
            size=stage.size,
            seed=seed,
            folder=cache,
            report=report,
        )

    # At least one latent frame more than is needed: what begins later is from inside a clip.
    still = stage.latent_frames == 1
    videos = clips(stage.clips, 1 if still else max(stage.cut_from, stage.latent_frames + 1))
    images = videos if still or not stage.images else clips(stage.image_clips, 1)
    device = pair.denoiser.patch_in.weight.device
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
        batch = draw_batch(stage, videos, images, positions, rng)
        return {"loss": flow_loss(pair, stage, batch, rng)}

    run_loop(
        name=stage.name,
        weights=weights,
        loss_of=loss_of,
        schedule=Schedule(stage.learning_rate, stage.steps, warmup=stage.warmup, decay=stage.decay),
        folder=folder,
        report=report,
    )
    return weights.averaged()


def draw_batch(
    stage: DenoiserStage,
    videos: LatentClips,
    images: LatentClips,
    positions: int,
    rng: random.Random,
) -> Batch:
    """Images or clips; half of the clips are windows from inside a longer one.

    A window may stand anywhere in a clip of up to `positions` latent frames, since the world is
    the same at all times: so every time position is trained from the first short clips on.
    """
    if stage.latent_frames == 1 or rng.random() < stage.images:
        count = stage.batch if stage.latent_frames == 1 else stage.image_batch
        if stage.crop:
            latents, scenes = images.pick_close(rng, count, stage.crop // SPACE_STRIDE)
        else:
            latents, scenes = images.pick(rng, count)
        captions = [caption(scene, rng.randrange(2**31), still=True) for scene in scenes]
        return Batch(latents, captions, 0)
    latents, scenes = videos.pick(rng, stage.batch)
    captions = [caption(scene, rng.randrange(2**31)) for scene in scenes]
    frames = stage.latent_frames
    last = positions - frames
    if rng.random() < 0.5 or last < 1:
        return Batch(latents[:, :, :frames], captions, 0)
    begins = [rng.randint(1, latents.shape[2] - frames) for _ in scenes]
    windows = [clip[:, at : at + frames] for clip, at in zip(latents, begins, strict=True)]
    return Batch(torch.stack(windows), captions, rng.randint(1, last))


def flow_loss(pair: Pair, stage: DenoiserStage, batch: Batch, rng: random.Random) -> Tensor:
    """Mean squared error of the velocity over the frames that are not clean."""
    device = pair.denoiser.patch_in.weight.device
    generator = torch.Generator().manual_seed(rng.randrange(2**31))
    data = batch.latents.float().to(device)
    rows, _, frames = data.shape[:3]
    noise = torch.randn(data.shape, generator=generator).to(device)
    times = logit_normal_times(rows, generator, stage.time_shift)
    t = times[:, None].repeat(1, frames)
    for row in range(rows):
        if frames > 1 and rng.random() < stage.prefix:
            t[row, : _clean_length(rng, frames // 2)] = 1.0
        if frames > 2 and rng.random() < stage.suffix:
            t[row, frames - _clean_length(rng, frames // 3) :] = 1.0
    t = t.to(device)
    prompts = ["" if rng.random() < stage.caption_dropout else text for text in batch.captions]
    features, mask = pair.text_encoder(pair.text_encoder.tokens(prompts))
    predicted = pair.denoiser(interpolate(data, noise, t), t, [features], [mask], batch.first_frame)
    error = (predicted.float() - velocity(data, noise)).square().mean((1, 3, 4))
    noisy = (t < 1).float()
    loss: Tensor = (error * noisy).sum() / noisy.sum()
    return loss


def _clean_length(rng: random.Random, most: int) -> int:
    """One frame (a given picture) in half of the cases, else any number up to `most`."""
    return 1 if rng.random() < 0.5 else rng.randint(1, max(1, most))
