"""A clip that is divided over processes: outputs and gradients of one process."""

from __future__ import annotations

import datetime
import io
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import pytest
import torch
import torch.distributed as distributed
from torch import Tensor

from lingen_models.kernels.ssd import final_states
from lingen_models.network_config import PRESETS, SCAN_ORDERS, LinGenConfig
from lingen_models.networks.denoiser import LinGen
from lingen_models.networks.embeddings import LayoutFeatures
from lingen_models.networks.window_attention import nearest_edge
from lingen_models.parallel.passed_states import stretch_state
from lingen_models.parallel.slabs import Slabs
from lingen_plugins.builtin.variants import tiny
from lingen_training.optimization import parallel
from lingen_training.optimization.parallel import Group, grouped

TINY = tiny(PRESETS["mini"])


@dataclass(frozen=True)
class Case:
    """A network, the latent frames that processes hold, and a size in tokens."""

    name: str
    bounds: tuple[int, ...]
    config: LinGenConfig = TINY
    tokens: tuple[int, int] = (3, 4)
    dtype: torch.dtype = torch.float64
    layout: bool = True
    first_frame: int = 0
    checkpoint: bool = False


def _with(**options: Any) -> LinGenConfig:
    return replace(TINY, **options)


ORDERS = tuple(
    Case(f"{name}, {len(bounds) - 1}", bounds, _with(scan_axes=SCAN_ORDERS[name], depth=4))
    for bounds in ((0, 4, 9), (0, 3, 4, 9))
    for name in ("rms", "zigzag", "hilbert")
)
"""Those of `SCAN_ORDERS` that the others are part of."""
CASES = (
    *ORDERS,
    Case("other orders", (0, 4, 9), _with(scan_axes=("htw", "wth"))),
    Case("no review", (0, 4, 9), _with(review="none", depth=4)),
    Case("review in front", (0, 3, 4, 9), _with(review="front", depth=4)),
    Case("quasiseparable", (0, 4, 9), _with(merge="quasiseparable", depth=4)),
    Case("whole windows", (0, 4, 8, 10), _with(depth=4)),
    Case("one window", (0, 2, 3), _with(depth=4, window=(16, 4, 4))),
    Case("odd windows", (0, 6, 7, 13), _with(depth=4, window=(5, 2, 3), review_pool=(3, 2, 2))),
    Case("wide convolution", (0, 1, 2, 4), _with(depth=4, conv_width=9), tokens=(1, 2)),
    Case("a frame each", (0, 1, 2, 3), _with(depth=4), tokens=(1, 1)),
    Case("Mamba alone", (0, 4, 9), _with(depth=4, tesa_branch=False)),
    Case("windows alone", (0, 4, 9), _with(depth=4, mamba_branch=False)),
    Case("inside a clip", (0, 4, 9), _with(depth=4), first_frame=5),
    Case("without layout", (0, 3, 4, 9), _with(depth=4), layout=False),
    Case("blocks computed again", (0, 3, 4, 9), _with(depth=4), checkpoint=True),
    Case("float32", (0, 3, 4, 9), _with(depth=4), dtype=torch.float32),
    Case("float32, mini", (0, 11, 18), replace(PRESETS["mini"], depth=4), (4, 4), torch.float32),
)
"""With bounds of three numbers for two processes, else for three."""


@dataclass(frozen=True)
class Result:
    """Output, and gradients of the latents and of the parameters."""

    output: Tensor
    latents: Tensor
    parameters: dict[str, Tensor]


def _run(case: Case, slabs: Slabs | None) -> Result:
    """Forwards and backwards, whole or for the frames of this process."""
    config = case.config
    torch.manual_seed(1)
    network = LinGen(config)
    with torch.no_grad():
        for part in network.parameters():
            part.add_(0.1 * torch.randn_like(part))
    network.to(case.dtype)
    network.checkpoint_blocks = case.checkpoint
    frames, (high, wide) = case.bounds[-1], case.tokens
    shape = (2, config.latent_channels, frames, 2 * high, 2 * wide)
    latents, goal = torch.randn(2, *shape).to(case.dtype)
    times = torch.rand(2, frames).to(case.dtype)
    discs = torch.rand(2, frames, 2, 3, 5) * torch.tensor([wide, high, 2, 6, 1])
    discs, phrases = discs.to(case.dtype), torch.randn(2, 2, config.text_dims[0])
    text = torch.randn(2, 5, config.text_dims[0]).to(case.dtype)
    mask = torch.arange(5) < torch.tensor([[5], [3]])
    own = slice(0, frames) if slabs is None else slice(*slabs.own)
    given = latents[:, :, own].clone().requires_grad_()
    layout = LayoutFeatures(discs[:, own], phrases) if case.layout else None
    output = network(given, times[:, own], [text], [mask], case.first_frame, layout, slabs)
    (output * goal[:, :, own]).sum().backward()
    assert given.grad is not None
    gradients = {
        name: part.grad for name, part in network.named_parameters() if part.grad is not None
    }
    return Result(output.detach(), given.grad, gradients)


