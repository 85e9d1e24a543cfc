"""One door to the SSD kernels: on a GPU our Triton kernels for sampling, and `mamba_ssm`'s where
gradients are needed; else our PyTorch path."""

from __future__ import annotations

import functools
import importlib.util
import warnings
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor

from lingen_models.kernels.ssd import bidirectional_ssd, final_states

Prefix = tuple[Tensor, Tensor, Tensor]
"""Review tokens as x (B, R, K, P), dt (2, B, R, K) and B (B, R, S)."""


def scan_with_review(
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    *,
    prefix: Prefix | None,
    both_ends: bool,
    chunk: int,
    diagonal: bool,
) -> Tensor:
    """Sum of both directions over the tokens, with `prefix` read before them.

    Shapes as in `kernels.ssd.bidirectional_ssd`. `both_ends` gives the backward direction
    the prefix as well, read in its own order (paper.md 2.4).
    """
    route = scan_route(x.device, gradients=torch.is_grad_enabled())
    if route == "mamba_ssm":
        return _triton(x, dt, A, B, C, prefix, both_ends, chunk, diagonal)
    read: Callable[..., Tensor] = final_states
    if route == "triton":
        from lingen_models.kernels import triton_ssd

        read = triton_ssd.final_states_triton
    start = _start(read, A, prefix, both_ends)
    return scan_from(start, x, dt, A, B, C, chunk=chunk, diagonal=diagonal)


def scan_from(
    start: Tensor | None,
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    *,
    chunk: int,
    diagonal: bool,
) -> Tensor:
    """Sum of both directions over the tokens, which begin with the states `start` (2, B, K, P, S).

    Shapes as in `kernels.ssd.bidirectional_ssd`. `mamba_ssm`'s kernel is not used: with gradients,
    a GPU takes the PyTorch path here.
    """
    if scan_route(x.device, gradients=torch.is_grad_enabled()) == "triton":
        from lingen_models.kernels import triton_ssd

        return triton_ssd.bidirectional_ssd_triton(
            x, dt, A, B, C, initial_states=start, diagonal=diagonal
        )
    return bidirectional_ssd(x, dt, A, B, C, chunk=chunk, initial_states=start, diagonal=diagonal)


def _start(
    read: Callable[..., Tensor], A: Tensor, prefix: Prefix | None, both_ends: bool
) -> Tensor | None:
    """The states after the review tokens, with which the directions begin."""
    if prefix is None:
        return None
    start = read(prefix[0], prefix[1], A, prefix[2])
    return start if both_ends else torch.stack((start[0], torch.zeros_like(start[1])))


def scan_route(
    device: torch.device, *, gradients: bool
) -> Literal["triton", "mamba_ssm", "pytorch"]:
    """Return which kernels a scan on `device` goes through."""
    if device.type != "cuda":
        return "pytorch"
    if not gradients and own_kernels_work(device):
        return "triton"
    return "pytorch" if triton_scan() is None else "mamba_ssm"


@functools.cache
def own_kernels_work(device: torch.device) -> bool:
    """Tell whether our Triton kernels compile on `device` and agree there with the PyTorch path,
    which is tried once, on a few tokens. Where they do not, a warning says so."""
    if importlib.util.find_spec("triton") is None:
        return False
    with torch.inference_mode():
        x, B, C = (torch.randn(1, 200, *size, device=device) for size in ((2, 64), (32,), (32,)))
        dt, A = torch.rand(2, 1, 200, 2, device=device) / 10, -torch.ones(2, 2, device=device)
        wanted = bidirectional_ssd(x, dt, A, B, C)
        try:
            from lingen_models.kernels.triton_ssd import bidirectional_ssd_triton

            found = bidirectional_ssd_triton(x, dt, A, B, C)
            error = float((found - wanted).norm() / wanted.norm())
            reason = f"their error was {error:.1%}" if not error < 0.01 else ""
        except Exception as failure:  # whatever a compiler or a driver may raise
            reason = f"{type(failure).__name__}: {failure}"
    if reason:
        warnings.warn(f"the Triton kernels do not work on {device}: {reason}", stacklevel=2)
    return not reason


@functools.cache
def triton_scan() -> Any | None:
    """`mamba_chunk_scan_combined` if the package is installed and imports, else None."""
    if importlib.util.find_spec("mamba_ssm") is None or importlib.util.find_spec("triton") is None:
        return None
    from lingen_models.kernels.mamba_ssm import import_scan

    return import_scan()


def _triton(
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    prefix: Prefix | None,
    both_ends: bool,
    chunk: int,
    diagonal: bool,
) -> Tensor:
    """Both directions as one batch of the causal kernel; A is per direction, so it joins dt.

    The kernel takes one A for all rows. exp(dt A) with input dt x is kept by passing dt' = -dt A
    with A = -1 and dividing x by -A: dt' x' = dt x.
    """
    kernel = triton_scan()
    assert kernel is not None
    x, dt, B, C = _both(x, dt, B, C)
    skip = 0
    if prefix is not None:
        skip = prefix[0].shape[1]
        x, dt, B, C = _prepend(x, dt, B, C, prefix, both_ends)
    rate = -A.to(dt.dtype)[:, None, None, :]
    scaled_x = (torch.unflatten(x, 0, (2, -1)) / rate.unsqueeze(-1)).flatten(0, 1).to(x.dtype)
    y: Tensor = kernel(
        scaled_x,
        (dt * rate).flatten(0, 1),
        -torch.ones_like(A[0]),
        B.unsqueeze(2),
        C.unsqueeze(2),
        chunk_size=chunk,
    )
    ahead, back = torch.unflatten(y[:, skip:], 0, (2, -1))
    total: Tensor = ahead + back.flip(1)
    if not diagonal:
        x_ahead = torch.unflatten(x, 0, (2, -1))[0, :, skip:]
        steps = dt[0, :, skip:] + dt[1, :, skip:].flip(1)
        own = torch.unflatten((B * C).sum(-1), 0, (2, -1))[0, :, skip:]
        total = total - x_ahead * (steps * own.unsqueeze(-1)).to(x.dtype).unsqueeze(-1)
    return total


def _both(x: Tensor, dt: Tensor, B: Tensor, C: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Stack a sequence and its reverse along the batch; dt keeps its leading direction axis."""
    return (
        torch.cat((x, x.flip(1))),
        torch.stack((dt[0], dt[1].flip(1))),
        torch.cat((B, B.flip(1))),
        torch.cat((C, C.flip(1))),
    )


def _prepend(
    x: Tensor, dt: Tensor, B: Tensor, C: Tensor, prefix: Prefix, both_ends: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Put the review tokens before both directions of a sequence that `_both` has stacked."""
    review_x, review_dt, review_B = prefix
    if not both_ends:  # dt = 0 makes the prefix invisible to the backward direction
        review_dt = torch.stack((review_dt[0], torch.zeros_like(review_dt[1])))
    before = _both(review_x, review_dt, review_B, torch.zeros_like(review_B))
    return (
        torch.cat((before[0], x), 1),
        torch.cat((before[1], dt), 2),
        torch.cat((before[2], B), 1),
        torch.cat((before[3], C), 1),
    )
