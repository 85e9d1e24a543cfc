"""One LinGen block: MATE, cross-attention, feed-forward, with adaLN-single (paper.md 1.1)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lingen_models.kernels import c_kernels, gelu_fused
from lingen_models.network_config import LinGenConfig
from lingen_models.networks.attention import CrossAttention, FullAttention
from lingen_models.networks.embeddings import PositionTables
from lingen_models.networks.mate import Mate
from lingen_models.networks.norms import gated_sum, modulate
from lingen_models.parallel.slabs import Slabs

_HELD, _HELD_ON_GPU = 2**21, 2**28
"""Hidden values that are held at once where no gradient is asked for (on a CPU: in the cache)."""


class FeedForward(nn.Module):
    """Linear, GELU, Linear on every token, some tokens at a time."""

    def __init__(self, width: int, ratio: float) -> None:
        super().__init__()
        hidden = int(width * ratio)
        self.up = nn.Linear(width, hidden, bias=False)
        self.down = nn.Linear(hidden, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) -> the same shape."""
        step = max(1, (_HELD_ON_GPU if x.is_cuda else _HELD) // self.up.out_features)
        learns = torch.is_grad_enabled()
        if learns or x.shape[:-1].numel() <= step:
            hidden = self.up(x)
            gelu = gelu_fused.gelu if learns and c_kernels.covers(hidden) else F.gelu
            return self.down(gelu(hidden))  # type: ignore[no-any-return]
        parts = [self.down(F.gelu(self.up(part))) for part in torch.split(x.flatten(0, -2), step)]
        return torch.cat(parts).view(x.shape)


class Block(nn.Module):
    """`modulate -> mixer -> gate`, cross-attention, `modulate -> FFN -> gate`, all residual.

    The mixer is MATE, or full attention in the DiT twin. Position tables enter the first norm.
    """

    def __init__(self, config: LinGenConfig, layer: int) -> None:
        super().__init__()
        self.position = PositionTables(config.width, config.position_grid)
        self.modulation = nn.Parameter(torch.randn(6, config.width) * config.width**-0.5)
        self.mixer: nn.Module = (
            Mate(config, layer)
            if config.mixer == "mate"
            else FullAttention(config.width, config.head_dim)
        )
        self.cross_norm = nn.LayerNorm(config.width, bias=False)
        self.cross_attention = CrossAttention(config.width, config.head_dim)
        self.feed_forward = FeedForward(config.width, config.ffn_ratio)

    def forward(
        self,
        x: Tensor,
        time: Tensor,
        text: Tensor,
        text_mask: Tensor,
        first_frame: int,
        slabs: Slabs | None = None,
    ) -> Tensor:
        """(B, T, H, W, D) with `time` (B, T, 6, D), `text` (B, M, D) -> the same shape; with
        `slabs`, T are the latent frames that this process holds."""
        _, _, gate, ffn_shift, ffn_scale, ffn_gate = self._parts(time)
        given = self.mixer_input(x, time, first_frame, slabs)
        x = gated_sum(x, gate, self.mixer(given) if slabs is None else self.mixer(given, slabs))
        flat = x.flatten(1, 3)
        looked = self.cross_attention(self.cross_norm(flat), text, text_mask)
        x = (flat + looked).view(x.shape)
        return gated_sum(x, ffn_gate, self.feed_forward(modulate(x, ffn_shift, ffn_scale)))

    def mixer_input(
        self, x: Tensor, time: Tensor, first_frame: int, slabs: Slabs | None = None
    ) -> Tensor:
        """(B, T, H, W, D): the tokens at their positions, modulated."""
        shift, scale, *_ = self._parts(time)
        grid = (x.shape[1], x.shape[2], x.shape[3])
        return modulate(x, shift, scale, self.position(grid, first_frame, slabs).to(x.dtype))

    def _parts(self, time: Tensor) -> tuple[Tensor, ...]:
        """Shift, scale and gate of the mixer, then of the feed-forward."""
        return (time + self.modulation.to(time.dtype))[:, :, None, None].unbind(-2)
