"""The most bytes of tensors that a network holds at a time, counted without computing anything."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import torch

from lingen_models.flops import Shape
from lingen_models.live_bytes import LiveBytes
from lingen_models.network_config import LinGenConfig, TAEConfig
from lingen_models.networks.denoiser import LinGen
from lingen_models.networks.video_autoencoder import TemporalAutoencoder

WORDS = 12
"""Text tokens, as a prompt of the playground has them."""
OVERHEAD = 2.0
"""Resident memory over tensors on a CPU: malloc's gaps, what matrix products pack, and what a run
holds beside its networks. With it plans came near the peaks of docs/performance.md."""


@cache
def held_by_denoiser(config: LinGenConfig, rows: int, shape: Shape, dtype: torch.dtype) -> int:
    """In a pass over `rows` rows of latents of `shape`, without the weights."""
    with torch.device("meta"):
        network = LinGen(replace(config, depth=min(2, config.depth))).to(dtype).eval()
        latents = torch.zeros(rows, config.latent_channels, *shape)
        times = torch.zeros(rows, shape[0])
        texts = [torch.zeros(rows, WORDS, size, dtype=dtype) for size in config.text_dims]
        masks = [torch.ones(rows, WORDS, dtype=torch.bool) for _ in texts]
    live = LiveBytes()
    with torch.inference_mode(), live:
        network(latents, times, texts, masks)
    return live.peak


@cache
def held_by_decoder(config: TAEConfig, area: Shape, dtype: torch.dtype) -> int:
    """While latents of `area` (frames at a time, height, width) become images."""
    chunk, high, wide = area
    with torch.device("meta"):
        network = TemporalAutoencoder(config).to(dtype).eval()
        latents = torch.zeros(1, config.latent_channels, 3 * chunk, high, wide)
    live = LiveBytes()
    with torch.inference_mode(), live:
        for _ in network.decode_in_chunks(latents, chunk=chunk):
            pass
    return live.peak
