"""LTX-Video's autoencoder (8 x 32 x 32), in pieces of time.

Its decoder looks both ways: an image depends on more than twenty latent frames on either side, as
many as a clip has. So a clip is decoded whole, and a longer video in pieces that see a few latent
frames of their neighbours: an approximation, in memory that does not grow.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from lingen_plugins.hub.loading import awake

if TYPE_CHECKING:
    from torch import Tensor

WHOLE = 22
"""Latent frames up to which a video is decoded in one piece: 169 frames."""
PIECE = 12
CONTEXT = 5
"""Latent frames of a piece, and of its neighbours on either side."""
TIMESTEP, NOISE = 0.05, 0.025
"""What the decoder is told of the noise in its input, and how much is put there; the pipeline's
defaults."""
STRIDE = 8


def first_of_piece(frame: int, count: int) -> int:
    """The first latent frame of the piece that holds a frame of a video of `count` latents."""
    latent = -(-frame // STRIDE)
    return 0 if count <= WHOLE else latent // PIECE * PIECE


def encode_pixels(vae: Any, pixels: Tensor) -> Tensor:
    """(B, 3, 1 + 8 k, H, W) from -1 to 1 -> normalised latents (B, C, 1 + k, h, w) in float32."""
    import torch

    awake(vae)
    with torch.inference_mode():
        latents = vae.encode(pixels.to(vae.device, vae.dtype)).latent_dist.mode()
        mean, deviation = _statistics(vae, latents)
        normal: Tensor = (latents - mean) * vae.config.scaling_factor / deviation
        return normal.float()


def decode_pieces(vae: Any, latents: Tensor, start: int) -> Iterator[Tensor]:
    """Pixels (B, 3, t, H, W) from -1 to 1 of the latents (B, C, T, h, w) from `start` on.

    `start` begins a piece. The latents are prepared as `vae_decode_tiled` does: the last
    one again, and a little noise, here from a seed of its own.
    """
    import torch
    from diffusers.utils.torch_utils import randn_tensor

    vae, count = awake(vae), latents.shape[2]
    time = None
    with torch.inference_mode():
        normal = latents.to(vae.device, torch.float32)
        mean, deviation = _statistics(vae, normal)
        ready = (normal * deviation / vae.config.scaling_factor + mean).to(vae.dtype)
        ready = torch.cat((ready, ready[:, :, -1:]), 2)
        if vae.config.timestep_conditioning:
            time = torch.tensor([TIMESTEP], device=ready.device, dtype=ready.dtype)
            generator = torch.Generator().manual_seed(0)
            noise = randn_tensor(
                ready.shape, generator=generator, device=ready.device, dtype=ready.dtype
            )
            share = torch.tensor(NOISE, device=ready.device, dtype=ready.dtype)
            ready = (1 - share) * ready + share * noise
    size = count if count <= WHOLE else PIECE
    for begin in range(start, count, size):
        end = min(begin + size, count)
        low, high = max(0, begin - CONTEXT), min(end + CONTEXT, count + 1)
        if count <= WHOLE:
            low, high = 0, count + 1
        with torch.inference_mode():
            pixels = vae.decode(ready[:, :, low:high], time, return_dict=False)[0]
        first = STRIDE * (begin - 1) + 1 if begin else 0
        last = STRIDE * (end - 1) + 1
        yield pixels[:, :, first - STRIDE * low : last - STRIDE * low]


def _statistics(vae: Any, like: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation of each channel, as a pipeline applies them."""
    mean, deviation = (
        values.view(1, -1, 1, 1, 1).to(like.device, like.dtype)
        for values in (vae.latents_mean, vae.latents_std)
    )
    return mean, deviation
