"""Wan 2.1 (arXiv 2503.20314): a diffusion transformer, full attention, clips of 5 s."""

from __future__ import annotations

from lingen_plugins.contracts import SUPPORTED, HubModel
from lingen_plugins.hub.families.on_wan import (
    NEGATIVE,
    UMT5_XXL,
    WAN_VAE,
    OnWanLatents,
    builder,
)

WAN: HubModel = HubModel(
    name="wan-1.3b",
    summary="Wan 2.1 text to video, 832x480, 16 fps, 5 s; full attention",
    build=builder(OnWanLatents, lambda: WAN),
    takes_formats=True,
    pipelines=("WanPipeline",),
    since="0.35.0",
    repository="Wan-AI/Wan2.1-T2V-1.3B-Diffusers",
    license="Apache-2.0",
    license_url="https://huggingface.co/Wan-AI/Wan2.1-T2V-1.3B-Diffusers",
    parameters={
        "transformer": 1_418_996_800,
        "text_encoder": UMT5_XXL,
        "vae": WAN_VAE,
    },
    fps=16,
    size="832x480",
    side_step=16,
    time_stride=4,
    frames=81,
    steps=50,
    guidance=5.0,
    negative_prompt=NEGATIVE,
    tiles=True,
    supports=(*SUPPORTED, "shift", "step_cache"),
)
