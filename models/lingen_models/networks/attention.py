"""Softmax attention: heads with QK-norm, full self-attention, cross-attention to the prompt."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from lingen_models import torch_private
from lingen_models.kernels import attention_fused, c_kernels

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
    biases = kinds = None
    if mask is not None:
        biases = bias_of(mask, q.dtype)
        if biases.dim() == 2:
            biases, kinds = biases[None], torch.zeros(groups.numel(), dtype=torch.long)
        else:  # a mask for each group of the first axis
            kinds = torch.arange(groups.numel()) // (groups.numel() // groups[0])
            biases = biases.flatten(0, -3)
    y = attend_by_kind(q.flatten(0, -3), k.flatten(0, -3), v.flatten(0, -3), biases, kinds)
    return y.unflatten(0, groups)  # type: ignore[no-untyped-call, no-any-return]


def bias_of(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """Return what is added to scores for a mask: 0 where it is True, else minus infinity."""
    return torch.zeros_like(mask, dtype=dtype).masked_fill_(~mask, float("-inf"))


def attend_by_kind(
    q: Tensor, k: Tensor, v: Tensor, biases: Tensor | None, kinds: Tensor | None
) -> Tensor:
    """Softmax attention of groups (G, N, P) with the bias of their kind added to the scores.

    Args:
        q: (G, N, P) queries.
        k: (G, M, P) keys.
        v: (G, M, P) values.
        biases: (kinds, N or 1, M); None for none.
        kinds: (G,) the kind of each group.
    """
    y: Tensor = _Attention.apply(q, k, v, biases, kinds)  # type: ignore[no-untyped-call]
    return y


class _Attention(torch.autograd.Function):
    """`attend_by_kind`, some groups at a time, with the gradient written out.

    Left to autograd, slices and their concatenation cost about as much as the products.
    """

    @staticmethod
    def forward(
        ctx: Any,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        biases: Tensor | None,
        kinds: Tensor | None,
    ) -> Tensor:
        """(G, N, P) of what the queries found."""
        q, k, v = q.contiguous(), k.contiguous(), v.contiguous()
        y = q.new_empty(*q.shape[:2], v.shape[2])
        keep = any(ctx.needs_input_grad)
        weights = []
        fused = c_kernels.covers(q, k, v, *(() if biases is None else (biases,)))
        for part in _parts(q, k):
            if fused:
                chances = attention_fused.chances(q[part], k[part], biases, kinds, part)
                torch.bmm(chances, v[part], out=y[part])
                if keep:
                    weights.append(chances)
                continue
            bias = q.new_zeros(1, 1, 1) if biases is None else biases
            if kinds is not None:
                bias = bias[kinds[part]]
            scores = torch.baddbmm(
                bias.expand(part.stop - part.start, q.shape[1], k.shape[1]),
                q[part],
                k[part].transpose(1, 2),
                beta=0 if biases is None else 1,
                alpha=q.shape[2] ** -0.5,
            )
            chances = scores.softmax(-1)
            torch.bmm(chances, v[part], out=y[part])
            if keep:
                weights.append(chances)
        ctx.save_for_backward(q, k, v, *weights)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of queries, keys and values."""
        q, k, v, *weights = ctx.saved_tensors
        d_q, d_k, d_v = (torch.empty_like(one) for one in (q, k, v))
        gradient = gradient.contiguous()
        scale = q.shape[2] ** -0.5
        for part, chances in zip(_parts(q, k), weights, strict=True):
            torch.bmm(chances.transpose(1, 2), gradient[part], out=d_v[part])
            d_chances = torch.bmm(gradient[part], v[part].transpose(1, 2))
            if c_kernels.covers(d_chances, chances):
                d_scores = attention_fused.softmax_backward(d_chances, chances, scale)
                torch.bmm(d_scores, k[part], out=d_q[part])
                torch.bmm(d_scores.transpose(1, 2), q[part], out=d_k[part])
                continue
            d_scores = torch_private.softmax_backward(d_chances, chances)
            d_scores *= scale
            torch.bmm(d_scores, k[part], out=d_q[part])
            torch.bmm(d_scores.transpose(1, 2), q[part], out=d_k[part])
        return d_q, d_k, d_v, None, None


def _parts(q: Tensor, k: Tensor) -> list[slice]:
    """Groups whose scores are held at once."""
    step = max(1, _SCORES // (q.shape[1] * k.shape[1]))
    return [slice(at, min(at + step, q.shape[0])) for at in range(0, q.shape[0], step)]


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
        q_weight, k_weight = self.q_norm.weight, self.k_norm.weight
        if c_kernels.covers(x, self.qkv.weight, q_weight, k_weight):
            q, k, v = attention_fused.heads_apart(self.qkv(x), None, q_weight, k_weight, None)
            return q, k, v
        return self.heads_of(self.qkv(x))

    def heads_of(self, qkv: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Projected tokens (G, N, 3 D) -> queries, keys and values (G, heads, N, P)."""
        q, k, v = torch.unflatten(qkv, -1, (3, -1, self.head_dim)).unbind(2)
        return self.q_norm(q).transpose(1, 2), self.k_norm(k).transpose(1, 2), v.transpose(1, 2)

    def joined(self, y: Tensor) -> Tensor:
        """Join the results of the heads, (G, heads, N, P) -> (G, N, D)."""
        if c_kernels.covers(y, self.out.weight):
            return self.out(attention_fused.heads_together(y, None, y.shape[2]))  # type: ignore[no-any-return]
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
        q_weight, k_weight = self.q_norm.weight, self.k_norm.weight
        if c_kernels.covers(x, text, self.q.weight, q_weight, k_weight):
            odd = -text.shape[1] % 16  # the softmax is quicker over whole vectors
            text, text_mask = F.pad(text, (0, 0, 0, odd)), F.pad(text_mask, (0, odd))
            (q,) = attention_fused.heads_apart(self.q(x), None, q_weight)
            k, v = attention_fused.heads_apart(self.kv(text), None, k_weight, None)
            y = attend(q, k, v, text_mask[:, None, None, :])
            return self.out(attention_fused.heads_together(y, None, x.shape[1]))  # type: ignore[no-any-return]
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
