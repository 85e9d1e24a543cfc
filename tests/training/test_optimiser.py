"""Master weights: Muon and AdamW in float32 under any network, saved and continued."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from lingen_training.optimization.muon import Muon, orthogonal
from lingen_training.optimization.optimizer import MasterWeights


class Small(nn.Module):
    """A hidden layer and a convolution for Muon, two thin layers, and parts without decay."""

    def __init__(self) -> None:
        super().__init__()
        self.up = nn.Linear(4, 32)
        self.hidden = nn.Linear(32, 40)
        self.convolution = nn.Conv2d(40, 32, (1, 2), padding=(0, 1))
        self.norm = nn.LayerNorm(32)
        self.down = nn.Linear(32, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.hidden(self.up(x).relu()).relu()
        x = self.convolution(x[:, :, None, None]).sum((2, 3))
        return self.down(self.norm(x).relu())  # type: ignore[no-any-return]


def build(clip: float = 1.0, dtype: torch.dtype = torch.float32) -> MasterWeights:
    torch.manual_seed(0)
    return MasterWeights(
        Small(), learning_rate=1e-2, weight_decay=0.1, ema=0.9, compute_dtype=dtype, clip=clip
    )


def descend(weights: MasterWeights, first: int, last: int) -> list[float]:
    """Steps on batches that their number decides; the norms."""
    norms = []
    for step in range(first, last):
        batch = torch.randn(5, 4, generator=torch.Generator().manual_seed(step))
        dtype = weights.live[0].dtype
        weights.network(batch.to(dtype)).float().square().mean().backward()
        norms.append(weights.step(1e-2 / (1 + step)))
    return norms


def state(weights: MasterWeights) -> list[Tensor]:
    adamw, muon = (optimiser.state for optimiser in weights.optimisers)
    moments = [part[key] for part in adamw.values() for key in ("exp_avg", "exp_avg_sq", "step")]
    moments += [part["momentum_buffer"] for part in muon.values()]
    return [*weights.master, *weights.average, *weights.live, *moments]


@pytest.mark.parametrize("clip", [1e9, 0.05])
def test_float32_is_muon_and_adamw(clip: float) -> None:
    weights = build(clip)
    torch.manual_seed(0)
    network = Small()
    hidden = {"hidden.weight", "convolution.weight"}
    thin = [network.up.weight, network.down.weight]
    rest = [p for name, p in network.named_parameters() if name.endswith("bias") or "norm" in name]
    adamw = torch.optim.AdamW(
        [{"params": thin, "weight_decay": 0.1}, {"params": rest, "weight_decay": 0.0}],
        betas=(0.9, 0.98),
    )
    matrices = {
        name: nn.Parameter(p.detach().reshape(p.shape[0], -1).clone())
        for name, p in network.named_parameters()
        if name in hidden
    }
    muon = Muon(matrices.values(), lr=1e-3, weight_decay=0.1, dtype=torch.float32)
    average = {n: p.detach().clone() for n, p in network.named_parameters()}
    for step in range(6):
        (norm,) = descend(weights, step, step + 1)
        batch = torch.randn(5, 4, generator=torch.Generator().manual_seed(step))
        network.zero_grad()
        network(batch).square().mean().backward()
        expected = torch.nn.utils.clip_grad_norm_(network.parameters(), clip)
        assert norm == pytest.approx(float(expected), rel=1e-5)
        for name, matrix in matrices.items():
            gradient = network.get_parameter(name).grad
            assert gradient is not None
            matrix.grad = gradient.reshape(matrix.shape)
        for optimiser in (adamw, muon):
            for group in optimiser.param_groups:
                group["lr"] = 1e-2 / (1 + step)
            optimiser.step()
        for name, matrix in matrices.items():
            network.get_parameter(name).data.copy_(matrix.view_as(network.get_parameter(name)))
        rate = min(0.9, (2 + step) / (11 + step))
        for name, parameter in network.named_parameters():
            average[name].lerp_(parameter.detach(), 1 - rate)
    for name, parameter in network.named_parameters():
        live = weights.network.get_parameter(name)
        torch.testing.assert_close(live, parameter, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(weights.averaged()[name], average[name], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_continuing_is_bit_identical(dtype: torch.dtype, tmp_path: Path) -> None:
    whole = build(dtype=dtype)
    descend(whole, 0, 7)
    begun = build(dtype=dtype)
    descend(begun, 0, 4)
    begun.save(tmp_path / "state.safetensors", {"note": "half way"})
    continued = build(dtype=dtype)
    descend(continued, 50, 52)  # what was there before does not matter
    metadata = continued.load(tmp_path / "state.safetensors")
    assert metadata["note"] == "half way"
    assert continued.steps == 4
    descend(continued, 4, 7)
    for one, other in zip(state(continued), state(whole), strict=True):
        assert torch.equal(one, other)


def test_bf16_keeps_updates_that_are_too_small_for_it() -> None:
    weights = build(dtype=torch.bfloat16)
    assert all(p.dtype is torch.bfloat16 for p in weights.network.parameters())
    before = [p.detach().clone() for p in weights.master]
    for live in weights.live:
        live.grad = torch.ones_like(live)
    weights.step(1e-6)
    for old, master, live in zip(before, weights.master, weights.live, strict=True):
        moved = (master - old).abs()
        assert moved.max() < 1e-5
        assert torch.equal(live, master.to(torch.bfloat16))
    assert any(not torch.equal(old, new) for old, new in zip(before, weights.master, strict=True))


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_broken_gradient_changes_nothing(value: float) -> None:
    weights = build()
    descend(weights, 0, 2)
    before = [part.detach().clone() for part in state(weights)]
    weights.live[0].grad = torch.full_like(weights.live[0], value)
    norm = weights.step(1e-2)
    assert not torch.isfinite(torch.tensor(norm))
    assert weights.steps == 2
    for one, other in zip(state(weights), before, strict=True):
        assert torch.equal(one, other)
    assert all(part.grad is None for part in (*weights.live, *weights.stepped))


def test_exchanging_and_starting_from_given_weights() -> None:
    weights = build()
    descend(weights, 0, 3)
    weights.use(weights.average)
    for name, parameter in weights.network.named_parameters():
        assert torch.equal(parameter, weights.averaged()[name])
    weights.use(weights.master)
    given = {name: torch.full_like(p, 0.5) for name, p in weights.network.named_parameters()}
    weights.start_from(given)
    for part in (*weights.master, *weights.average, *weights.live):
        assert part.eq(0.5).all()


@pytest.mark.parametrize("shape", [(33, 47), (48, 20)])
def test_muon_in_bf16_is_torch_s(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    ours = nn.Parameter(torch.randn(shape))
    theirs = nn.Parameter(ours.detach().clone())
    optimisers: list[torch.optim.Optimizer] = [
        Muon([ours], lr=1e-2, weight_decay=0.1, dtype=torch.bfloat16),
        torch.optim.Muon([theirs], lr=1e-2, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"),
    ]
    for _ in range(4):
        ours.grad = torch.randn(shape)
        theirs.grad = ours.grad.clone()
        for optimiser in optimisers:
            optimiser.step()
    assert torch.equal(ours, theirs)


@pytest.mark.parametrize("shape", [(33, 47), (48, 20)])
def test_orthogonal_evens_out_the_singular_values(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    matrix = torch.randn(shape, dtype=torch.float64)
    made = orthogonal(matrix, (3.4445, -4.775, 2.0315), 5, 1e-7)
    assert float(torch.linalg.cond(matrix)) > 4
    values = torch.linalg.svdvals(made)
    assert float(values.min()) > 0.6 and float(values.max()) < 1.3
    u, _, v = torch.linalg.svd(matrix, full_matrices=False)
    # The directions are the matrix's own: its singular vectors make it diagonal.
    inside = u.T @ made @ v.T
    torch.testing.assert_close(inside, inside.diagonal().diag(), rtol=0, atol=1e-9)
    single = orthogonal(matrix.float(), (3.4445, -4.775, 2.0315), 5, 1e-7)
    torch.testing.assert_close(single.double(), made, rtol=1e-4, atol=1e-4)
