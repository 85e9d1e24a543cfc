"""SANA-Video (arXiv 2509.24695): a diffusion transformer with linear attention, clips of 5 s."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lingen_plugins.contracts import SUPPORTED, HubModel
from lingen_plugins.hub.families.on_wan import WAN_VAE, OnWanLatents, builder

if TYPE_CHECKING:
    from torch import Tensor

    from lingen_models.sampling.params import SamplingParams


NEGATIVE = (
    "A chaotic sequence with misshapen, deformed limbs in heavy motion blur, sudden "
    "disappearance, jump cuts, jerky movements, rapid shot changes, frames out of sync, "
    "inconsistent character shapes, temporal artifacts, jitter, and ghosting effects, "
    "creating a disorienting visual experience."
)
"""Of its authors."""


class SanaVideo(OnWanLatents):
    """Its pipeline would round sizes to those of its training; here they stay what was asked."""

    _frames_name = "frames"

    def _call(self, noise: Tensor, prompt: str, params: SamplingParams, **more: Any) -> Tensor:
        return super()._call(noise, prompt, params, use_resolution_binning=False, **more)


SANA: HubModel = HubModel(
    name="sana-video-2b",
    summary="SANA-Video, 832x480, 16 fps, 5 s; linear attention",
    build=builder(SanaVideo, lambda: SANA),
    takes_formats=True,
    pipelines=("SanaVideoPipeline",),
    since="0.36.0",
    repository="Efficient-Large-Model/SANA-Video_2B_480p_diffusers",
    license="NVIDIA Open Model License",
    license_url="https://www.nvidia.com/en-us/agreements/enterprise-software/"
    "nvidia-open-model-license/",
    parameters={
        "transformer": 2_056_862_144,
        "text_encoder": 2_614_341_888,
        "vae": WAN_VAE,
    },
    fps=16,
    size="832x480",
    side_step=32,
    time_stride=4,
    frames=81,
    steps=50,
    guidance=6.0,
    negative_prompt=NEGATIVE,
    tiles=True,
    supports=(*SUPPORTED, "shift"),
)
