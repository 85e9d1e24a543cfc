"""Names that pipelines of `diffusers` have for the same things."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

FRAMES = ("num_frames", "frames", "video_length")
"""Names of the length in frames, an argument."""
RATES = ("frame_rate", "fps")
"""Names of the frames per second, an argument."""


def arguments_of(pipe: Any) -> Mapping[str, inspect.Parameter]:
    """Arguments of the call of a pipeline."""
    found: Mapping[str, inspect.Parameter] | None = getattr(pipe, "arguments", None)
    return inspect.signature(pipe.__call__).parameters if found is None else found


def strides_of(pipe: Any) -> tuple[int, int]:
    """Video frames and pixels per latent, as a pipeline counts them. Raises AttributeError."""
    for time, space in (
        ("vae_scale_factor_temporal", "vae_scale_factor_spatial"),
        ("vae_temporal_compression_ratio", "vae_spatial_compression_ratio"),
        ("vae_temporal_scale_factor", "vae_spatial_scale_factor"),
    ):
        if hasattr(pipe, time) and hasattr(pipe, space):
            return int(getattr(pipe, time)), int(getattr(pipe, space))
    raise AttributeError(f"{type(pipe).__name__} does not say how its autoencoder counts frames")


def shift_name(scheduler: Any) -> str | None:
    """Name of the shift of its noise schedule in the configuration of a scheduler; None where it
    has none."""
    return next((one for one in ("flow_shift", "shift") if one in scheduler.config), None)
