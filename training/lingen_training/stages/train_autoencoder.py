"""Stage 1: the temporal autoencoder, on clips rendered as it goes."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from lingen_models.checkpoints.safetensors import read_metadata, save_network
from lingen_models.networks.video_autoencoder import TemporalAutoencoder
from lingen_models.precision import compute_dtype
from lingen_playground import Scene, close_up_scene
from lingen_training.datasets.world import PLAYGROUND, World, rendered
from lingen_training.frozen_parts import load_whole
from lingen_training.optimization.loop import Report, Schedule, run_loop
from lingen_training.optimization.optimizer import MasterWeights
from lingen_training.optimization.stage_logs import Watcher
from lingen_training.training_recipe import AutoencoderStage


def train_autoencoder(
    stage: AutoencoderStage,
    seed: int,
    folder: Path,
    device: str,
    report: Report,
    world: World = PLAYGROUND,
    name: str = "autoencoder.safetensors",
    watchers: Sequence[Watcher] = (),
) -> Path:
    """Train, measure the latents' scale, and write the weights into `folder`."""
    torch.manual_seed(seed)
    network = TemporalAutoencoder(stage.config()).to(device)
    dtype = compute_dtype(device)
    weights = MasterWeights(
        network,
        learning_rate=stage.learning_rate,
        weight_decay=0.01,
        ema=stage.ema,
        compute_dtype=dtype,
    )

    def loss_of(step: int, batch: int) -> dict[str, Tensor]:
        video = clips(stage, seed, step, device, world)
        mean, log_variance = network.posterior(video.to(dtype))
        latents = _noisy(mean, log_variance, stage.noise, seed + step)
        losses = _restored(network, stage, latents, video)
        outlier = (mean.float().abs() - stage.outlier_limit).clamp(min=0).square().mean()
        divergence = 0.5 * (mean.float().square() + log_variance.exp() - 1 - log_variance).mean()
        pressure = stage.kl_weight * min(1.0, 0.02 + step / (0.6 * stage.steps))
        loss = losses["loss"] + pressure * divergence + outlier
        return {**losses, "loss": loss, "kl": divergence}

    run_loop(
        name="autoencoder",
        weights=weights,
        loss_of=loss_of,
        schedule=Schedule(stage.learning_rate, stage.steps, warmup=100, decay=stage.decay),
        folder=folder,
        report=report,
        watchers=watchers,
    )
    weights.use(weights.average)
    quality = _measure(network, stage, seed, device, world)
    report(f"autoencoder: {quality:.2f} dB on new clips")
    network.to(torch.bfloat16)
    path = folder / name
    training = {**stage.model_dump(), "seed": seed, "psnr_db": round(quality, 2)}
    metadata = {"kind": "tae", "config": network.config.to_dict(), "training": training}
    save_network(path, network, metadata)
    return path


