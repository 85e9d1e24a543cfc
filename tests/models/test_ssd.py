"""The chunked scan against the recurrence written as a loop, in float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lingen_models.kernels.ssd import bidirectional_ssd, final_states

Inputs = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]


def draw(length: int, dtype: torch.dtype = torch.float64, heads: int = 3) -> Inputs:
    """x, dt, A, B, C with decays from almost none to almost all."""
    generator = torch.Generator().manual_seed(length)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    x, B, C = normal(2, length, heads, 4), normal(2, length, 5), normal(2, length, 5)
    dt = (normal(2, 2, length, heads) - 1).exp()
    A = -normal(2, heads).exp()
    return x.to(dtype), dt.to(dtype), A.to(dtype), B.to(dtype), C.to(dtype)


def recur(
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    start: Tensor | None = None,
    diagonal: bool = True,
) -> tuple[Tensor, Tensor]:
    """Outputs and final states, one token at a time."""
    batch, length, heads, features = x.shape
    total = torch.zeros_like(x)
    ends = []
    for way, order in enumerate((range(length), range(length - 1, -1, -1))):
        state = x.new_zeros(batch, heads, features, B.shape[-1])
        if start is not None:
            state = start[way]
        outputs: dict[int, Tensor] = {}
        for i in order:
            step = dt[way, :, i]
            added = torch.einsum("bk,bkp,bs->bkps", step, x[:, i], B[:, i])
            state = (step * A[way]).exp()[..., None, None] * state + added
            seen = state if diagonal else state - added
            outputs[i] = torch.einsum("bkps,bs->bkp", seen, C[:, i])
        total = total + torch.stack([outputs[i] for i in range(length)], 1)
        ends.append(state)
    return total, torch.stack(ends)


@pytest.mark.parametrize(
    ("length", "chunk", "tile"), [(1, 8, 4), (7, 8, 1), (16, 8, 32), (37, 8, 2), (37, 5, 3)]
)
@pytest.mark.parametrize("diagonal", [True, False])
@pytest.mark.parametrize("with_start", [True, False])
def test_outputs_and_gradients(
    length: int, chunk: int, tile: int, diagonal: bool, with_start: bool
) -> None:
    inputs = draw(length)
    start = torch.randn(2, 2, 3, 4, 5, dtype=torch.float64) if with_start else None
    leaves = [*inputs] if start is None else [*inputs, start]
    for leaf in leaves:
        leaf.requires_grad_(True)
    expected, _ = recur(*inputs, start, diagonal)
    found = bidirectional_ssd(
        *inputs, chunk=chunk, tile=tile, initial_states=start, diagonal=diagonal
    )
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-10)
    weight = torch.randn_like(expected)
    # A single token without its own diagonal leaves A and the rest without any influence.
    wanted = torch.autograd.grad((expected * weight).sum(), leaves, allow_unused=True)
    got = torch.autograd.grad((found * weight).sum(), leaves, allow_unused=True)
    for leaf, one, other in zip(leaves, got, wanted, strict=True):
        zero = torch.zeros_like(leaf)
        torch.testing.assert_close(
            zero if one is None else one, zero if other is None else other, rtol=1e-7, atol=1e-8
        )


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 2e-6), (torch.bfloat16, 1.2e-2)])
@pytest.mark.parametrize("diagonal", [True, False])
def test_narrow_types_stay_close(dtype: torch.dtype, tolerance: float, diagonal: bool) -> None:
    x, dt, A, B, C = draw(150, dtype)
    wide: Inputs = (x.double(), dt.double(), A.double(), B.double(), C.double())
    expected, _ = recur(*wide, diagonal=diagonal)
    found = bidirectional_ssd(x, dt.float(), A.float(), B, C, chunk=16, diagonal=diagonal)
    assert found.dtype is dtype
    error = (found.double() - expected).square().mean().sqrt() / expected.square().mean().sqrt()
    assert error < tolerance


def test_final_states() -> None:
    x, dt, A, B, C = draw(23)
    _, expected = recur(x, dt, A, B, C)
    torch.testing.assert_close(final_states(x, dt, A, B), expected)
    narrow = final_states(x.float(), dt.float(), A.float(), B.float())
    assert narrow.dtype is torch.float32
    torch.testing.assert_close(narrow.double(), expected, rtol=1e-4, atol=1e-5)


def test_a_state_that_enters_is_a_sequence_that_was_read_before() -> None:
    x, dt, A, B, C = draw(40)
    left, right = final_states(x[:, :13], dt[:, :, :13], A, B[:, :13])[0], torch.zeros(())
    right = final_states(x[:, 29:], dt[:, :, 29:], A, B[:, 29:])[1]
    whole = bidirectional_ssd(x, dt, A, B, C, chunk=8)[:, 13:29]
    middle = slice(13, 29)
    part = bidirectional_ssd(
        x[:, middle],
        dt[:, :, middle],
        A,
        B[:, middle],
        C[:, middle],
        chunk=8,
        initial_states=torch.stack((left, right)),
    )
    torch.testing.assert_close(part, whole)


def test_tokens_with_no_step_are_invisible() -> None:
    x, dt, A, B, C = draw(20)
    dt[:, :, 11:] = 0
    long = bidirectional_ssd(x, dt, A, B, C, chunk=8)[:, :11]
    short = bidirectional_ssd(x[:, :11], dt[:, :, :11], A, B[:, :11], C[:, :11], chunk=8)
    torch.testing.assert_close(long, short)


def test_extreme_decay_stays_finite_both_ways() -> None:
    x, dt, A, B, C = draw(130, torch.float32)
    for scale in (1e-30, 1e4):
        steps = (dt * scale).requires_grad_(True)
        y = bidirectional_ssd(x, steps, 50 * A, B, C, chunk=64)
        y.sum().backward()  # type: ignore[no-untyped-call]
        assert torch.isfinite(y).all()
        assert steps.grad is not None
        assert torch.isfinite(steps.grad).all()


def test_reversing_the_sequence_swaps_the_directions() -> None:
    x, dt, A, B, C = draw(19)
    there = bidirectional_ssd(x, dt, A, B, C, chunk=4)
    back = bidirectional_ssd(
        x.flip(1), dt.flip(0, 2), A.flip(0), B.flip(1), C.flip(1), chunk=4
    ).flip(1)
    torch.testing.assert_close(back, there)
