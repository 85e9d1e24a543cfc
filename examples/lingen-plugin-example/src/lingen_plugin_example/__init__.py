"""The hooks. Nothing here imports torch: that waits until something is built."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from lingen_models.network_config import PRESETS, LinGenConfig
from lingen_plugins import ModelVariant, Sampler, ScanOrder, hookimpl

AXES = ("wht", "htw", "thw")


def build_denoiser(config: Mapping[str, Any]) -> Any:
    """The network of lingen with this configuration, and random weights."""
    from lingen_models.networks.denoiser import LinGen

    return LinGen(LinGenConfig.from_dict(config))


def build_midpoint() -> Any:
    """The loop itself."""
    from lingen_plugin_example.midpoint import midpoint

    return midpoint


@hookimpl
def register_scan_orders() -> list[ScanOrder]:
    """One order of tokens; layers take turns."""
    summary = "columns, rows and frames first, in turn"
    return [ScanOrder(name="example-columns", summary=summary, axes=AXES)]


@hookimpl
def register_model_variants() -> list[ModelVariant]:
    """One model, which names the parts it is made of: ours, and some that ship with lingen."""
    config = replace(PRESETS["mini"], scan_axes=AXES)
    tiny = replace(
        config, width=32, depth=3, head_dim=16, ssm_head_dim=16, state_size=8, text_dims=(32,)
    )
    return [
        ModelVariant(
            name="example-mini",
            summary="as lingen-mini, with another scan order; no weights exist",
            build=build_denoiser,
            config=config.to_dict(),
            tiny_config=tiny.to_dict(),
            autoencoder="tae",
            text_encoders=("playground-words",),
            scan_order="example-columns",
            review=config.review,
            sampler="example-midpoint",
            license="Apache-2.0",
        )
    ]


@hookimpl
def register_samplers() -> list[Sampler]:
    """One sampler, which works with every model."""
    return [
        Sampler(
            name="example-midpoint",
            summary="the midpoint method: two looks for each step, so take half the steps",
            build=build_midpoint,
            schedule="uniform",
            restartable=True,
        )
    ]
