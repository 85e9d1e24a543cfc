"""Stage 1: the temporal autoencoder, on clips rendered as it goes."""

from __future__ import annotations

import random
from pathlib import Path

import torch
from torch import Tensor

from lingen_models.checkpoints.safetensors import (
    build_network,
    load_network,
    read_metadata,
    save_network,
)
from lingen_models.network_config import TAEConfig
from lingen_models.networks.video_autoencoder import TemporalAutoencoder
from lingen_models.precision import compute_dtype
from lingen_playground import close_up_scene
from lingen_training.datasets.world import PLAYGROUND, World, rendered
from lingen_training.optimization.loop import Report, Schedule, run_loop
from lingen_training.optimization.optimizer import MasterWeights
from lingen_training.training_recipe import AutoencoderStage


def train_autoencoder(
    stage: AutoencoderStage,
    seed: int,
    folder: Path,
    device: str,
    report: Report,
    world: World = PLAYGROUND,
    name: str = "autoencoder.safetensors",
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
        noise = torch.randn(mean.shape, generator=torch.Generator().manual_seed(seed + step)).to(
            device
        )
        spread = (0.5 * log_variance).exp().clamp(min=stage.noise)
        latents = mean + (noise * spread).to(mean.dtype)
        losses = _restored(network, stage, latents, video)
        outlier = (mean.float().abs() - stage.outlier_limit).clamp(min=0).square().mean()
        divergence = 0.5 * (mean.float().square() + log_variance.exp() - 1 - log_variance).mean()
        pressure = stage.kl_weight * min(1.0, 0.02 + step / (0.6 * stage.steps))
        loss = losses["loss"] + pressure * divergence + outlier
        return {**losses, "loss": loss, "kl": divergence}

    schedule = Schedule(stage.learning_rate, stage.steps, warmup=100, decay=stage.decay)
    run_loop(
        name="autoencoder",
        weights=weights,
        loss_of=loss_of,
        schedule=schedule,
        folder=folder,
        report=report,
    )
    weights.use(weights.average)
    quality = _measure(network, stage, seed, device, world)
    report(f"autoencoder: {quality:.2f} dB on new clips")
    network.to(torch.bfloat16)
    path = folder / name
    save_network(
        path,
        network,
        {
            "kind": "tae",
            "config": network.config.to_dict(),
            "training": {**stage.model_dump(), "seed": seed, "psnr_db": round(quality, 2)},
        },
    )
    return path


def train_decoder(
    stage: AutoencoderStage,
    whole: Path,
    seed: int,
    folder: Path,
    device: str,
    report: Report,
    world: World = PLAYGROUND,
) -> Path:
    """Train the decoder of the autoencoder in the file `whole` on longer clips, and write
    `folder/autoencoder.safetensors`. Its encoder stays as it is."""
    metadata = read_metadata(whole)
    network = build_network(
        whole, metadata, lambda config: TemporalAutoencoder(TAEConfig.from_dict(config))
    )
    assert isinstance(network, TemporalAutoencoder)
    load_network(whole, network)
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
        video = clips(longer, seed, step, device, world, close_ups=True)
        with torch.no_grad():
            mean, log_variance = network.posterior(video.to(dtype))
            generator = torch.Generator().manual_seed(seed + step)
            noise = torch.randn(mean.shape, generator=generator).to(device)
            spread = (0.5 * log_variance).exp().clamp(min=stage.noise)
            latents = mean + (noise * spread).to(mean.dtype)
        return _restored(network, stage, latents, video)

    run_loop(
        name="decoder",
        weights=weights,
        loss_of=loss_of,
        schedule=Schedule(stage.decoder_learning_rate, stage.decoder_steps, warmup=20, decay=0.4),
        folder=folder,
        report=report,
    )
    weights.use(weights.average)
    path = folder / "autoencoder.safetensors"
    training = {
        **metadata.get("training", {}),
        "decoder": stage.model_dump(
            include={"decoder_steps", "decoder_frames", "decoder_learning_rate"}
        ),
    }
    save_network(path, network.to(torch.bfloat16), {**metadata, "training": training})
    return path


def _restored(
    network: TemporalAutoencoder, stage: AutoencoderStage, latents: Tensor, video: Tensor
) -> dict[str, Tensor]:
    """The loss of what the decoder makes of latents, and its parts."""
    difference = network.decoder(latents).float() - video
    pixels, edges = difference.abs().mean(), _edges(difference)
    loss = pixels + 2 * difference.square().mean() + stage.edge_weight * edges
    return {"loss": loss, "pixels": pixels, "edges": edges}


def clips(
    stage: AutoencoderStage,
    seed: int,
    step: int,
    device: str,
    world: World = PLAYGROUND,
    *,
    close_ups: bool = False,
) -> Tensor:
    """One batch of (B, 3, frames, size, size): small clips and full-size ones in turn; with
    `close_ups`, every second small one of the playground is seen from half the distance."""
    full = step % 2 == 1
    size = stage.full_size if full else stage.size
    count = stage.full_batch if full else stage.batch
    rng = random.Random(f"{seed}/autoencoder/{step}")
    near = close_ups and world is PLAYGROUND and step % 4 == 0
    sample = close_up_scene if near else world.sample_scene
    scenes = [sample(rng.randrange(2**31)) for _ in range(count)]
    return rendered(world, scenes, stage.frames, size, rng.uniform(0, 30), device)


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
    return float(-10 * torch.stack(errors).mean().log10())
