"""Softmax attention: heads with QK-norm, full self-attention, cross-attention to the prompt."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_SCORES = 2**20
"""Scores that are held at once on a CPU: what comes next finds them in the cache."""
_KEYS = 1024
"""Where a query looks at more on a CPU, the library's fused kernel is faster."""


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """softmax(q k^T / sqrt(P)) v for (..., N, P) heads; `mask` is True where a query may look.

    On a CPU small groups go through plain products, some groups at a time: there the library's
    fused kernel was measured 2 to 6 times slower, forwards and backwards, on windows with a mask.
    """
    if q.is_cuda or k.shape[-2] > _KEYS:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    groups = q.shape[:-2]
    bias = None
    if mask is not None:
        bias = torch.zeros_like(mask, dtype=q.dtype).masked_fill_(~mask, float("-inf"))
        if bias.dim() > 2:  # of every group its own
            bias = bias.expand(*groups, *bias.shape[-2:]).flatten(0, -3)
    q, k, v = (one.flatten(0, -3) for one in (q, k, v))
    step = max(1, _SCORES // (q.shape[-2] * k.shape[-2]))
    pieces = []
    for first in range(0, q.shape[0], step):
        part = slice(first, first + step)
        scores = (q[part] * q.shape[-1] ** -0.5) @ k[part].transpose(-1, -2)
        if bias is not None:
            scores += bias if bias.dim() == 2 else bias[part]
        pieces.append(scores.softmax(-1) @ v[part])
    return torch.cat(pieces).unflatten(0, groups)  # type: ignore[no-untyped-call, no-any-return]


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
        """(G, N, D) -> (G, N, D); `mask` (G, N, N) is True where a query may look."""
        q, k, v = self.heads(x)
        return self.joined(attend(q, k, v, None if mask is None else mask.unsqueeze(1)))

    def heads(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(G, N, D) -> queries, keys and values (G, heads, N, P)."""
        q, k, v = self.qkv(x).unflatten(-1, (3, -1, self.head_dim)).unbind(2)
        return self.q_norm(q).transpose(1, 2), self.k_norm(k).transpose(1, 2), v.transpose(1, 2)

    def joined(self, y: Tensor) -> Tensor:
        """What the heads found, (G, heads, N, P) -> (G, N, D)."""
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
