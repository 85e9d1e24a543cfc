"""Base of all pipelines on the latents of Wan's autoencoder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lingen_models.checkpoints.safetensors import CheckpointError
from lingen_plugins.contracts import PLAIN, HubModel, WeightFormats
from lingen_plugins.hub.adapter import HubPipeline
from lingen_plugins.hub.families.wan_codec import (
    decode_frames,
    decode_in_tiles,
    encode_frames,
    reach_of,
)
from lingen_plugins.hub.loading import WAN_AUTOENCODER, check_strides, load_pipeline

if TYPE_CHECKING:
    from torch import Tensor

UMT5_XXL = 5_680_910_336
WAN_VAE = 126_892_531
"""Numbers in parts that several families share."""
NEGATIVE = (
    "Bright tones, overexposed, static, blurred details, subtitles, style, works, paintings, "
    "images, static, overall gray, worst quality, low quality, JPEG compression residue, "
    "ugly, incomplete, extra fingers, poorly drawn hands, poorly drawn faces, deformed, "
    "disfigured, misshapen limbs, fused fingers, still picture, messy background, three legs, "
    "many people in the background, walking backwards"
)
"""Of Wan's authors; the families that grew out of Wan are shown with it as well."""


class OnWanLatents(HubPipeline):
    """A pipeline on the latents of Wan's autoencoder."""

    @cached_property
    def reach(self) -> int:
        """Latent frames before its own that a frame of the video depends on."""
        return reach_of(self.pipe.vae)

    def encode_video(self, frames: Tensor) -> Tensor:
        """uint8 (1 + 4 k, H, W, 3) -> latents (1, C, 1 + k, h, w)."""
        return encode_frames(self.pipe.vae, frames)

    def _decode_pieces(self, latents: Tensor) -> Iterator[Tensor]:
        if self.tiles:  # all frames at once
            return iter([decode_in_tiles(self.pipe.vae, latents)])
        return decode_frames(self.pipe.vae, latents)


def builder(
    kind: type[OnWanLatents], record: Callable[[], HubModel]
) -> Callable[..., OnWanLatents]:
    """The `build` of a record: a pipeline of this kind from a folder, whose autoencoder is Wan's.
    It raises `CheckpointError`."""

    def build(
        folder: Path, device: str, dtype: Any, formats: WeightFormats = PLAIN
    ) -> OnWanLatents:
        model = record()
        pipe = load_pipeline(model, folder, device, dtype, formats)
        vae, place = pipe.vae, folder / "vae"
        if type(vae).__name__ != WAN_AUTOENCODER or vae.config.patch_size:
            raise CheckpointError(f"weights do not fit the model: {place} is not that of Wan")
        strides = vae.config.scale_factor_temporal, vae.config.scale_factor_spatial
        check_strides(model, place, *strides)
        return kind(pipe, model)

    return build
