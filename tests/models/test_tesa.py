"""Window attention against a loop over queries with explicit windows (paper.md 2.6)."""

from __future__ import annotations

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from lingen_models.attention import SelfAttention, attend
from lingen_models.tesa import Grid, WindowAttention, fit_window

CASES: list[tuple[Grid, Grid]] = [
    ((4, 4, 4), (2, 2, 2)),
    ((5, 3, 7), (2, 2, 2)),
    ((5, 6, 3), (4, 4, 4)),
    ((1, 5, 5), (4, 4, 4)),
    ((7, 1, 2), (3, 4, 2)),
    ((9, 3, 3), (4, 3, 3)),
]


def interval(position: int, size: int, window: int, shifted: bool) -> range:
    """Positions of one axis that share a window with `position`; nothing wraps."""
    window = min(window, size)
    shift = window // 2 if shifted and size > window else 0
    first = (position - shift) // window * window + shift
    return range(max(0, first), min(size, first + window))


def naive(layer: WindowAttention, x: Tensor) -> Tensor:
    """One query at a time: its window's keys, QK-norm, softmax."""
    grid = x.shape[1:4]
    heads = layer.attention.head_dim
    q, k, v = layer.attention.qkv(x).unflatten(-1, (3, -1, heads)).unbind(-3)
    q, k = layer.attention.q_norm(q), layer.attention.k_norm(k)
    rows = []
    for place in itertools.product(*map(range, grid)):
        spans = [
            interval(at, size, window, layer.shifted)
            for at, size, window in zip(place, grid, layer.window, strict=True)
        ]
        cell = (slice(None), *(slice(span.start, span.stop) for span in spans))
        keys, values = k[cell].flatten(1, 3), v[cell].flatten(1, 3)
        scores = torch.einsum("bkp,bnkp->bkn", q[(slice(None), *place)], keys) * heads**-0.5
        rows.append(torch.einsum("bkn,bnkp->bkp", scores.softmax(-1), values).flatten(1))
    return layer.attention.out(torch.stack(rows, 1)).view(x.shape)  # type: ignore[no-any-return]


@pytest.mark.parametrize(("grid", "window"), CASES)
@pytest.mark.parametrize("shifted", [False, True])
def test_outputs_and_gradients(grid: Grid, window: Grid, shifted: bool) -> None:
    layer = WindowAttention(8, 4, window, shifted).double()
    x = torch.randn(2, *grid, 8, dtype=torch.float64, requires_grad=True)
    weight = torch.randn_like(x)
    leaves = [x, *layer.parameters()]
    found, expected = layer(x), naive(layer, x)
    torch.testing.assert_close(found, expected)
    for one, other in zip(
        torch.autograd.grad((found * weight).sum(), leaves),
        torch.autograd.grad((expected * weight).sum(), leaves),
        strict=True,
    ):
        torch.testing.assert_close(one, other)


@torch.no_grad()
def test_first_and_last_frame_never_meet() -> None:
    layer = WindowAttention(8, 4, (4, 2, 2), shifted=True)
    x = torch.randn(1, 8, 4, 4, 8)
    other = x.clone()
    other[:, -1] += 1
    moved = (layer(other) - layer(x)).abs().amax((0, 2, 3, 4)) > 0
    assert moved.tolist() == [False] * 6 + [True] * 2


def test_windows_fit_the_grid() -> None:
    assert fit_window((34, 24, 44), (16, 4, 4), True) == ((16, 4, 4), (8, 2, 2))
    assert fit_window((34, 24, 44), (16, 4, 4), False) == ((16, 4, 4), (0, 0, 0))
    assert fit_window((1, 3, 4), (16, 4, 4), True) == ((1, 3, 4), (0, 0, 0))


@torch.no_grad()
def test_large_groups_give_what_small_ones_give(monkeypatch: pytest.MonkeyPatch) -> None:
    q, k, v = torch.randn(3, 2, 3, 9, 4).unbind(0)
    mask = torch.rand(2, 1, 9, 9) < 0.5
    mask |= torch.eye(9, dtype=torch.bool)
    for chosen in (None, mask):
        plain = attend(q, k, v, chosen)
        reference = F.scaled_dot_product_attention(q, k, v, attn_mask=chosen)
        torch.testing.assert_close(plain, reference)
        with monkeypatch.context() as patch:
            patch.setattr("lingen_models.attention._SMALL", 0)
            torch.testing.assert_close(attend(q, k, v, chosen), reference)


@torch.no_grad()
def test_masks_are_per_window_not_per_batch() -> None:
    layer = SelfAttention(8, 4)
    groups = torch.randn(6, 5, 8)  # two clips of three windows
    mask = torch.rand(3, 5, 5) < 0.5
    mask |= torch.eye(5, dtype=torch.bool)
    found = layer(groups, mask)
    for index in range(6):
        alone = layer(groups[index : index + 1], mask[index % 3 : index % 3 + 1])
        torch.testing.assert_close(found[index : index + 1], alone)
