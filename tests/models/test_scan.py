"""Rotary Major Scan and review tokens (paper.md 2.3, 2.4)."""

from __future__ import annotations

import itertools

import pytest
import torch
from einops import rearrange

from lingen_models.network_config import SCAN_ORDERS, ConfigError
from lingen_models.networks.mate import review_tokens
from lingen_models.networks.scan_orders import Scan, scan_of_layer
from lingen_models.networks.space_filling_curves import CURVES

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


@pytest.mark.parametrize("entry", [f"{curve}-{axes}" for curve in CURVES for axes in ORDERS])
@pytest.mark.parametrize("grid", [GRID, (1, 4, 5), (9, 1, 2), (1, 1, 1), (6, 8, 8)])
def test_a_curve_meets_every_cell_once(entry: str, grid: tuple[int, int, int]) -> None:
    scan = scan_of_layer((entry,), 0)
    x = torch.randn(2, *grid, 6, dtype=torch.float64, requires_grad=True)
    sequence = scan.flatten(x)
    curve, axes = entry.split("-")
    sizes = dict(zip("thw", grid, strict=True))
    order = CURVES[curve](tuple(sizes[axis] for axis in axes))  # type: ignore[arg-type]
    rows = rearrange(x, f"b t h w d -> b ({' '.join(axes)}) d")
    assert all(torch.equal(sequence[:, n], rows[:, m]) for n, m in enumerate(order.tolist()))
    assert torch.equal(scan.restore(sequence, grid), x)
    weight = torch.randn_like(x)
    (gradient,) = torch.autograd.grad((scan.restore(sequence * 2, grid) * weight).sum(), x)
    assert torch.equal(gradient, 2 * weight)


@pytest.mark.parametrize("curve", CURVES)
@pytest.mark.parametrize("grid", [(8, 8, 8), (32, 8, 8), (4, 16, 4), (2, 2, 16)])
def test_the_next_cell_of_a_curve_is_a_neighbour(curve: str, grid: tuple[int, int, int]) -> None:
    order = CURVES[curve](grid)
    cells = torch.stack(torch.unravel_index(order, grid), 1)
    assert order[0] == 0
    assert (cells[1:] - cells[:-1]).abs().sum(1).eq(1).all()


def test_a_curve_that_nobody_knows() -> None:
    with pytest.raises(ConfigError, match="unknown curve 'spiral': hilbert, zigzag"):
        scan_of_layer(("spiral-thw",), 0)


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
