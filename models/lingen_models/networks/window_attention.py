"""TESA: softmax attention inside small 3-D windows, shifted on odd layers (paper.md 2.6)."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from lingen_models.kernels import attention_fused, c_kernels
from lingen_models.networks.attention import SelfAttention, attend, attend_by_kind, bias_of
from lingen_models.parallel.slabs import Slabs

Grid = tuple[int, int, int]


class WindowAttention(nn.Module):
    """Temporal Swin attention over (t, h, w) windows; odd layers shift by half a window.

    A window is never larger than the grid. The grid is padded up to whole windows and rolled;
    masks keep padding out and stop any look across an edge, in time as in space.
    """

    def __init__(self, width: int, head_dim: int, window: Grid, shifted: bool) -> None:
        super().__init__()
        self.window = window
        self.shifted = shifted
        self.attention = SelfAttention(width, head_dim)

    def forward(self, x: Tensor, slabs: Slabs | None = None) -> Tensor:
        """(B, T, H, W, D) -> the same shape; with `slabs`, of the latent frames that this process
        holds."""
        if slabs is not None:
            return self._divided(x, slabs)
        windows = Windows((x.shape[1], x.shape[2], x.shape[3]), self.window, self.shifted)
        own = self.attention
        if self._is_fused(x):
            return own.out(self._fused(own.qkv(x.flatten(1, 3)), windows)).view(x.shape)  # type: ignore[no-any-return]
        q, k, v = own.heads(windows.split(x))
        return windows.restore(self.attention.joined(windows.attend(q, k, v)))

    def _is_fused(self, x: Tensor) -> bool:
        own = self.attention
        return c_kernels.covers(x, own.qkv.weight, own.q_norm.weight, own.k_norm.weight)

    def _fused(self, qkv: Tensor, windows: Windows) -> Tensor:
        """Attention of projected tokens (B, T*H*W, 3 D) -> (B, T*H*W, D), before `out`."""
        q_weight, k_weight = self.attention.q_norm.weight, self.attention.k_norm.weight
        places = window_places(windows.grid, self.window, self.shifted, windows.in_time)
        q, k, v = attention_fused.heads_apart(qkv, places, q_weight, k_weight, None)
        return attention_fused.heads_together(windows.attend(q, k, v), places, qkv.shape[1])

    def _divided(self, x: Tensor, slabs: Slabs) -> Tensor:
        """Attention where each process has those windows that lie in its slab for the most part.

        Queries, keys and values of other frames go there, and what they have found comes back.
        """
        (span, *_), (shift, *_) = fit_window(
            (slabs.length, x.shape[2], x.shape[3]), self.window, self.shifted
        )
        there = slabs.at([nearest_edge(bound, slabs.length, span, shift) for bound in slabs.bounds])
        qkv = slabs.moved(self.attention.qkv(x), 1, there)
        grid = (there.size, x.shape[2], x.shape[3])
        if there.size:
            windows = Windows(grid, self.window, self.shifted, in_time=there.own[0] == 0)
            y = self._attended(qkv, windows)
        else:  # weights have a gradient of zero, as FSDP wants one in every process
            q, k, v = self.attention.heads_of(qkv.flatten(1, 3))
            y = torch.unflatten((q + k + v).transpose(1, 2).flatten(2), 1, grid)
        return self.attention.out(there.moved(y, 1, slabs))  # type: ignore[no-any-return]

    def _attended(self, qkv: Tensor, windows: Windows) -> Tensor:
        """(B, T, H, W, 3 D) -> (B, T, H, W, D)."""
        if self._is_fused(qkv):
            return torch.unflatten(self._fused(qkv.flatten(1, 3), windows), 1, windows.grid)
        q, k, v = self.attention.heads_of(windows.split(qkv))
        return windows.restore(windows.attend(q, k, v).transpose(1, 2).flatten(2))


def nearest_edge(frame: int, frames: int, span: int, shift: int) -> int:
    """The begin of a window, or the end of the last one, that is nearest to a latent frame.

    Windows of `span` frames begin at `shift`, and a shorter one before that at 0.
    """
    begin = shift + (frame - shift) // span * span
    before, after = max(0, begin), min(frames, begin + span)
    return before if frame - before <= after - frame else after


class Windows:
    """The windows of one grid, into which tokens are sorted and from which they come back.

    They are shifted along latent frames only where `in_time`.
    """

    def __init__(self, grid: Grid, window: Grid, shifted: bool, in_time: bool = True) -> None:
        self.grid, self.in_time = grid, in_time
        self.window, self.shift = fit_window(grid, window, shifted, in_time)
        t, h, w = (-(-size // step) for size, step in zip(grid, self.window, strict=True))
        self.counts = (t, h, w)

    def split(self, x: Tensor) -> Tensor:
        """(B, T, H, W, D) -> (B * windows, tokens in one, D); what is missing is zero."""
        pairs = zip(self.counts, self.window, self.grid, strict=True)
        missing = [count * step - had for count, step, had in pairs]
        if any(missing):
            x = pad(x, (0, 0, 0, missing[2], 0, missing[1], 0, missing[0]))
        if any(self.shift):
            x = x.roll([-step for step in self.shift], (1, 2, 3))
        (t, h, w), (a, b, c) = self.counts, self.window
        groups = x.reshape(-1, t, a, h, b, w, c, x.shape[-1]).permute(0, 1, 3, 5, 2, 4, 6, 7)
        return groups.flatten(4, 6).flatten(0, 3)

    def restore(self, y: Tensor) -> Tensor:
        """The inverse of `split`."""
        (t, h, w), (a, b, c) = self.counts, self.window
        y = y.view(-1, t, h, w, a, b, c, y.shape[-1]).permute(0, 1, 4, 2, 5, 3, 6, 7)
        y = y.reshape(-1, t * a, h * b, w * c, y.shape[-1])
        if any(self.shift):
            y = y.roll(self.shift, (1, 2, 3))
        inside: Tensor = y[:, : self.grid[0], : self.grid[1], : self.grid[2]]
        return inside

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Softmax attention of (B * windows, heads, n, P): the windows of one mask together, those
        without one apart, so that no mask is as large as the clip."""
        kinds = window_kinds(self.grid, self.window, self.shift, q.device)
        if len(kinds.members) == 1:
            return attend(q, k, v, kinds.members[0][0])
        if not q.is_cuda:
            groups = q.shape[:2]
            which = kinds.kind.repeat(q.shape[0] // len(kinds.kind)).repeat_interleave(q.shape[1])
            biases = bias_of(kinds.masks, q.dtype)
            y = attend_by_kind(q.flatten(0, 1), k.flatten(0, 1), v.flatten(0, 1), biases, which)
            return torch.unflatten(y, 0, groups)
        count = len(kinds.back)
        q, k, v = (torch.unflatten(one, 0, (-1, count)) for one in (q, k, v))
        parts = [attend(q[:, at], k[:, at], v[:, at], mask) for mask, at in kinds.members]
        return torch.cat(parts, 1)[:, kinds.back].flatten(0, 1)

    def mask(self, device: torch.device) -> Tensor | None:
        """`window_mask` of this grid."""
        return window_mask(self.grid, self.window, self.shift, device)


@functools.lru_cache(maxsize=16)
@torch.inference_mode(False)  # whoever asks first, the next one may want gradients
def window_places(grid: Grid, window: Grid, shifted: bool, in_time: bool = True) -> Tensor:
    """(windows, n) int64: which token stands at each place of a window, -1 for padding."""
    numbers = torch.arange(1, 1 + grid[0] * grid[1] * grid[2]).view(1, *grid, 1)
    return Windows(grid, window, shifted, in_time).split(numbers).squeeze(-1).contiguous() - 1


def fit_window(grid: Grid, window: Grid, shifted: bool, in_time: bool = True) -> tuple[Grid, Grid]:
    """The window clipped to the grid, and the shift: half a window where there are several."""
    fitted = tuple(min(pair) for pair in zip(grid, window, strict=True))
    shift = tuple(
        step // 2 if shifted and size > step else 0 for size, step in zip(grid, fitted, strict=True)
    )
    return (fitted[0], fitted[1], fitted[2]), (shift[0] if in_time else 0, shift[1], shift[2])


def window_labels(grid: Grid, window: Grid, shift: Grid) -> Tensor:
    """(windows, n): which of the pieces that meet in a window a position is of, -1 for padding."""
    pieces = []
    for size, step, moved in zip(grid, window, shift, strict=True):
        total = -(-size // step) * step
        position = torch.arange(total).roll(-moved)
        piece = (torch.arange(total) >= total - moved).long()
        piece[position >= size] = -1
        pieces.append(piece.view(-1, step))
    t, h, w = pieces
    t = t[:, None, None, :, None, None]
    h = h[None, :, None, None, :, None]
    w = w[None, None, :, None, None, :]
    labels = t * 4 + h * 2 + w
    inside = (t >= 0) & (h >= 0) & (w >= 0)
    return torch.where(inside, labels, -1).flatten(0, 2).flatten(1)


def same_label(labels: Tensor) -> Tensor:
    """(..., n) -> (..., n, n) booleans: True where two positions lie in the same unwrapped piece.

    A query at a padded position may look at itself, so that no row of the softmax is empty.
    """
    same = (labels.unsqueeze(-1) == labels.unsqueeze(-2)) & (labels >= 0).unsqueeze(-2)
    itself = torch.eye(labels.shape[-1], dtype=torch.bool, device=labels.device)
    return same | itself


@functools.lru_cache(maxsize=16)
@torch.inference_mode(False)  # whoever asks first, the next one may want gradients
def window_mask(grid: Grid, window: Grid, shift: Grid, device: torch.device) -> Tensor | None:
    """(windows, n, n), True where a query may look; None where every window is open."""
    labels = window_labels(grid, window, shift)
    return same_label(labels).to(device) if labels.any() else None


@dataclass(frozen=True)
class WindowKinds:
    """The windows of a grid by their masks."""

    masks: Tensor
    """(kinds, n, n), True where a query may look."""
    kind: Tensor
    """(windows,): the number of each window's mask."""
    members: tuple[tuple[Tensor | None, Tensor], ...]
    """A mask (n, n), None for all, and the numbers of its windows."""
    back: Tensor
    """Where each window is when those of `members` stand one after another."""


@functools.lru_cache(maxsize=16)
@torch.inference_mode(False)  # whoever asks first, the next one may want gradients
def window_kinds(grid: Grid, window: Grid, shift: Grid, device: torch.device) -> WindowKinds:
    """A few masks, however long the clip."""
    labels, kind = torch.unique(window_labels(grid, window, shift), dim=0, return_inverse=True)
    whole = same_label(labels)
    places = [(kind == number).nonzero()[:, 0] for number in range(len(whole))]
    back = torch.cat(places).argsort().to(device)
    masks, kind = whole.to(device), kind.to(device)
    members = tuple(  # looked at before they are moved: a meta device holds no values
        (None if mask.all() else masks[number], places[number].to(device))
        for number, mask in enumerate(whole)
    )
    return WindowKinds(masks, kind, members, back)
