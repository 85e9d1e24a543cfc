"""Helios (arXiv 2603.04379): chunks of 33 frames, each with a compressed history of all before.

A chunk is nine latent frames, decoded by itself: the grid of time begins anew with each.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from lingen_plugins.contracts import HubModel
from lingen_plugins.hub.families.on_wan import NEGATIVE, UMT5_XXL, WAN_VAE, builder
from lingen_plugins.hub.families.wan_codec import decode_frames
from lingen_plugins.hub.windowed import WindowedPipeline

if TYPE_CHECKING:
    from torch import Tensor

    from lingen_models.sampling.params import SamplingParams

CHUNK = 9
"""Latent frames; the pipeline's own default."""
CHUNK_FRAMES = 33
HISTORY = (16, 2, 1)
"""Latent frames that are remembered: far, middle and near."""


class Helios(WindowedPipeline):
    """Chunk after chunk, each a call of the pipeline with what was made as its history."""

    def latent_frames(self, frames: int) -> int:
        """Whole chunks."""
        return CHUNK * -(-frames // CHUNK_FRAMES)

    def entry(self, frame: int) -> tuple[int, int]:
        """The chunk that holds the frame."""
        chunk = frame // CHUNK_FRAMES
        return CHUNK * chunk, CHUNK_FRAMES * chunk

    def _plan(self, have: int, new: int, windows: tuple[int, int]) -> Iterator[tuple[int, int]]:
        for made in range(0, new, CHUNK):
            yield min(have + made, windows[1]), CHUNK

    def _drawn(self, past: int, new: int) -> int:
        return new

    def _decode_pieces(self, latents: Tensor) -> Iterator[Tensor]:
        for begin in range(0, latents.shape[2], CHUNK):
            yield from decode_frames(self.pipe.vae, latents[:, :, begin : begin + CHUNK])

    def _call(
        self,
        noise: Tensor,
        prompt: str,
        params: SamplingParams,
        *,
        known: Tensor | None = None,
        past: int = 0,
        place: int = 0,
        **more: Any,
    ) -> Tensor:
        """One chunk. The pipeline draws its noise and decodes what it made by itself; here the
        noise is given, and pixels are made later."""
        if known is not None and past:
            more |= {"image_latents": known[:, :, :1], "video_latents": known[:, :, -past:]}
            more |= {"add_noise_to_image_latents": False, "add_noise_to_video_latents": False}
        pipe = self.pipe
        pipe.prepare_latents = lambda *_, **__: noise.clone()
        pipe.vae.decode = lambda latents, **_: (latents[:, :3],)
        try:
            found: Tensor = pipe(
                height=noise.shape[3] * self.space_stride,
                width=noise.shape[4] * self.space_stride,
                num_frames=CHUNK_FRAMES,
                num_inference_steps=params.steps,
                guidance_scale=params.guidance_scale,
                history_sizes=list(HISTORY),
                num_latent_frames_per_chunk=CHUNK,
                **self._text(prompt, params),
                **more,
            ).frames
        finally:
            del pipe.prepare_latents, pipe.vae.decode
        return found[:, :, -CHUNK:]


HELIOS: HubModel = HubModel(
    name="helios-14b",
    summary="Helios, 640x384, 24 fps, minutes in chunks of 33 frames",
    build=builder(Helios, lambda: HELIOS),
    takes_formats=True,
    pipelines=("HeliosPipeline",),
    since="0.37.0",
    repository="BestWishYsh/Helios-Base",
    license="Apache-2.0",
    license_url="https://huggingface.co/BestWishYsh/Helios-Base",
    parameters={
        "transformer": 14_312_427_584,
        "text_encoder": UMT5_XXL,
        "vae": WAN_VAE,
    },
    fps=24,
    size="640x384",
    side_step=16,
    time_stride=4,
    frames=CHUNK_FRAMES,
    windows=(sum(HISTORY) + CHUNK, sum(HISTORY)),
    from_pixels=False,
    steps=50,
    guidance=5.0,
    negative_prompt=NEGATIVE,
)
