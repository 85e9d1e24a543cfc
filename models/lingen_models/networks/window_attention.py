"""TESA: softmax attention inside small 3-D windows, shifted on odd layers (paper.md 2.6)."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from lingen_models.kernels import attention_fused, c_kernels
from lingen_models.networks.attention import SelfAttention, attend, attend_by_kind, bias_of

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

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, H, W, D) -> the same shape."""
        windows = Windows((x.shape[1], x.shape[2], x.shape[3]), self.window, self.shifted)
        own = self.attention
        q_weight, k_weight = own.q_norm.weight, own.k_norm.weight
        if c_kernels.covers(x, own.qkv.weight, q_weight, k_weight):
            places = window_places(windows.grid, self.window, self.shifted)
            qkv = own.qkv(x.flatten(1, 3))
            q, k, v = attention_fused.heads_apart(qkv, places, q_weight, k_weight, None)
            y = attention_fused.heads_together(windows.attend(q, k, v), places, qkv.shape[1])
            return own.out(y).view(x.shape)  # type: ignore[no-any-return]
        q, k, v = own.heads(windows.split(x))
        return windows.restore(self.attention.joined(windows.attend(q, k, v)))


class Windows:
    """The windows of one grid, into which tokens are sorted and from which they come back."""

    def __init__(self, grid: Grid, window: Grid, shifted: bool) -> None:
        self.grid = grid
        self.window, self.shift = fit_window(grid, window, shifted)
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
def window_places(grid: Grid, window: Grid, shifted: bool) -> Tensor:
    """(windows, n) int64: which token stands at each place of a window, -1 for padding."""
    numbers = torch.arange(1, 1 + grid[0] * grid[1] * grid[2]).view(1, *grid, 1)
    return Windows(grid, window, shifted).split(numbers).squeeze(-1).contiguous() - 1


def fit_window(grid: Grid, window: Grid, shifted: bool) -> tuple[Grid, Grid]:
    """The window clipped to the grid, and the shift: half a window where there are several."""
    fitted = tuple(min(pair) for pair in zip(grid, window, strict=True))
    shift = tuple(
        step // 2 if shifted and size > step else 0 for size, step in zip(grid, fitted, strict=True)
    )
    return (fitted[0], fitted[1], fitted[2]), (shift[0], shift[1], shift[2])


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
