"""Dense optical flow without weights: Lucas and Kanade's, from coarse to fine.

The flow stands at the middle between two frames and is found by moving both of them half the way,
so that the two moved frames also are an estimate of the frame between.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

_COARSEST = 12
"""Short side in pixels at which the pyramid ends."""
_ROUNDS = 3
_WINDOW = 9
_SIGMA = 2.0
_DAMPING = 20.0
"""Squared levels per pixel added to the structure tensor: flat regions, and noise of a few levels,
do not move."""
_MOST = 1.0
"""Pixels of a level by which a round may change the flow."""

_STILL_BELOW = 40
"""Short side of the levels on which what explains nothing is taken back: on finer ones the inside
of a plain object would be, too."""
_EXPLAINED = 0.9


def middle_flow(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Flow from `first` to `second`, and the estimated frame between the two.

    Args:
        first: frames (B, C, H, W) in 8-bit levels.
        second: the later frames, of the same shape.

    Returns:
        flow (B, 2, H, W), x and y in pixels, and frames (B, C, H, W).
    """
    pyramid = [(first, second)]
    while min(pyramid[-1][0].shape[-2:]) // 2 >= _COARSEST:
        pyramid.append((_halved(pyramid[-1][0]), _halved(pyramid[-1][1])))
    flow = first.new_zeros(first.shape[0], 2, *pyramid[-1][0].shape[-2:])
    for one, other in reversed(pyramid):
        flow = _resized(flow, one.shape[-2:])
        for _ in range(_ROUNDS):
            seen = _inside(-flow / 2) & _inside(flow / 2)
            flow = flow + _change(warp(one, -flow / 2), warp(other, flow / 2), seen)
        if min(one.shape[-2:]) < _STILL_BELOW:
            flow = _without_the_unmoved(one, other, flow)
    return flow, (warp(first, -flow / 2) + warp(second, flow / 2)) / 2


def warp(frames: Tensor, flow: Tensor) -> Tensor:
    """Frames (B, C, H, W) as they are at x + flow(x); the border goes on outside."""
    height, width = frames.shape[-2:]
    x, y = _targets(flow)
    grid = torch.stack(((2 * x + 1) / width - 1, (2 * y + 1) / height - 1), -1)
    return F.grid_sample(frames, grid, "bilinear", "border", align_corners=False)


def _targets(flow: Tensor) -> tuple[Tensor, Tensor]:
    """Column and line (B, H, W) to which a flow leads from every pixel."""
    height, width = flow.shape[-2:]
    x, y = (torch.arange(side, device=flow.device) for side in (width, height))
    return x + flow[:, 0], y[:, None] + flow[:, 1]


def _without_the_unmoved(one: Tensor, other: Tensor, flow: Tensor) -> Tensor:
    """Flow that is 0 where it explains no more than that nothing moves: a plain background would
    take on the flow of what is in front of it."""
    moved = (warp(other, flow / 2) - warp(one, -flow / 2)).square().mean(1, keepdim=True)
    unmoved = (other - one).square().mean(1, keepdim=True)
    return torch.where(_blurred(moved) < _EXPLAINED * _blurred(unmoved), flow, 0.0)


def _inside(flow: Tensor) -> Tensor:
    """Places (B, H, W) from which a flow leads to another place in the frame."""
    height, width = flow.shape[-2:]
    x, y = _targets(flow)
    return (y >= 0) & (y <= height - 1) & (x >= 0) & (x <= width - 1)


def _change(one: Tensor, other: Tensor, seen: Tensor) -> Tensor:
    """The step of Gauss and Newton for two frames that were moved towards each other; what came
    into the frame, or left it, has no say."""
    middle, apart = (one + other) / 2, other - one
    padded = F.pad(middle, (1, 1, 1, 1), "replicate")
    across = (padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]) / 2
    down = (padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]) / 2
    products = (across * across, across * down, down * down, across * apart, down * apart)
    sums = _blurred(torch.stack([one.sum(1) * seen for one in products], 1))
    xx, xy, yy, xt, yt = sums.unbind(1)
    xx, yy = xx + _DAMPING, yy + _DAMPING
    determinant = xx * yy - xy * xy
    x = (xy * yt - yy * xt) / determinant
    y = (xy * xt - xx * yt) / determinant
    return torch.stack((x, y), 1).clamp(-_MOST, _MOST)


def _blurred(values: Tensor) -> Tensor:
    """Means over a Gaussian window, (B, C, H, W) -> the same. Several times as fast as the
    convolution of torch on processors."""
    half = _WINDOW // 2
    values = F.pad(values, (half, half, half, half), "replicate")
    weights = [math.exp(-(at**2) / (2 * _SIGMA**2)) for at in range(-half, half + 1)]
    for axis in (3, 2):
        length = values.shape[axis] - 2 * half
        blurred = torch.zeros_like(values.narrow(axis, 0, length))
        for at, weight in enumerate(weights):
            blurred.add_(values.narrow(axis, at, length), alpha=weight / sum(weights))
        values = blurred
    return values


def _halved(frames: Tensor) -> Tensor:
    height, width = frames.shape[-2:]
    size = (-(-height // 2), -(-width // 2))
    return F.interpolate(frames, size, mode="bilinear", antialias=True)


def _resized(flow: Tensor, size: torch.Size) -> Tensor:
    """Flow of a coarser level, in pixels of a level of this size."""
    ratio = flow.new_tensor([size[1] / flow.shape[-1], size[0] / flow.shape[-2]])
    finer = F.interpolate(flow, tuple(size), mode="bilinear", align_corners=False)
    return finer * ratio[:, None, None]
