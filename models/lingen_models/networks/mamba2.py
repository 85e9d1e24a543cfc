"""Bidirectional Mamba2 with shared projections, and its review prefix (paper.md 2.2, 2.4, 2.5)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lingen_models.kernels import c_kernels, mamba_fused
from lingen_models.kernels.dispatch import Prefix, scan_from, scan_with_review
from lingen_models.network_config import LinGenConfig
from lingen_models.networks.norms import GatedRMSNorm
from lingen_models.parallel.passed_states import entering_states
from lingen_models.parallel.slabs import Slabs

Projected = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]
"""Gate, x, B, C and step sizes of tokens."""


class BidirectionalMamba2(nn.Module):
    """One Mamba2 that reads a sequence in both directions.

    Parameter names follow mamba_ssm's Mamba2 where they mean the same. The depthwise convolution
    is centred, so one pass serves both directions (as in Hydra, arXiv 2407.09941); step sizes and
    decays are per direction. Review tokens and tokens are convolved as two sequences (our default).
    """

    def __init__(self, config: LinGenConfig) -> None:
        super().__init__()
        self.inner = config.expand * config.width
        self.heads = self.inner // config.ssm_head_dim
        self.state_size = config.state_size
        self.chunk = config.chunk
        self.merge = config.merge
        self.review = config.review
        conv_channels = self.inner + 2 * config.state_size
        self._split = [self.inner, conv_channels, 2 * self.heads]
        self.in_proj = nn.Linear(config.width, sum(self._split), bias=False)
        self.conv1d = DepthwiseConv(conv_channels, config.conv_width)
        self.dt_bias = nn.Parameter(torch.empty(2, self.heads))
        self.A_log = nn.Parameter(torch.empty(2, self.heads))
        self.D = nn.Parameter(torch.empty(self.heads))
        self.norm = GatedRMSNorm(self.inner)
        self.out_proj = nn.Linear(self.inner, config.width, bias=False)
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Mamba2's initialisation: dt log-uniform in 0.001 to 0.1, A uniform in 1 to 16."""
        dt = torch.empty_like(self.dt_bias).uniform_(math.log(1e-3), math.log(1e-1)).exp()
        self.dt_bias.copy_(dt + torch.log(-torch.expm1(-dt)))
        self.A_log.uniform_(1, 16).log_()
        self.D.fill_(1)

    def forward(
        self,
        tokens: Tensor,
        review: Tensor | None = None,
        slabs: Slabs | None = None,
        review_slabs: Slabs | None = None,
    ) -> Tensor:
        """Mix (B, L, D) `tokens`; `review` (B, R, D) is read first and not returned.

        With `review="both"` each direction has the review tokens before its first token, with
        "front" the forward direction alone (paper.md 2.4). With `slabs`, both are this process's
        stretches of longer sequences, which are divided like that.
        """
        gate, x, B, C, dt = self._project(tokens, slabs)
        prefix = None
        if review is not None and self.review != "none":
            _, review_x, review_B, _, review_dt = self._project(review, review_slabs)
            prefix = (review_x, review_dt, review_B)
        y = self._scan(x, dt, B, C, prefix, slabs)
        if c_kernels.covers(y, x, gate, self.D, self.norm.weight):
            normed = mamba_fused.gated_norm(y, x, self.D, gate, self.norm.weight)
            return self.out_proj(normed)  # type: ignore[no-any-return]
        y = torch.addcmul(y, x, self.D.to(x.dtype).unsqueeze(-1))
        return self.out_proj(self.norm(y.flatten(2), gate))  # type: ignore[no-any-return]

    def _scan(
        self,
        x: Tensor,
        dt: Tensor,
        B: Tensor,
        C: Tensor,
        prefix: Prefix | None,
        slabs: Slabs | None,
    ) -> Tensor:
        A = -self.A_log.to(self._wide).exp()
        both_ends, diagonal = self.review == "both", self.merge == "sum"
        if slabs is None:
            return scan_with_review(
                x,
                dt,
                A,
                B,
                C,
                prefix=prefix,
                both_ends=both_ends,
                chunk=self.chunk,
                diagonal=diagonal,
            )
        start = entering_states(x, dt, A, B, slabs, prefix=prefix, both_ends=both_ends)
        return scan_from(start, x, dt, A, B, C, chunk=self.chunk, diagonal=diagonal)

    @property
    def _wide(self) -> torch.dtype:
        return torch.promote_types(self.A_log.dtype, torch.float32)

    def _project(self, tokens: Tensor, slabs: Slabs | None = None) -> Projected:
        """Project tokens; with `slabs`, a stretch of them, with the tokens beside it in view of
        the convolution. One blank token, without a step, stands for a stretch of none."""
        if slabs is None:
            return self._project_whole(tokens)
        rim = self.conv1d.weight.shape[-1] // 2
        seen = slabs.with_rims(tokens, 1, rim, rim)
        if not slabs.size:
            gate, x, B, C, dt = self._project_whole(F.pad(seen, (0, 0, 0, 1)))
            return gate, x, B, C, 0 * dt
        first = min(rim, slabs.own[0])
        own = slice(first, first + slabs.size)
        gate, x, B, C, dt = self._project_whole(seen)
        return gate[:, own], x[:, own], B[:, own], C[:, own], dt[:, :, own]

    def _project_whole(self, tokens: Tensor) -> Projected:
        gate, mixed, raw_dt = torch.split(self.in_proj(tokens), self._split, dim=-1)
        conv = self.conv1d
        if c_kernels.covers(mixed, conv.weight, conv.bias):
            x, B, C, dt = mamba_fused.convolve(
                mixed, conv.weight, conv.bias, raw_dt, self.dt_bias.float(), self.inner
            )
            return gate, torch.unflatten(x, -1, (self.heads, -1)), B, C, dt
        mixed = F.silu(conv(mixed))
        x, B, C = torch.split(mixed, [self.inner, self.state_size, self.state_size], dim=-1)
        raw_dt = torch.unflatten(raw_dt, -1, (2, self.heads)).permute(2, 0, 1, 3)
        dt = F.softplus(raw_dt.to(self._wide) + self.dt_bias.to(self._wide)[:, None, None, :])
        return gate, torch.unflatten(x, -1, (self.heads, -1)), B, C, dt


class DepthwiseConv(nn.Module):
    """Centred depthwise convolution over (B, L, C), zeros outside the sequence.

    The sequence is seen as a channels-last image of width one, so nothing is transposed and
    the library's depthwise kernel does the work in one pass.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(channels, 1, width))
        self.bias = nn.Parameter(torch.zeros(channels))
        nn.init.uniform_(self.weight, -(width**-0.5), width**-0.5)

    def forward(self, x: Tensor) -> Tensor:
        """Same shape out."""
        channels, _, width = self.weight.shape
        image = x.unsqueeze(2).permute(0, 3, 1, 2)
        y = F.conv2d(
            image, self.weight.unsqueeze(-1), self.bias, padding=(width // 2, 0), groups=channels
        )
        return y.permute(0, 2, 3, 1).squeeze(2)
