"""A cheap look at latents while they form."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

Pixels = np.ndarray[Any, np.dtype[np.uint8]]
_SHOWN = 4
_GAP = 2
_RIDGE = 1e-2


def sketch(latents: Tensor, first_image: Tensor, frames: int = _SHOWN) -> Pixels:
    """A row of up to `frames` small images, evenly spread over the clip.

    The colors come from a linear map from the 16 channels to RGB, fitted on the one frame that was
    decoded. Decoding them all would take as long as making the video.

    Args:
        latents: (1, C, T, h, w), an estimate of the clean latents.
        first_image: uint8 (H, W, 3), the decoded first latent frame.

    Returns:
        uint8 (h, n*w + (n-1)*gap, 3), one pixel per latent position.
    """
    x = latents[0].float().cpu()
    _, count, height, width = x.shape
    target = torch.nn.functional.interpolate(
        first_image.permute(2, 0, 1)[None].float(), (height, width), mode="area"
    )[0].flatten(1)
    features = _with_bias(x[:, 0].flatten(1))
    ridge = _RIDGE * features.shape[1] * torch.eye(features.shape[0])
    ridge[-1, -1] = 0.0
    to_rgb = torch.linalg.solve(features @ features.T + ridge, features @ target.T)
    shown = torch.linspace(0, count - 1, min(frames, count)).round().long().tolist()
    gap = np.zeros((height, _GAP, 3), np.uint8)
    row: list[Pixels] = []
    for number in shown:
        colors = (to_rgb.T @ _with_bias(x[:, number].flatten(1))).clamp(0, 255).round()
        image = colors.view(3, height, width).permute(1, 2, 0).to(torch.uint8).numpy()
        row += [gap, image] if row else [image]
    return np.concatenate(row, axis=1)


def _with_bias(channels: Tensor) -> Tensor:
    """(C, N) -> (C + 1, N), the last row ones."""
    return torch.cat([channels, torch.ones(1, channels.shape[1])])