def compare(group: Group, saved: bytes) -> dict[str, list[float]]:
    """Errors of outputs, gradients of latents and of parameters, relative to the largest value, by
    the name of the case; `saved` are the results of one process."""
    found = {}
    wholes: dict[str, Result] = torch.load(io.BytesIO(saved), weights_only=False)
    for case in CASES:
        if case.name not in wholes:
            continue
        slabs = Slabs(case.bounds, group.rank)
        own = slice(*slabs.own)
        whole, part = wholes[case.name], _run(case, slabs)
        worst = [
            _error(part.output, whole.output[:, :, own], whole.output),
            _error(part.latents, whole.latents[:, :, own], whole.latents),
        ]
        assert part.parameters.keys() == whole.parameters.keys(), case.name  # or FSDP waits
        for name, expected in whole.parameters.items():
            group.sum(part.parameters[name])
            worst.append(_error(part.parameters[name], expected, expected))
        marks = torch.tensor([*worst[:2], max(worst[2:])])
        distributed.all_reduce(marks, distributed.ReduceOp.MAX)
        found[case.name] = marks.tolist()
    return found


def _error(found: Tensor, expected: Tensor, whole: Tensor) -> float:
    if not expected.numel():
        return 0.0
    return float((found - expected).abs().max() / (1 + whole.abs().max()))


@cache
def errors(processes: int) -> dict[str, list[float]]:
    """All cases of so many processes, which are started once."""
    saved = io.BytesIO()
    few = [case for case in CASES if len(case.bounds) == processes + 1]
    torch.save({case.name: _run(case, None) for case in few}, saved)
    arguments = {"saved": saved.getvalue()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parallel, "_PATIENCE", datetime.timedelta(seconds=60))
        with grouped(processes, compare, arguments) as group:
            return compare(group, **arguments)


@pytest.mark.e2e
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_processes_compute_what_one_does(case: Case) -> None:
    limit = 1e-10 if case.dtype is torch.float64 else 1e-4
    found = errors(len(case.bounds) - 1)[case.name]
    assert max(found) < limit, found


def test_stretches_leave_nothing_out() -> None:
    slabs = Slabs.even(17, 3, 1)
    assert slabs.stretches == [(0, 5), (5, 11), (11, 17)]
    assert (slabs.own, slabs.size, slabs.length) == ((5, 11), 6, 17)
    whole, cells = slabs.whole_cells(2)
    assert whole.stretches == [(0, 6), (6, 12), (12, 17)]
    assert cells.stretches == [(0, 3), (3, 6), (6, 9)]
    assert slabs.times(4).own == (20, 44)


@pytest.mark.parametrize("frames, span, shift", [(40, 16, 8), (37, 16, 0), (9, 5, 2), (8, 8, 0)])
def test_windows_go_where_they_are_nearest(frames: int, span: int, shift: int) -> None:
    edges = {0, frames, *range(shift, frames, span)}
    for frame in range(frames + 1):
        edge = nearest_edge(frame, frames, span, shift)
        assert edge in edges
        assert abs(edge - frame) == min(abs(other - frame) for other in edges)


def test_the_state_of_a_stretch_is_that_of_the_scan() -> None:
    x, dt = torch.randn(2, 50, 3, 4, dtype=torch.float64), torch.rand(2, 2, 50, 3)
    A, B = -torch.rand(2, 3, dtype=torch.float64), torch.randn(2, 50, 5, dtype=torch.float64)
    decay, state = stretch_state(x, dt.double(), A, B)
    torch.testing.assert_close(state, final_states(x, dt.double(), A, B))
    ahead = (dt[0] * A[0]).sum(1)
    torch.testing.assert_close(decay[0], ahead, check_dtype=False)


def test_what_cannot_be_divided_is_told() -> None:
    latents, times = torch.zeros(1, 16, 2, 4, 4), torch.zeros(1, 2)
    text, mask = torch.zeros(1, 3, 32), torch.ones(1, 3, dtype=torch.bool)
    with pytest.raises(ValueError, match="2 latent frames leave nothing for some of 3 processes"):
        LinGen(TINY)(latents, times, [text], [mask], slabs=Slabs.even(2, 3, 0))
    twin = LinGen(replace(TINY, mixer="attention"))
    with pytest.raises(ValueError, match="full attention cannot be divided"):
        twin(latents, times, [text], [mask], slabs=Slabs.even(2, 2, 0))
