"""Attention of groups by kind: outputs and gradients against torch's own in float64."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from lingen_models.networks.attention import attend, attend_by_kind, bias_of


@pytest.mark.parametrize("scores", [1, 200, 2**20])
@pytest.mark.parametrize("masked", [False, True])
def test_outputs_and_gradients(scores: int, masked: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lingen_models.networks.attention._SCORES", scores)
    torch.manual_seed(0)
    q, k, v = (torch.randn(5, n, p).double().requires_grad_() for n, p in ((7, 4), (6, 4), (6, 3)))
    biases = kinds = mask = None
    if masked:
        masks = torch.rand(2, 7, 6) < 0.6
        masks[..., 0] = True
        kinds = torch.tensor([1, 0, 0, 1, 1])
        biases, mask = bias_of(masks, torch.float64), masks[kinds]
    expected = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    found = attend_by_kind(q, k, v, biases, kinds)
    torch.testing.assert_close(found, expected)
    gradient = torch.randn(5, 7, 3).double()
    for ours, theirs in zip(
        torch.autograd.grad(found, (q, k, v), gradient),
        torch.autograd.grad(expected, (q, k, v), gradient),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs)


def test_a_mask_for_each_row_of_the_batch() -> None:
    """As cross-attention has it: heads of one row share the mask of its prompt."""
    torch.manual_seed(0)
    q, k, v = (torch.randn(2, 3, n, 4).double().requires_grad_() for n in (5, 6, 6))
    mask = torch.ones(2, 1, 1, 6, dtype=torch.bool)
    mask[0, ..., 4:] = False
    expected = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    found = attend(q, k, v, mask)
    torch.testing.assert_close(found, expected)
    for ours, theirs in zip(
        torch.autograd.grad(found.square().sum(), (q, k, v)),
        torch.autograd.grad(expected.square().sum(), (q, k, v)),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs)


def test_bf16_is_near() -> None:
    torch.manual_seed(0)
    q, k, v = (torch.randn(4, n, 8) for n in (20, 30, 30))
    exact = F.scaled_dot_product_attention(q.double(), k.double(), v.double())
    found = attend_by_kind(q.bfloat16(), k.bfloat16(), v.bfloat16(), None, None)
    assert float((found.double() - exact).norm() / exact.norm()) < 0.01
