"""The Mamba branch: parameter names, directions, review tokens, scan orders (paper.md 2.2-2.5)."""

from __future__ import annotations

import dataclasses
from typing import Literal

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from lingen_models.network_config import LinGenConfig
from lingen_models.networks.mamba2 import BidirectionalMamba2, DepthwiseConv
from lingen_models.networks.mate import MambaBranch, Mate

TINY = LinGenConfig(
    width=16, head_dim=8, expand=2, ssm_head_dim=8, state_size=6, chunk=8, window=(2, 2, 2)
)
Review = Literal["front", "both", "none"]


def with_review(review: Review) -> BidirectionalMamba2:
    torch.manual_seed(3)
    return BidirectionalMamba2(dataclasses.replace(TINY, review=review)).double()


def naive(mamba: BidirectionalMamba2, tokens: Tensor, review: Tensor | None) -> Tensor:
    """The layer as two loops over [review ; tokens], written from paper.md 2.2 and 2.5."""
    inner, state_size, heads = mamba.inner, mamba.state_size, mamba.heads

    def project(part: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        gate, mixed, raw = torch.split(
            mamba.in_proj(part), [inner, inner + 2 * state_size, 2 * heads], -1
        )
        weight, bias = mamba.conv1d.weight, mamba.conv1d.bias
        mixed = F.conv1d(mixed.mT, weight, bias, padding=1, groups=weight.shape[0]).mT
        x, B, C = torch.split(F.silu(mixed), [inner, state_size, state_size], -1)
        return gate, x.view(*x.shape[:2], heads, -1), B, C, raw.view(*raw.shape[:2], 2, heads)

    gate, x, B, C, raw = project(tokens)
    total = x * mamba.D[:, None]
    for way in range(2):
        reads = review is not None and (
            mamba.review == "both" or (mamba.review, way) == ("front", 0)
        )
        parts = [(x, B, C, raw, True)]
        if review is not None and reads:
            _, *rest = project(review)
            parts.insert(0, (rest[0], rest[1], rest[2], rest[3], False))
        state = x.new_zeros(x.shape[0], heads, x.shape[-1], state_size)
        outputs = torch.zeros_like(x)
        for px, pB, pC, praw, kept in parts:
            order = range(px.shape[1])
            for i in order if way == 0 else reversed(order):
                dt = F.softplus(praw[:, i, way] + mamba.dt_bias[way])
                decay = (-dt * mamba.A_log[way].exp()).exp()
                added = torch.einsum("bk,bkp,bs->bkps", dt, px[:, i], pB[:, i])
                state = decay[..., None, None] * state + added
                seen = state if mamba.merge == "sum" else state - added
                if kept:
                    outputs[:, i] = torch.einsum("bkps,bs->bkp", seen, pC[:, i])
        total = total + outputs
    y = total.flatten(2) * F.silu(gate)
    y = y * (y.square().mean(-1, keepdim=True) + 1e-5).rsqrt() * mamba.norm.weight
    return y @ mamba.out_proj.weight.T


@pytest.mark.parametrize("review", ["none", "front", "both"])
@pytest.mark.parametrize("merge", ["sum", "quasiseparable"])
@torch.no_grad()
def test_layer_equals_two_loops(review: Review, merge: Literal["sum", "quasiseparable"]) -> None:
    mamba = BidirectionalMamba2(dataclasses.replace(TINY, review=review, merge=merge)).double()
    tokens, pooled = torch.randn(2, 13, 16).double(), torch.randn(2, 4, 16).double()
    # Step sizes are computed in float32 whatever the network's type is.
    torch.testing.assert_close(
        mamba(tokens, pooled), naive(mamba, tokens, pooled), rtol=1e-4, atol=1e-5
    )


def test_parameters_have_the_names_and_shapes_of_mamba2() -> None:
    shapes = {name: tuple(p.shape) for name, p in with_review("both").named_parameters()}
    assert shapes == {
        "dt_bias": (2, 4),
        "A_log": (2, 4),
        "D": (4,),
        "in_proj.weight": (32 + 32 + 2 * 6 + 2 * 4, 16),
        "conv1d.weight": (32 + 2 * 6, 1, 3),
        "conv1d.bias": (32 + 2 * 6,),
        "norm.weight": (32,),
        "out_proj.weight": (16, 32),
    }


def test_initial_step_sizes_and_decays_are_mamba2s() -> None:
    mamba = BidirectionalMamba2(LinGenConfig(width=256, expand=2))
    dt, rates = F.softplus(mamba.dt_bias), mamba.A_log.exp()
    assert dt.min() >= 0.999e-3
    assert dt.max() <= 0.1001
    assert rates.min() >= 1
    assert rates.max() <= 16.001


@torch.no_grad()
def test_each_token_sees_both_directions_and_no_review_means_none() -> None:
    mamba = with_review("none")
    tokens = torch.randn(1, 12, 16).double()
    for changed in (0, 11):
        other = tokens.clone()
        other[:, changed] += 1
        moved = (mamba(other) - mamba(tokens)).abs().amax((0, 2))
        assert (moved > 0).all()
    assert torch.equal(mamba(tokens, torch.randn(1, 3, 16).double()), mamba(tokens))


@torch.no_grad()
def test_convolution_is_centred_and_depthwise() -> None:
    conv = DepthwiseConv(5, 3)
    torch.nn.init.normal_(conv.bias)
    x = torch.randn(2, 9, 5)
    expected = F.conv1d(x.mT, conv.weight, conv.bias, padding=1, groups=5).mT
    torch.testing.assert_close(conv(x), expected)


@torch.no_grad()
def test_branches_of_different_layers_read_in_different_orders() -> None:
    """A layer on a grid equals the first layer on the same grid with its axes exchanged."""
    first = MambaBranch(TINY, 0).double()
    x = torch.randn(1, 2, 3, 4, 16).double()
    for layer, axes in enumerate(TINY.scan_axes):
        branch = MambaBranch(TINY, layer).double()
        branch.load_state_dict(first.state_dict())
        order = [0, *(1 + "thw".index(axis) for axis in axes), 4]
        back = [order.index(axis) for axis in range(5)]
        expected = first(x.permute(order)).permute(back)
        torch.testing.assert_close(branch(x), expected, rtol=1e-5, atol=1e-6)
    other = MambaBranch(TINY, 1).double()
    other.load_state_dict(first.state_dict())
    assert not torch.allclose(other(x), first(x))


@torch.no_grad()
def test_mate_is_the_sum_of_its_branches() -> None:
    x = torch.randn(1, 3, 4, 4, 16)
    mate = Mate(TINY, 1)
    assert mate.mamba_branch is not None
    assert mate.tesa_branch is not None
    assert torch.equal(mate(x), mate.mamba_branch(x) + mate.tesa_branch(x))
    without = {
        "mamba_branch": dataclasses.replace(TINY, mamba_branch=False),
        "tesa_branch": dataclasses.replace(TINY, tesa_branch=False),
    }
    for name, config in without.items():
        alone = Mate(config, 1)
        alone.load_state_dict(mate.state_dict(), strict=False)
        assert getattr(alone, name) is None
        kept = mate.tesa_branch if name == "mamba_branch" else mate.mamba_branch
        assert torch.equal(alone(x), kept(x))
