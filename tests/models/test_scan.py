"""Rotary Major Scan and review tokens (paper.md 2.3, 2.4)."""

from __future__ import annotations

import itertools

import pytest
import torch
from einops import rearrange

from lingen_models.config import SCAN_ORDERS
from lingen_models.mate import review_tokens
from lingen_models.scan import Scan, scan_of_layer

ORDERS = ["".join(axes) for axes in itertools.permutations("thw")]
GRID = (3, 4, 5)


@pytest.mark.parametrize("axes", ORDERS)
def test_flatten_reads_in_the_named_order(axes: str) -> None:
    x = torch.randn(2, *GRID, 6)
    expected = rearrange(x, f"b t h w d -> b ({' '.join(axes)}) d")
    assert torch.equal(Scan(axes).flatten(x), expected)


@pytest.mark.parametrize("axes", ORDERS)
@pytest.mark.parametrize("grid", [GRID, (1, 4, 5), (3, 1, 1), (1, 1, 1)])
def test_restore_is_the_inverse(axes: str, grid: tuple[int, int, int]) -> None:
    x = torch.randn(2, *grid, 6)
    scan = Scan(axes)
    assert torch.equal(scan.restore(scan.flatten(x), grid), x)


@pytest.mark.parametrize("axes", ORDERS)
def test_restore_is_a_view_and_flatten_of_a_permuted_grid_too(axes: str) -> None:
    sequence = torch.randn(2, 60, 6)
    grid = Scan(axes).restore(sequence, GRID)
    assert grid.untyped_storage().data_ptr() == sequence.untyped_storage().data_ptr()
    again = Scan(axes).flatten(grid)
    assert again.untyped_storage().data_ptr() == sequence.untyped_storage().data_ptr()


def test_layers_take_the_orders_in_turn() -> None:
    orders = SCAN_ORDERS["rms"]
    assert orders == ("thw", "twh", "hwt", "wht")
    assert [scan_of_layer(orders, layer).axes for layer in range(6)] == [*orders, "thw", "twh"]
    assert {scan_of_layer(("thw",), layer).axes for layer in range(4)} == {"thw"}


@pytest.mark.parametrize("grid", [(4, 4, 4), (5, 3, 7), (1, 1, 1), (1, 5, 2)])
@pytest.mark.parametrize("pool", [(2, 2, 2), (1, 2, 2), (3, 1, 2)])
def test_review_tokens_are_means_of_their_cells(
    grid: tuple[int, int, int], pool: tuple[int, int, int]
) -> None:
    x = torch.randn(2, *grid, 3, dtype=torch.float64)
    found = review_tokens(x, pool)
    counts = [-(-size // step) for size, step in zip(grid, pool, strict=True)]
    assert found.shape == (2, *counts, 3)
    for t, h, w in itertools.product(*map(range, counts)):
        a, b, c = pool
        cell = x[:, t * a : t * a + a, h * b : h * b + b, w * c : w * c + c]
        torch.testing.assert_close(found[:, t, h, w], cell.mean((1, 2, 3)))
