"""SkyReels-V2 with diffusion forcing (arXiv 2504.13074): every latent frame has a time of its own.

So a window can hold clean frames of what was before, and goes on from them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from lingen_plugins.contracts import SUPPORTED, HubModel
from lingen_plugins.hub.families.on_wan import NEGATIVE, UMT5_XXL, WAN_VAE, builder
from lingen_plugins.hub.windowed import WindowedPipeline

if TYPE_CHECKING:
    from torch import Tensor

    from lingen_models.sampling.params import SamplingParams

NOISE_ON_PAST = 20
"""Of 1000: the clean frames are blurred a little, which its authors recommend for long videos."""


class SkyReels(WindowedPipeline):
    """All frames of a window are denoised at once, behind the clean ones of its past."""

    def _plan(self, have: int, new: int, windows: tuple[int, int]) -> Iterator[tuple[int, int]]:
        """As the pipeline itself cuts long videos."""
        from lingen_models.sampling.windows import cut

        return cut(have, new, windows)

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
        """One window. The pipeline takes latents of a past only from a window of its own before,
        so what it prepares is replaced."""
        import torch

        from lingen_models.sampling.windows import place_seed

        frames = noise.shape[2]
        count = 1 + self.time_stride * (frames - 1)
        before = None if known is None or not past else known[:, :, -past:]
        self.pipe.prepare_latents = lambda *_, **__: (noise.clone(), frames, before, past)
        try:
            with torch.random.fork_rng():
                torch.manual_seed(place_seed(params.seed, place))  # of the noise on the past
                found: Tensor = self.pipe(
                    prompt=None,
                    height=noise.shape[3] * self.space_stride,
                    width=noise.shape[4] * self.space_stride,
                    num_frames=count,
                    num_inference_steps=params.steps,
                    guidance_scale=params.guidance_scale,
                    base_num_frames=count,
                    addnoise_condition=NOISE_ON_PAST if past else 0,
                    fps=self.model.fps,
                    **self._text(prompt, params),
                    **more,
                ).frames
                return found
        finally:
            del self.pipe.prepare_latents


SKYREELS: HubModel = HubModel(
    name="skyreels-v2-1.3b",
    summary="SkyReels-V2 diffusion forcing, 960x544, 24 fps, any length in windows of 4 s",
    build=builder(SkyReels, lambda: SKYREELS),
    takes_formats=True,
    pipelines=("SkyReelsV2DiffusionForcingPipeline",),
    since="0.35.0",
    repository="Skywork/SkyReels-V2-DF-1.3B-540P-Diffusers",
    license="Skywork community license",
    license_url="https://huggingface.co/Skywork/SkyReels-V2-DF-1.3B-540P-Diffusers",
    parameters={
        "transformer": 1_435_525_696,
        "text_encoder": UMT5_XXL,
        "vae": WAN_VAE,
    },
    fps=24,
    size="960x544",
    side_step=16,
    time_stride=4,
    frames=97,
    windows=(25, 5),
    steps=50,
    guidance=6.0,
    negative_prompt=NEGATIVE,
    shift=8.0,
    supports=(*SUPPORTED, "shift"),
)
