"""Softmax attention: heads with QK-norm, full self-attention, cross-attention to the prompt."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_SMALL = 2**25
"""Scores that may be held at once on a CPU."""


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """softmax(q k^T / sqrt(P)) v for (..., K, N, P) heads; `mask` is True where a query may look.

    On a CPU small groups go through plain products: there the library's fused kernel was
    measured 2 to 6 times slower, forwards and backwards, on windows of 16 to 144 tokens.
    """
    if q.is_cuda or q.shape[:-1].numel() * k.shape[-2] > _SMALL:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf"))
    weighted: Tensor = scores.softmax(-1) @ v
    return weighted


class SelfAttention(nn.Module):
    """Multi-head attention over groups of tokens, with QK-norm (paper.md 2.6).

    Over the whole clip as one group this is the DiT twin's mixer; over windows it is TESA's.
    """

    def __init__(self, width: int, head_dim: int) -> None:
        super().__init__()
        self.head_dim = head_dim
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.q_norm = nn.LayerNorm(head_dim, bias=False)
        self.k_norm = nn.LayerNorm(head_dim, bias=False)
        self.out = nn.Linear(width, width, bias=False)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """(G, N, D) -> (G, N, D); `mask` (M, N, N) is True where a query may look, M divides G."""
        q, k, v = self.qkv(x).unflatten(-1, (3, -1, self.head_dim)).unbind(2)
        q, k, v = self.q_norm(q).transpose(1, 2), self.k_norm(k).transpose(1, 2), v.transpose(1, 2)
        if mask is not None:  # groups come as (batch, window); the mask is per window
            windows, heads = mask.shape[0], q.shape[1]
            q, k, v = (torch.unflatten(part, 0, (-1, windows)).flatten(1, 2) for part in (q, k, v))
            mask = mask.repeat_interleave(heads, 0)
        y = attend(q, k, v, mask)
        if mask is not None:
            y = torch.unflatten(y, 1, (windows, heads)).flatten(0, 1)
        return self.out(y.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


class CrossAttention(nn.Module):
    """Tokens look at the prompt (paper.md 1.3)."""

    def __init__(self, width: int, head_dim: int) -> None:
        super().__init__()
        self.head_dim = head_dim
        self.q = nn.Linear(width, width, bias=False)
        self.kv = nn.Linear(width, 2 * width, bias=False)
        self.q_norm = nn.LayerNorm(head_dim, bias=False)
        self.k_norm = nn.LayerNorm(head_dim, bias=False)
        self.out = nn.Linear(width, width, bias=False)

    def forward(self, x: Tensor, text: Tensor, text_mask: Tensor) -> Tensor:
        """(B, N, D) x (B, M, D) -> (B, N, D); `text_mask` (B, M) is True at real tokens."""
        q = self.q_norm(self.q(x).unflatten(-1, (-1, self.head_dim))).transpose(1, 2)
        k, v = self.kv(text).unflatten(-1, (2, -1, self.head_dim)).unbind(2)
        k, v = self.k_norm(k).transpose(1, 2), v.transpose(1, 2)
        y = attend(q, k, v, text_mask[:, None, None, :])
        return self.out(y.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


class FullAttention(nn.Module):
    """The DiT twin's mixer: every token looks at every token."""

    def __init__(self, width: int, head_dim: int) -> None:
        super().__init__()
        self.attention = SelfAttention(width, head_dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, H, W, D) -> the same shape."""
        flat: Tensor = self.attention(x.flatten(1, 3))
        return flat.view(torch.Size((*x.shape[:-1], flat.shape[-1])))
