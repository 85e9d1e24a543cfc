"""Window attention against a loop over queries with explicit windows (paper.md 2.6)."""

from __future__ import annotations

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from lingen_models.networks.attention import SelfAttention, attend
from lingen_models.networks.window_attention import (
    Grid,
    WindowAttention,
    Windows,
    fit_window,
    window_kinds,
)

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
@pytest.mark.parametrize(("name", "limit"), [("_KEYS", 0), ("_SCORES", 1), ("_SCORES", 170)])
def test_any_way_to_attend_gives_the_same(
    monkeypatch: pytest.MonkeyPatch, name: str, limit: int
) -> None:
    q, k, v = torch.randn(3, 2, 3, 9, 4).unbind(0)
    of_each = torch.rand(2, 1, 9, 9) < 0.5
    of_each |= torch.eye(9, dtype=torch.bool)
    of_keys = torch.tensor([[1] * 9, [1] * 6 + [0] * 3]).bool()[:, None, None]
    for mask in (None, of_each, of_each[0, 0], of_keys):
        reference = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        torch.testing.assert_close(attend(q, k, v, mask), reference)
        with monkeypatch.context() as patch:
            patch.setattr(f"lingen_models.networks.attention.{name}", limit)
            torch.testing.assert_close(attend(q, k, v, mask), reference)


@torch.no_grad()
def test_masks_are_per_group() -> None:
    layer = SelfAttention(8, 4)
    groups = torch.randn(3, 5, 8)
    mask = torch.rand(3, 5, 5) < 0.5
    mask |= torch.eye(5, dtype=torch.bool)
    found = layer(groups, mask)
    for index in range(3):
        part = slice(index, index + 1)
        torch.testing.assert_close(found[part], layer(groups[part], mask[part]))


@pytest.mark.parametrize(("grid", "window"), CASES)
@pytest.mark.parametrize("shifted", [False, True])
def test_the_masks_of_kinds_are_those_of_windows(grid: Grid, window: Grid, shifted: bool) -> None:
    cpu = torch.device("cpu")
    windows = Windows(grid, window, shifted)
    kinds = window_kinds(grid, windows.window, windows.shift, cpu)
    tokens = windows.split(torch.zeros(1, *grid, 1)).shape[1]
    open_ = torch.ones(tokens, tokens, dtype=torch.bool)
    masks = [mask if mask is not None else open_ for mask, places in kinds.members for _ in places]
    found = torch.stack(masks)[kinds.back]
    expected = windows.mask(cpu)
    assert found.all() if expected is None else torch.equal(found, expected)


def test_long_clips_have_no_more_masks() -> None:
    cpu = torch.device("cpu")
    for frames in (50, 500):
        assert len(window_kinds((frames, 8, 8), (16, 4, 4), (8, 2, 2), cpu).members) <= 12


def test_gradients_after_a_clip_of_the_same_size_was_sampled() -> None:
    window_kinds.cache_clear()
    layer, x = WindowAttention(8, 4, (2, 2, 2), shifted=True), torch.randn(1, 5, 4, 3, 8)
    with torch.inference_mode():
        layer(x)
    layer(x).sum().backward()
    assert layer.attention.qkv.weight.grad is not None
