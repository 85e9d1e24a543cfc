"""The MATE block's mixer: a Mamba branch plus a window-attention branch (paper.md 2.1, 2.2)."""

from __future__ import annotations

import functools

import torch
from torch import Tensor, nn

from lingen_models.network_config import LinGenConfig
from lingen_models.networks.mamba2 import BidirectionalMamba2
from lingen_models.networks.scan_orders import scan_of_layer
from lingen_models.networks.window_attention import WindowAttention
from lingen_models.parallel.slabs import Slabs


class MambaBranch(nn.Module):
    """Review tokens, Rotary Major Scan, one bidirectional Mamba2, inverse scan (paper.md 2.2)."""

    def __init__(self, config: LinGenConfig, layer: int) -> None:
        super().__init__()
        self.scan = scan_of_layer(config.scan_axes, layer)
        self.review_pool = config.review_pool if config.review != "none" else None
        self.mamba = BidirectionalMamba2(config)

    def forward(self, x: Tensor, slabs: Slabs | None = None) -> Tensor:
        """(B, T, H, W, D) -> the same shape; with `slabs`, of the latent frames that this process
        holds."""
        if slabs is not None:
            return self._divided(x, slabs)
        review = None
        if self.review_pool is not None:
            review = self.scan.flatten(review_tokens(x, self.review_pool))
        y = self.mamba(self.scan.flatten(x), review)
        return self.scan.restore(y, (x.shape[1], x.shape[2], x.shape[3]))

    def _divided(self, x: Tensor, slabs: Slabs) -> Tensor:
        review = review_slabs = None
        if self.review_pool is not None:
            whole, cells = slabs.whole_cells(self.review_pool[0])
            pooled = review_tokens(slabs.moved(x, 1, whole), self.review_pool)
            review, review_slabs = self.scan.stretch(pooled, cells)
        tokens, token_slabs = self.scan.stretch(x, slabs)
        y = self.mamba(tokens, review, token_slabs, review_slabs)[:, : token_slabs.size]
        return self.scan.rejoined(y, (slabs.length, x.shape[2], x.shape[3]), slabs)


def review_tokens(x: Tensor, pool: tuple[int, int, int]) -> Tensor:
    """Mean-pool (B, T, H, W, D) by `pool`; a ragged last cell is the mean of what it holds."""
    for axis, step in enumerate(pool, start=1):
        whole = x.shape[axis] // step * step
        paired = torch.unflatten(x.narrow(axis, 0, whole), axis, (whole // step, step))
        cells = paired.unbind(axis + 1)
        pooled = functools.reduce(torch.add, cells) / step
        rest = x.shape[axis] - whole
        if rest:
            last = x.narrow(axis, whole, rest).mean(axis, keepdim=True)
            pooled = torch.cat((pooled, last), axis)
        x = pooled
    return x


class Mate(nn.Module):
    """MATE(x) = MA(x) + TE(x), both on the same normed input (paper.md 2.1)."""

    def __init__(self, config: LinGenConfig, layer: int) -> None:
        super().__init__()
        self.mamba_branch = MambaBranch(config, layer) if config.mamba_branch else None
        self.tesa_branch = (
            WindowAttention(config.width, config.head_dim, config.window, shifted=layer % 2 == 1)
            if config.tesa_branch
            else None
        )

    def forward(self, x: Tensor, slabs: Slabs | None = None) -> Tensor:
        """(B, T, H, W, D) -> the same shape; with `slabs`, of the latent frames that this process
        holds."""
        divided = () if slabs is None else (slabs,)
        if self.mamba_branch is None:
            assert self.tesa_branch is not None
            return self.tesa_branch(x, *divided)  # type: ignore[no-any-return]
        y: Tensor = self.mamba_branch(x, *divided)
        return y if self.tesa_branch is None else y + self.tesa_branch(x, *divided)
