"""Wan's causal video autoencoder (4 x 8 x 8), a latent frame at a time.

`AutoencoderKLWan.decode` goes through the latent frames one by one with a cache of features, and
keeps all frames of the video; here each is handed out. So the images are those of `decode`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from importlib import import_module
from typing import TYPE_CHECKING, Any

from lingen_plugins.hub.loading import awake, in_tiles

if TYPE_CHECKING:
    from torch import Tensor


def decode_frames(vae: Any, latents: Tensor) -> Iterator[Tensor]:
    """Pixels (B, 3, t, H, W) from -1 to 1, of normalised latents (B, C, T, h, w), t = 1 or 4."""
    yield from _decoded(vae, _plain(vae, latents))


def decode_in_tiles(vae: Any, latents: Tensor) -> Tensor:
    """Pixels of all frames at once, of normalised latents: in tiles that are blended."""
    import torch

    with torch.inference_mode(), in_tiles(vae, wanted=True):
        pixels: Tensor = vae.decode(_plain(vae, latents), return_dict=False)[0]
        return pixels


def decode_plain(vae: Any, latents: Tensor) -> Iterator[Tensor]:
    """Pixels as `decode_frames`, of latents as `AutoencoderKLWan.decode` takes them."""
    awake(vae)
    yield from _decoded(vae, latents.to(vae.device, vae.dtype))


def _plain(vae: Any, latents: Tensor) -> Tensor:
    """Latents that are no more normalised, where `vae` computes."""
    import torch

    awake(vae)
    with torch.inference_mode():
        mean, deviation = _statistics(vae, latents.to(vae.device, vae.dtype))
        return latents.to(vae.device, vae.dtype) / (1.0 / deviation) + mean


def _decoded(vae: Any, latents: Tensor) -> Iterator[Tensor]:
    import torch

    with torch.inference_mode():
        hidden = vae.post_quant_conv(latents)
    vae.clear_cache()
    memory = vae._feat_map  # a list of its own for each video: other uses of `vae` do not meet it
    for at in range(hidden.shape[2]):
        with torch.inference_mode():
            pixels = vae.decoder(
                hidden[:, :, at : at + 1], feat_cache=memory, feat_idx=[0], first_chunk=at == 0
            )
            if vae.config.patch_size is not None:
                pixels = import_module(type(vae).__module__).unpatchify(
                    pixels, patch_size=vae.config.patch_size
                )
            pixels = pixels.clamp(-1.0, 1.0)
        yield pixels


def encode_frames(vae: Any, frames: Tensor) -> Tensor:
    """uint8 (1 + 4 k, H, W, 3) -> normalised latents (1, C, 1 + k, h, w) in float32."""
    pixels = frames.to(vae.device).permute(3, 0, 1, 2)[None].to(vae.dtype) / 127.5 - 1
    return encode_pixels(vae, pixels)


def encode_pixels(vae: Any, pixels: Tensor) -> Tensor:
    """(B, 3, 1 + 4 k, H, W) from -1 to 1 -> normalised latents (B, C, 1 + k, h, w) in float32."""
    import torch

    awake(vae)
    with torch.inference_mode():
        latents = vae.encode(pixels.to(vae.device, vae.dtype)).latent_dist.mode()
        mean, deviation = _statistics(vae, latents)
        normal: Tensor = (latents - mean) * (1.0 / deviation)
        return normal.float()


def reach_of(vae: Any) -> int:
    """Count the latent frames before its own that the decoder looks at for a frame of video.

    Every convolution over time looks back by its length less one, in frames of its own, which the
    upsamplers make finer.
    """
    decoder, rate = vae.decoder, 1
    back = _back(decoder.conv_in) + _back(decoder.mid_block)
    for block in decoder.up_blocks:
        back += _back(block.resnets) / rate
        sampler = block.upsamplers[0] if block.upsamplers else None
        if sampler is not None and hasattr(sampler, "time_conv"):
            back += _back(sampler) / rate
            rate *= 2
    return math.ceil(back + _back(decoder.conv_out) / rate)


def _back(module: Any) -> float:
    """Frames that the convolutions of `module` look back in all; what runs beside is not counted
    twice, since a shortcut looks at its own frame alone."""
    sizes: list[tuple[int, ...]] = [getattr(one, "kernel_size", ()) for one in module.modules()]
    return float(sum(size[0] - 1 for size in sizes if len(size) == 3))


def _statistics(vae: Any, like: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation of each channel, as a pipeline applies them."""
    import torch

    mean, deviation = (
        torch.tensor(values).view(1, -1, 1, 1, 1).to(like.device, like.dtype)
        for values in (vae.config.latents_mean, vae.config.latents_std)
    )
    return mean, deviation
