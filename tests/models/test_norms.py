"""The norms against plain formulas in float64, with their gradients."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from lingen_models.networks.norms import GatedRMSNorm


def plain(y: torch.Tensor, gate: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    product = y * gate * gate.sigmoid()
    return product / (product.square().mean(-1, keepdim=True) + 1e-5).sqrt() * weight


def test_gated_norm_outputs_and_gradients() -> None:
    torch.manual_seed(0)
    norm = GatedRMSNorm(7).double()
    with torch.no_grad():
        norm.weight.uniform_(0.5, 2)
    y, gate = (torch.randn(3, 5, 7, dtype=torch.float64, requires_grad=True) for _ in range(2))
    inputs = (y, gate, norm.weight)
    expected, found = plain(*inputs), norm(y, gate)
    torch.testing.assert_close(found, expected)
    gradient = torch.randn(3, 5, 7, dtype=torch.float64)
    for ours, theirs in zip(
        torch.autograd.grad(found, inputs, gradient),
        torch.autograd.grad(expected, inputs, gradient),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs)
    with torch.no_grad():
        torch.testing.assert_close(norm(y, gate), expected)


@pytest.mark.parametrize("scale", [1e-4, 1.0, 300.0])
def test_gated_norm_in_bf16(scale: float) -> None:
    torch.manual_seed(0)
    norm = GatedRMSNorm(256).to(torch.bfloat16)
    y, gate = (torch.randn(2, 9, 256) for _ in range(2))
    y = y * scale
    exact = plain(y.double(), gate.double(), torch.ones(256).double())
    found = norm(y.bfloat16(), gate.bfloat16()).detach().double()
    assert float((found - exact).norm() / exact.norm()) < 0.01
    with torch.no_grad():
        sampled = norm(y.bfloat16(), gate.bfloat16()).double()
    assert float((sampled - exact).norm() / exact.norm()) < 0.01
    assert F.silu(gate).shape == gate.shape
