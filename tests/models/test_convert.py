"""A diffusion transformer that becomes a LinGen: what is kept, and what begins from what."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from lingen_models.conversion.dit_to_lingen import lingen_of, shared_product
from lingen_models.network_config import LinGenConfig
from lingen_models.networks.attention import FullAttention
from lingen_models.networks.block import Block
from lingen_models.networks.denoiser import LinGen
from lingen_models.networks.mate import Mate

LINGEN = LinGenConfig(
    width=32,
    depth=2,
    head_dim=16,
    ssm_head_dim=16,
    state_size=8,
    expand=2,
    window=(8, 8, 8),
    text_dims=(12,),
    position_grid=(8, 4, 4),
)
DIT = replace(LINGEN, mixer="attention")


@pytest.fixture
def dit() -> LinGen:
    torch.manual_seed(0)
    network = LinGen(DIT).double()
    for part in network.parameters():
        part.data.add_(torch.randn_like(part) * 0.05)
    return network


def test_all_but_the_mixers_is_kept(dit: LinGen) -> None:
    made = lingen_of(dit, LINGEN).double()
    old, new = dit.state_dict(), made.state_dict()
    shared = [name for name in old if ".mixer." not in name]
    assert sorted(shared) == sorted(name for name in new if ".mixer." not in name)
    assert all(torch.equal(old[name].float(), new[name].float()) for name in shared)


def test_without_its_mixers_it_answers_as_before(dit: LinGen) -> None:
    """The outputs of everything that is no attention are equal."""
    made = lingen_of(dit, LINGEN).double()
    for network in (dit, made):
        network.double()
        for block in network.blocks:
            assert isinstance(block, Block)
            block.mixer.register_forward_hook(lambda module, given, output: given[0].tanh())
    x, t = torch.randn(1, 16, 3, 4, 4).double(), torch.rand(1, 3).double()
    text, mask = torch.randn(1, 5, 12).double(), torch.ones(1, 5, dtype=torch.bool)
    ours, theirs = (network(x, t, [text], [mask]) for network in (made, dit))
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6)


def test_a_window_over_the_whole_clip_is_the_attention_itself(dit: LinGen) -> None:
    made = lingen_of(dit, LINGEN).double()
    x = torch.randn(2, 3, 4, 2, 32).double()
    for old, new in zip(dit.blocks, made.blocks, strict=True):
        assert isinstance(old, Block) and isinstance(new, Block)
        assert isinstance(new.mixer, Mate) and new.mixer.tesa_branch is not None
        torch.testing.assert_close(new.mixer.tesa_branch(x), old.mixer(x), rtol=1e-6, atol=1e-6)


def test_the_state_space_reads_values_by_what_queries_ask_of_keys(dit: LinGen) -> None:
    made = lingen_of(dit, LINGEN).double()
    old, new = dit.blocks[0], made.blocks[0]
    assert isinstance(old, Block) and isinstance(old.mixer, FullAttention)
    assert isinstance(new, Block) and isinstance(new.mixer, Mate)
    assert new.mixer.mamba_branch is not None
    mamba = new.mixer.mamba_branch.mamba
    tokens = torch.randn(1, 7, 32).double()
    v = old.mixer.attention.qkv(tokens).chunk(3, -1)[2]
    _, x, _, _, dt = mamba._project(tokens)
    silu = torch.nn.functional.silu
    torch.testing.assert_close(x.flatten(2), silu(v).repeat(1, 1, 2), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(dt[:, :, :1].expand_as(dt), dt)  # the same for all tokens
    weights = torch.split(mamba.in_proj.weight, [64, 64, 8, 8, 8])
    asked = weights[3].T @ weights[2]  # C^T B
    left, values, right = torch.linalg.svd(
        old.mixer.attention.qkv.weight[:32].T @ old.mixer.attention.qkv.weight[32:64]
    )
    best = left[:, :8] * values[:8] @ right[:8]
    torch.testing.assert_close(asked / asked.norm(), best / best.norm(), rtol=1e-5, atol=1e-6)
    output = torch.randn(1, 7, 64).double()
    both = output.unflatten(-1, (2, 32)).mean(-2)  # type: ignore[no-untyped-call]
    torch.testing.assert_close(
        mamba.out_proj(output), old.mixer.attention.out(both), rtol=1e-6, atol=1e-6
    )


def test_the_product_is_whole_where_the_rank_allows_it() -> None:
    torch.manual_seed(1)
    q, k = torch.randn(2, 12, 6).double().unbind()
    C, B = shared_product(q, k, 6)
    wanted = q.T @ k
    found = C.T @ B
    torch.testing.assert_close(found / found.norm(), wanted / wanted.norm())
    assert C.norm().item() == pytest.approx(B.norm().item()) == pytest.approx(2**0.5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mixer": "attention"}, "mixer: from attention to mate, not from attention to attention"),
        ({"width": 64}, "width: 64 is wanted, and the weights have 32"),
        ({"depth": 3}, "depth: 3 is wanted, and the weights have 2"),
        ({"text_dims": (12, 12)}, r"text_dims: \(12, 12\) is wanted"),
        ({"state_size": 64}, "state_size: 64 is more than the width, 32"),
    ],
)
def test_what_cannot_become_one(dit: LinGen, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        lingen_of(dit, replace(LINGEN, **changes))


@pytest.mark.parametrize("branch", ["mamba_branch", "tesa_branch"])
def test_a_branch_that_is_not_there_is_not_filled(dit: LinGen, branch: str) -> None:
    changes: Any = {branch: False}
    made = lingen_of(dit, replace(LINGEN, **changes))
    assert getattr(made.blocks[1].mixer, branch) is None