def train_decoder(
    stage: AutoencoderStage,
    whole: Path,
    seed: int,
    folder: Path,
    device: str,
    report: Report,
    world: World = PLAYGROUND,
    watchers: Sequence[Watcher] = (),
) -> Path:
    """Train the decoder of the autoencoder in the file `whole` on longer clips, and write
    `folder/autoencoder.safetensors`. Its encoder stays as it is."""
    metadata, network = read_metadata(whole), load_whole(whole, TemporalAutoencoder)
    network.to(device).requires_grad_(False)
    network.decoder.requires_grad_(True)
    dtype = compute_dtype(device)
    weights = MasterWeights(
        network,
        learning_rate=stage.decoder_learning_rate,
        weight_decay=0.01,
        ema=0.98,
        compute_dtype=dtype,
    )
    longer = stage.model_copy(
        update={
            "frames": stage.decoder_frames,
            "batch": max(1, stage.batch // 2),
            "full_batch": max(1, stage.full_batch // 2),
        }
    )

    def loss_of(step: int, batch: int) -> dict[str, Tensor]:
        video = clips(longer, seed, step, device, world, decoder=True)
        with torch.no_grad():
            posterior = network.posterior(video.to(dtype))
            latents = _noisy(*posterior, stage.noise, seed + step)
        return _restored(network, stage, latents, video, stage.decoder_moving_weight)

    def validate() -> dict[str, float]:
        return decoder_psnr(network, longer, device, world)

    run_loop(
        name="decoder",
        weights=weights,
        loss_of=loss_of,
        schedule=Schedule(stage.decoder_learning_rate, stage.decoder_steps, warmup=20, decay=0.4),
        folder=folder,
        report=report,
        validate=validate if stage.decoder_validate_every else None,
        validate_every=stage.decoder_validate_every,
        watchers=watchers,
    )
    weights.use(weights.average)
    path = folder / "autoencoder.safetensors"
    own = {name for name in AutoencoderStage.model_fields if name.startswith("decoder_")}
    training = {**metadata.get("training", {}), "decoder": stage.model_dump(include=own)}
    save_network(path, network.to(torch.bfloat16), {**metadata, "training": training})
    return path


def _noisy(mean: Tensor, log_variance: Tensor, least: float, seed: int) -> Tensor:
    """Latents of a posterior whose standard deviation is at least `least`."""
    noise = torch.randn(mean.shape, generator=torch.Generator().manual_seed(seed)).to(mean.device)
    spread = (0.5 * log_variance).exp().clamp(min=least)
    return mean + (noise * spread).to(mean.dtype)


def _restored(
    network: TemporalAutoencoder,
    stage: AutoencoderStage,
    latents: Tensor,
    video: Tensor,
    moving_weight: float = 0.0,
) -> dict[str, Tensor]:
    """The loss of what the decoder makes of latents, and its parts."""
    difference = network.decoder(latents).float() - video
    if moving_weight:
        weight = 1 + moving_weight * moving(video).float()
        weight = weight / weight.mean()
        pixels = (weight * difference.abs()).mean()
        squares = (weight * difference.square()).mean()
    else:
        pixels, squares = difference.abs().mean(), difference.square().mean()
    edges = _edges(difference)
    return {
        "loss": pixels + 2 * squares + stage.edge_weight * edges,
        "pixels": pixels,
        "edges": edges,
    }


def moving(video: Tensor) -> Tensor:
    """Tell for each pixel of (B, 3, frames, height, width) in [-1, 1] whether its color is another
    one frame before or after, as (B, 1, frames, height, width)."""
    changed = (video[:, :, 1:] - video[:, :, :-1]).abs().amax(1, keepdim=True) > 0.1
    return torch.nn.functional.pad(changed, (0, 0, 0, 0, 0, 1)) | torch.nn.functional.pad(
        changed, (0, 0, 0, 0, 1, 0)
    )


def clips(
    stage: AutoencoderStage,
    seed: int,
    step: int,
    device: str,
    world: World = PLAYGROUND,
    *,
    decoder: bool = False,
) -> Tensor:
    """One batch of (B, 3, frames, size, size): small clips and full-size ones in turn; for the
    `decoder`, every second small one of the playground is seen from half the distance,
    `decoder_fast` of them show something that bounces or moves quickly, and of another world
    `decoder_replay` of the batches are of the playground."""
    full = step % 2 == 1
    size = stage.full_size if full else stage.size
    count = stage.full_batch if full else stage.batch
    rng = random.Random(f"{seed}/autoencoder/{step}")
    if decoder and world is not PLAYGROUND and _drawn(rng, stage.decoder_replay):
        world = PLAYGROUND
    near = decoder and world is PLAYGROUND and step % 4 == 0
    sample = close_up_scene if near else world.sample_scene
    scenes = []
    for _ in range(count):
        scene = sample(rng.randrange(2**31))
        if decoder and world is PLAYGROUND and _drawn(rng, stage.decoder_fast):
            while not _is_fast(scene):
                scene = sample(rng.randrange(2**31))
        scenes.append(scene)
    return rendered(world, scenes, stage.frames, size, rng.uniform(0, 30), device)


def _drawn(rng: random.Random, share: float) -> bool:
    return share > 0 and rng.random() < share


def _is_fast(scene: Scene) -> bool:
    return any(obj.motion == "bounces" or obj.speed == "quickly" for obj in scene.objects)


@torch.no_grad()
def decoder_psnr(
    network: TemporalAutoencoder, stage: AutoencoderStage, device: str, world: World = PLAYGROUND
) -> dict[str, float]:
    """Mean PSNR in dB over clips that no training sees (8 small, 4 of full size): of all
    pixels, and of those that move."""
    fixed = stage.model_copy(update={"batch": 4, "full_batch": 2})
    everywhere, moved = [], []
    for step in range(4):
        video = clips(fixed, -1, step, device, world, decoder=True)
        mean, _ = network.posterior(video.to(next(network.parameters()).dtype))
        squares = ((network.decoder(mean).float().clamp(-1, 1) - video) / 2).square()
        mask = moving(video).expand_as(squares)
        everywhere.append(_decibels(squares.mean()))
        moved.append(_decibels(squares[mask].mean()))
    return {"psnr": sum(everywhere) / 4, "moving_psnr": sum(moved) / 4}


def _decibels(mean_square: Tensor) -> float:
    return float(-10 * mean_square.log10())


def _edges(difference: Tensor) -> Tensor:
    """Mean absolute difference between neighbouring pixels' errors: torn edges cost more."""
    across = difference[..., 1:] - difference[..., :-1]
    down = difference[..., 1:, :] - difference[..., :-1, :]
    return across.abs().mean() + down.abs().mean()


@torch.no_grad()
def _measure(
    network: TemporalAutoencoder, stage: AutoencoderStage, seed: int, device: str, world: World
) -> float:
    """Set the latents' mean and scale from 64 clips, and return the PSNR over them in dB."""
    latents, errors = [], []
    dtype = next(network.parameters()).dtype
    for step in range(16):
        video = clips(stage, seed + 1, 2 * step + 1, device, world)
        mean, _ = network.posterior(video.to(dtype))
        latents.append(mean.float().flatten(0, -2))
        restored = network.decoder(mean).float().clamp(-1, 1)
        errors.append(((restored - video) / 2).square().mean())
    every = torch.cat(latents)
    std = every.std(0)
    network.latent_mean.copy_(every.mean(0))
    network.latent_std.copy_(std.clamp(min=0.2 * float(std.max())))
    return _decibels(torch.stack(errors).mean())
