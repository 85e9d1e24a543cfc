"""What a GPU computes, against the processor in float64; skipped where there is none."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from lingen_models.kernels import dispatch
from lingen_models.kernels.ssd import bidirectional_ssd, final_states
from lingen_models.network_config import PRESETS
from lingen_models.networks.denoiser import LinGen

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")


def draw(length: int, device: str, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """x, dt, B, C of some tokens, the same on every device."""
    generator = torch.Generator().manual_seed(length)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    x, steps = normal(2, length, 4, 64), (normal(2, 2, length, 4) - 2).exp()
    B, C = normal(2, 2, length, 128)
    x, B, C = (part.to(device, dtype) for part in (x, B, C))
    return x, steps.to(device, torch.promote_types(dtype, torch.float32)), B, C


@pytest.mark.parametrize("length", [1, 63, 64, 200, 1000])
@pytest.mark.parametrize("route", ["pytorch", "triton"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_scan_and_its_gradients(length: int, route: str, dtype: torch.dtype) -> None:
    if route == "triton" and dispatch.triton_scan() is None:
        pytest.skip("no mamba_ssm")
    A = -torch.linspace(1, 8, 8, dtype=torch.float64).view(2, 4)
    results = []
    for device, precision in (("cpu", torch.float64), ("cuda", dtype)):
        leaves = [part.requires_grad_(True) for part in draw(length, device, precision)]
        x, dt, B, C = leaves
        rates = A.to(device, dt.dtype)
        if device == "cuda" and route == "triton":
            y = dispatch._triton(x, dt, rates, B, C, None, True, 64, True)
        else:
            y = bidirectional_ssd(x, dt, rates, B, C, chunk=64)
        weight = torch.linspace(-1, 1, y.numel(), dtype=torch.float64).view(y.shape)
        loss = (y * weight.to(device, y.dtype)).sum()
        results.append([y, *torch.autograd.grad(loss, leaves)])
    allowed = 2e-2 if dtype is torch.bfloat16 else 1e-3
    for exact, found in zip(*results, strict=True):
        error = (found.double().cpu() - exact).norm() / exact.norm().clamp(min=1e-9)
        assert float(error) < allowed


@pytest.mark.parametrize("length", [1, 127, 128, 129, 1000, 20000])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("diagonal", [True, False])
def test_our_triton_kernels(length: int, dtype: torch.dtype, diagonal: bool) -> None:
    triton_ssd = pytest.importorskip("lingen_models.kernels.triton_ssd")
    A = -torch.linspace(1, 8, 8, dtype=torch.float64).view(2, 4)
    x, dt, B, C = draw(length, "cpu", torch.float64)
    start = torch.linspace(-1, 1, 2 * 2 * 4 * 64 * 128).view(2, 2, 4, 64, 128)
    wanted = bidirectional_ssd(
        x, dt, A, B, C, chunk=64, initial_states=start.double(), diagonal=diagonal
    )
    low = draw(length, "cuda", dtype)
    found = triton_ssd.bidirectional_ssd_triton(
        low[0],
        low[1].float(),
        A.cuda().float(),
        *low[2:],
        initial_states=start.cuda(),
        diagonal=diagonal,
    )
    ends = triton_ssd.final_states_triton(low[0], low[1].float(), A.cuda().float(), low[2])
    allowed = {torch.float32: 1e-4, torch.bfloat16: 2e-2, torch.float16: 3e-3}[dtype]
    for one, exact in ((found, wanted), (ends, final_states(x, dt, A, B))):
        assert float((one.double().cpu() - exact).norm() / exact.norm()) < allowed


def test_our_kernels_are_taken() -> None:
    pytest.importorskip("triton")
    assert dispatch.scan_route(torch.device("cuda"), gradients=False) == "triton"


@pytest.mark.parametrize("mixer", ["mate", "attention"])
def test_the_network(mixer: str) -> None:
    config = replace(PRESETS["mini"], depth=4, mixer=mixer)  # type: ignore[arg-type]
    torch.manual_seed(0)
    network = LinGen(config).eval().requires_grad_(False)
    latents = torch.randn(2, config.latent_channels, 9, 16, 16)
    text, mask = torch.randn(2, 7, config.text_dims[0]), torch.ones(2, 7, dtype=torch.bool)
    t = torch.full((2, 9), 0.3)
    exact = network(latents, t, [text], [mask])
    network.to("cuda", torch.bfloat16)
    found = network(latents.cuda(), t.cuda(), [text.cuda().bfloat16()], [mask.cuda()])
    error = (found.float().cpu() - exact).norm() / exact.norm().clamp(min=1e-9)
    assert float(error) < 5e-2
