"""Stage 1: the temporal autoencoder, on clips rendered as it goes."""

from __future__ import annotations

import random
from pathlib import Path

import torch
from torch import Tensor

from lingen_models.checkpoints.safetensors import save_network
from lingen_models.networks.video_autoencoder import TemporalAutoencoder
from lingen_models.precision import compute_dtype
from lingen_training.data import PLAYGROUND, World, rendered
from lingen_training.loop import Report, Schedule, run_loop
from lingen_training.optimiser import MasterWeights
from lingen_training.recipe import AutoencoderStage


def train_autoencoder(
    stage: AutoencoderStage,
    seed: int,
    folder: Path,
    device: str,
    report: Report,
    world: World = PLAYGROUND,
) -> Path:
    """Train, measure the latents' scale, and write `folder/autoencoder.safetensors`."""
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
        restored = network.decoder(latents).float()
        pixels = (restored - video).abs().mean()
        edges = _edges(restored - video)
        outlier = (mean.float().abs() - stage.outlier_limit).clamp(min=0).square().mean()
        divergence = 0.5 * (mean.float().square() + log_variance.exp() - 1 - log_variance).mean()
        squared = (restored - video).square().mean()
        pressure = stage.kl_weight * min(1.0, 0.02 + step / (0.6 * stage.steps))
        loss = pixels + 2 * squared + stage.edge_weight * edges + pressure * divergence + outlier
        return {"loss": loss, "pixels": pixels, "edges": edges, "kl": divergence}

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
    path = folder / "autoencoder.safetensors"
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


def clips(
    stage: AutoencoderStage, seed: int, step: int, device: str, world: World = PLAYGROUND
) -> Tensor:
    """One batch of (B, 3, frames, size, size): small clips and full-size ones in turn."""
    full = step % 2 == 1
    size = stage.full_size if full else stage.size
    count = stage.full_batch if full else stage.batch
    rng = random.Random(f"{seed}/autoencoder/{step}")
    scenes = [world.sample_scene(rng.randrange(2**31)) for _ in range(count)]
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
