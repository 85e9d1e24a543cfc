"""LTX-Video (arXiv 2501.00103), distilled, in sliding windows: any length in one call.

Parts of the prompt that are set off with | belong to the windows, one after the other.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lingen_models.pipelines.protocol import first_frames
from lingen_plugins.contracts import PLAIN, HubModel, WeightFormats
from lingen_plugins.hub.adapter import HubPipeline, to_uint8
from lingen_plugins.hub.families.ltx_codec import STRIDE, decode_pieces, first_of_piece
from lingen_plugins.hub.loading import check_strides, load_pipeline

if TYPE_CHECKING:
    from torch import Tensor

    from lingen_models.sampling.params import SamplingParams

WINDOW, OVERLAP = 10, 3
"""Latent frames of a window, and of it and the next; the pipeline's defaults."""


class LtxLong(HubPipeline):
    """The pipeline draws its own noise, for each window from the seed and its place."""

    causal = False
    _count = 1
    """Latent frames of the video that is decoded."""

    def passes(self, have: int, new: int, windows: tuple[int, int] | None, cut: bool) -> int:
        """Count the windows of `new` latent frames."""
        return 1 + max(0, -(-(new - WINDOW) // (WINDOW - OVERLAP)))

    def entry(self, frame: int) -> tuple[int, int]:
        """The beginning of the piece that holds the frame."""
        start = first_of_piece(frame, self._count)
        return start, 1 + STRIDE * (start - 1) if start else 0

    def decode(self, latents: Tensor, frames: int, start: int = 0) -> Iterator[Tensor]:
        """uint8 (t, H, W, 3) pieces on the CPU, `frames` in all, from latent frame `start` on."""
        self._decodes = True
        pieces = decode_pieces(self.pipe.vae, latents, start)
        return first_frames(map(to_uint8, pieces), frames)

    def _space_stride(self) -> int:
        return int(self.pipe.vae_spatial_compression_ratio)

    def _call(self, noise: Tensor, prompt: str, params: SamplingParams, **more: Any) -> Tensor:
        self._count = noise.shape[2]
        found: Tensor = self.pipe(
            prompt=prompt,
            negative_prompt=params.negative_prompt,
            num_frames=1 + STRIDE * (self._count - 1),
            height=noise.shape[3] * self.space_stride,
            width=noise.shape[4] * self.space_stride,
            frame_rate=self.model.fps,
            num_inference_steps=params.steps + 1,  # of which it leaves out the last
            guidance_scale=params.guidance_scale,
            seed=params.seed,
            temporal_tile_size=STRIDE * WINDOW,
            temporal_overlap=STRIDE * OVERLAP,
            **more,
        ).frames
        return found


def build_ltx(folder: Path, device: str, dtype: Any, formats: WeightFormats = PLAIN) -> LtxLong:
    """LTX-Video from a folder, with the scheduler that its authors' long videos are made with."""
    pipe = load_pipeline(LTX, folder, device, dtype, formats)
    vae = pipe.vae
    check_strides(
        LTX, folder / "vae", vae.temporal_compression_ratio, vae.spatial_compression_ratio
    )
    scheduler = import_module("diffusers").LTXEulerAncestralRFScheduler
    pipe.scheduler = scheduler.from_config(pipe.scheduler.config)
    return LtxLong(pipe, LTX)


LTX = HubModel(
    name="ltx-13b-distilled",
    summary="LTX-Video 0.9.8 distilled, 704x512, 25 fps, minutes in sliding windows",
    build=build_ltx,
    takes_formats=True,
    pipelines=(
        "LTXI2VLongMultiPromptPipeline",
        "LTXConditionPipeline",
        "LTXImageToVideoPipeline",
        "LTXPipeline",
    ),
    since="0.37.0",
    repository="Lightricks/LTX-Video-0.9.8-13B-distilled",
    license="LTXV Open Weights License",
    license_url="https://huggingface.co/Lightricks/LTX-Video-0.9.8-13B-distilled",
    parameters={
        "transformer": 13_042_569_344,
        "text_encoder": 4_762_310_656,
        "vae": 1_246_913_522,
    },
    fps=25,
    size="704x512",
    side_step=32,
    time_stride=STRIDE,
    frames=25 * 3600,
    steps=7,
    guidance=1.0,
)
