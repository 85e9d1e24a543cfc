"""The built-in model zoo."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from lingen_models.config import PRESETS, LinGenConfig, WordsConfig
from lingen_plugins.contracts import Config, ModelVariant, Weights
from lingen_plugins.hookspecs import hookimpl

if TYPE_CHECKING:
    from lingen_models.lingen import LinGen


def build_lingen(config: Config) -> LinGen:
    """A fresh denoiser with random weights."""
    from lingen_models.lingen import LinGen

    return LinGen(LinGenConfig.from_dict(config))


def tiny(config: LinGenConfig) -> LinGenConfig:
    """The same architecture, small enough to run in a test: two layers of width 32."""
    return replace(
        config,
        width=32,
        depth=2,
        head_dim=16,
        ssm_head_dim=16,
        state_size=16,
        chunk=16,
        window=(4, 2, 2),
        text_dims=tuple(32 for _ in config.text_dims),
        position_grid=(8, 4, 4),
    )


@hookimpl
def register_model_variants() -> list[ModelVariant]:
    """`lingen-mini`, whose weights are in the package, and `lingen-4b`, of which none exist."""
    mini = PRESETS["mini"]
    # The paper's three encoders are not built in; what can be trained today reads the one that is.
    full = replace(PRESETS["4b"], text_dims=(WordsConfig().width,))
    return [
        ModelVariant(
            name="lingen-mini",
            summary="128 x 128, 16 fps, up to a minute; trained on the playground",
            build=build_lingen,
            config=mini.to_dict(),
            tiny_config=tiny(mini).to_dict(),
            autoencoder="tae",
            text_encoders=("playground-words",),
            scan_order="rms",
            review=mini.review,
            sampler="euler-late",
            guidance=4.5,
            weights=Weights(package="lingen_models", folder="weights/lingen-mini"),
            licence="Apache-2.0",
        ),
        ModelVariant(
            name="lingen-4b",
            summary="the size of the paper, 4 billion parameters; no weights exist",
            build=build_lingen,
            config=full.to_dict(),
            tiny_config=tiny(full).to_dict(),
            autoencoder="tae",
            text_encoders=("playground-words",),
            scan_order="rms",
            review=full.review,
            sampler="euler",
            weights=None,
            licence="Apache-2.0",
            size=512,
            trained_seconds=68.0,
            steps=50,
            guidance=7.5,
        ),
    ]
