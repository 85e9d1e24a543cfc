"""Video autoencoders of `diffusers`, for a LinGen to be trained on their latents."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lingen_models.checkpoints.safetensors import CheckpointError
from lingen_plugins.contracts import Autoencoder, Config
from lingen_plugins.hub.families import ltx_codec, wan_codec
from lingen_plugins.hub.families.ltx import LTX
from lingen_plugins.hub.families.wan import WAN
from lingen_plugins.hub.folders import codec_folders
from lingen_plugins.hub.loading import WAN_AUTOENCODER, load_network

if TYPE_CHECKING:
    from torch import Tensor

    from lingen_models.checkpoints.pretrained import FrozenAutoencoder

_LTX = "AutoencoderKLLTXVideo"


def build_wan_codec(config: Config) -> FrozenAutoencoder:
    """Wan's autoencoder in `config["folder"]`, in float32: causal, a latent frame at a time."""
    from lingen_models.checkpoints.pretrained import FrozenAutoencoder

    vae = _load(WAN_AUTOENCODER, config)
    if vae.config.patch_size:
        raise CheckpointError(f"weights do not fit: {config['folder']} is not that of Wan 2.1")
    stride = int(vae.config.scale_factor_temporal)

    def pieces(latents: Tensor, chunk: int, start: int) -> Iterator[Tensor]:
        """The first latent frame gives one image; in the middle of a video it stands for all."""
        for number, piece in enumerate(wan_codec.decode_frames(vae, latents[:, :, start:])):
            yield piece.repeat_interleave(stride, 2) if start and not number else piece

    return FrozenAutoencoder(
        vae,
        encode=partial(wan_codec.encode_pixels, vae),
        pieces=pieces,
        latent_channels=int(vae.config.z_dim),
        time_stride=stride,
        space_stride=int(vae.config.scale_factor_spatial),
        reach=wan_codec.reach_of(vae),
    )


def build_ltx_codec(config: Config) -> FrozenAutoencoder:
    """LTX-Video's autoencoder in `config["folder"]`, in float32: it looks both ways in time."""
    from lingen_models.checkpoints.pretrained import FrozenAutoencoder

    vae = _load(_LTX, config)

    def pieces(latents: Tensor, chunk: int, start: int) -> Iterator[Tensor]:
        return ltx_codec.decode_pieces(vae, latents, start)

    return FrozenAutoencoder(
        vae,
        encode=partial(ltx_codec.encode_pixels, vae),
        pieces=pieces,
        latent_channels=int(vae.config.latent_channels),
        time_stride=int(vae.temporal_compression_ratio),
        space_stride=int(vae.spatial_compression_ratio),
    )


def _load(kind: str, config: Config) -> Any:
    import torch

    if set(config) != {"folder"}:
        raise ValueError("it has no config")
    (folder,) = codec_folders(Path(config["folder"]), kind)
    return load_network(folder, "diffusers", kind, torch.float32)


AUTOENCODERS = [
    Autoencoder(
        name="wan",
        summary="Wan 2.1's autoencoder, causal: 4 frames x 8 x 8 pixels, 16 channels",
        build=build_wan_codec,
        folders=partial(codec_folders, kind=WAN_AUTOENCODER),
        repository=WAN.repository,
        packages=("diffusers", "accelerate"),
        latent_channels=16,
        time_stride=4,
        space_stride=8,
    ),
    Autoencoder(
        name="ltx",
        summary="LTX-Video's autoencoder: 8 frames x 32 x 32 pixels, 128 channels",
        build=build_ltx_codec,
        folders=partial(codec_folders, kind=_LTX),
        repository=LTX.repository,
        packages=("diffusers", "accelerate"),
        latent_channels=128,
        time_stride=8,
        space_stride=32,
    ),
]
