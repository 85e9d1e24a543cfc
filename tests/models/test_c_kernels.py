"""The C kernels against PyTorch's path in float64, and what happens where there are none."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from lingen_models.kernels import attention_fused, c_kernels, gelu_fused, mamba_fused
from lingen_models.kernels.ssd import bidirectional_ssd, final_states
from lingen_models.networks.attention import attend
from lingen_models.networks.norms import gated_sum, modulate
from lingen_models.networks.window_attention import window_places

Parts = tuple[Tensor, ...]
needs_compiler = pytest.mark.skipif(c_kernels.library() is None, reason="no C compiler")

NARROW = {torch.float32: 3e-5, torch.bfloat16: 2e-2}
"""The error that is allowed, relative to the norm."""


def compare(
    function: Callable[..., Tensor | tuple[Tensor, ...]],
    inputs: Sequence[Tensor],
    narrow: Sequence[int],
    dtype: torch.dtype,
) -> None:
    """Outputs and gradients of `function`: those of `inputs` numbered `narrow` are in `dtype`, the
    others in float32; expected is what float64 gives for the same numbers."""
    assert c_kernels.covers(torch.zeros(1, dtype=dtype))
    found = [
        one.to(dtype if at in narrow else torch.float32).requires_grad_()
        for at, one in enumerate(inputs)
    ]
    expected = [one.detach().double().requires_grad_() for one in found]
    outputs, wanted = function(*found), function(*expected)
    outputs = (outputs,) if isinstance(outputs, Tensor) else outputs
    wanted = (wanted,) if isinstance(wanted, Tensor) else wanted
    for ours, theirs in zip(outputs, wanted, strict=True):
        close(ours, theirs, NARROW[dtype])
    weights = [torch.randn_like(one) for one in wanted]
    theirs_total = sum((one * w).sum() for one, w in zip(wanted, weights, strict=True))
    ours_total = sum((one * w).sum() for one, w in zip(outputs, weights, strict=True))
    assert isinstance(theirs_total, Tensor) and isinstance(ours_total, Tensor)
    gradients = torch.autograd.grad(ours_total, found, allow_unused=True)
    right = torch.autograd.grad(theirs_total, expected, allow_unused=True)
    scale = max(float(one.norm()) for one in right if one is not None)
    for leaf, one, other in zip(found, gradients, right, strict=True):
        one = torch.zeros_like(leaf) if one is None else one
        other = torch.zeros_like(leaf).double() if other is None else other
        assert one.dtype is leaf.dtype
        close(one, other, 2 * NARROW[dtype], floor=1e-6 * scale)


def close(ours: Tensor, theirs: Tensor, tolerance: float, floor: float = 1e-12) -> None:
    assert ours.shape == theirs.shape
    ours, theirs = ours.detach().double(), theirs.detach()
    assert float((ours - theirs).norm()) <= tolerance * float(theirs.norm()) + floor


def draw(length: int, heads: int = 3, features: int = 4, states: int = 5) -> list[Tensor]:
    """x, dt, A, B, C and initial states, with decays from almost none to almost all."""
    generator = torch.Generator().manual_seed(length)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    x, B, C = (
        normal(2, length, heads, features),
        normal(2, length, states),
        normal(2, length, states),
    )
    dt, A = (normal(2, 2, length, heads) - 1).exp(), -normal(2, heads).exp()
    return [x, dt, A, B, C, normal(2, 2, heads, features, states)]


@needs_compiler
@pytest.mark.parametrize("dtype", NARROW)
@pytest.mark.parametrize("diagonal", [True, False])
@pytest.mark.parametrize("with_start", [True, False])
@pytest.mark.parametrize(
    ("length", "chunk", "sizes"),
    [(1, 8, ()), (7, 8, ()), (16, 8, ()), (37, 8, ()), (37, 5, (1, 3, 1)), (200, 64, (4, 64, 32))],
)
def test_scan(
    length: int,
    chunk: int,
    sizes: tuple[int, ...],
    with_start: bool,
    diagonal: bool,
    dtype: torch.dtype,
) -> None:
    def scan(*inputs: Tensor) -> Tensor:
        start = inputs[5] if with_start else None
        return bidirectional_ssd(*inputs[:5], chunk=chunk, initial_states=start, diagonal=diagonal)

    compare(scan, draw(length, *sizes)[: 6 if with_start else 5], (0, 3, 4), dtype)


@needs_compiler
@pytest.mark.parametrize("dtype", NARROW)
@pytest.mark.parametrize("length", [1, 23, 150])
def test_states_after_a_sequence(length: int, dtype: torch.dtype) -> None:
    compare(final_states, draw(length)[:4], (0, 3), dtype)


@needs_compiler
def test_scan_in_tiles_and_from_views(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lingen_models.kernels.ssd_fused._HELD", 1)
    x, dt, A, B, C, _ = (one.float() for one in draw(37))
    whole = bidirectional_ssd(x, dt, A, B, C, chunk=8)
    mixed = torch.cat((x.flatten(2), B, C), -1)
    x, B, C = torch.split(mixed, [12, 5, 5], -1)
    steps = dt.permute(1, 2, 3, 0).contiguous().permute(3, 0, 1, 2)
    viewed = bidirectional_ssd(torch.unflatten(x, -1, (3, 4)), steps, A, B, C, chunk=8)
    torch.testing.assert_close(viewed, whole)


def convolve(mixed: Tensor, weight: Tensor, bias: Tensor, raw: Tensor, late: Tensor) -> Parts:
    """`mamba_fused.convolve`, and in float64 plain operators."""
    heads, states = late.shape[1], 3
    inner = mixed.shape[2] - 2 * states
    if c_kernels.covers(mixed):
        return mamba_fused.convolve(mixed, weight, bias, raw, late, inner)
    channels, _, taps = weight.shape
    y = F.conv1d(mixed.mT, weight, bias, padding=taps // 2, groups=channels).mT
    steps = torch.unflatten(raw, -1, (2, heads)).permute(2, 0, 1, 3) + late[:, None, None]
    return *torch.split(F.silu(y), [inner, states, states], -1), F.softplus(steps)


@needs_compiler
@pytest.mark.parametrize("dtype", NARROW)
@pytest.mark.parametrize(("length", "taps"), [(1, 3), (2, 5), (70, 3), (9, 1)])
def test_convolution_and_steps(length: int, taps: int, dtype: torch.dtype) -> None:
    sizes = [(2, length, 18), (18, 1, taps), (18,), (2, length, 6), (2, 3)]
    compare(convolve, [3 * torch.randn(size) for size in sizes], (0, 1, 2, 3), dtype)


def gated_norm(y: Tensor, x: Tensor, skip: Tensor, gate: Tensor, weight: Tensor) -> Tensor:
    """`mamba_fused.gated_norm`, and in float64 plain operators."""
    if c_kernels.covers(y):
        return mamba_fused.gated_norm(y, x, skip, gate, weight)
    product = (y + x * skip[:, None]).flatten(2) * F.silu(gate)
    return product / (product.square().mean(-1, keepdim=True) + 1e-5).sqrt() * weight


@needs_compiler
@pytest.mark.parametrize("dtype", NARROW)
@pytest.mark.parametrize(("length", "heads"), [(1, 1), (7, 3), (100, 4)])
def test_gated_norm(length: int, heads: int, dtype: torch.dtype) -> None:
    tokens, width = (2, length, heads, 8), heads * 8
    sizes = [tokens, tokens, (heads,), (2, length, width), (width,)]
    compare(gated_norm, [torch.randn(size) for size in sizes], range(5), dtype)


@needs_compiler
@pytest.mark.parametrize("dtype", NARROW)
@pytest.mark.parametrize("shape", [(1,), (3, 5001), (0, 4)])
def test_gelu(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    def gelu(x: Tensor) -> Tensor:
        return gelu_fused.gelu(x) if c_kernels.covers(x) else F.gelu(x)

    compare(gelu, [4 * torch.randn(shape)], (0,), dtype)
    if dtype is torch.float32:
        far = torch.tensor([-200.0, -30.0, -5.0, 0.0, 5.0, 30.0, 200.0])
        torch.testing.assert_close(gelu(far), F.gelu(far), rtol=1e-6, atol=4e-7)


@needs_compiler
@pytest.mark.parametrize("dtype", NARROW)
@pytest.mark.parametrize("grid", [(1, 1, 1), (3, 2, 5)])
@pytest.mark.parametrize("width", [3, 16, 21])
def test_adaptive_layer_norm(width: int, grid: tuple[int, ...], dtype: torch.dtype) -> None:
    frames = (2, grid[0], 6, width)

    def adapt(x: Tensor, position: Tensor, time: Tensor) -> Parts:
        shift, scale, gate, *_ = time[:, :, None, None].unbind(-2)
        placed = modulate(x, shift, scale, position)
        return placed, modulate(x, shift, scale), gated_sum(x, gate, placed)

    shapes = [(2, *grid, width), (*grid, width), frames]
    compare(adapt, [torch.randn(shape) for shape in shapes], range(3), dtype)


@needs_compiler
@pytest.mark.parametrize("dtype", NARROW)
@pytest.mark.parametrize("features", [5, 64])
def test_heads_in_windows(features: int, dtype: torch.dtype) -> None:
    places = window_places((3, 4, 5), (2, 4, 2), shifted=True)

    def attend_in_windows(x: Tensor, q_weight: Tensor, k_weight: Tensor) -> Parts:
        if c_kernels.covers(x):
            parts = attention_fused.heads_apart(x, places, q_weight, k_weight, None)
            return *parts, attention_fused.heads_together(parts[0] * parts[2], places, 60)
        heads = F.pad(x, (0, 0, 1, 0))[:, places + 1].flatten(0, 1)
        heads = torch.unflatten(heads, -1, (3, 2, features)).permute(2, 0, 3, 1, 4)
        q, k = (
            F.layer_norm(one, (features,), weight)
            for one, weight in zip(heads[:2], (q_weight, k_weight), strict=True)
        )
        here = places.flatten().argsort()[-60:]  # where each token stands, after the padding
        both = (q * heads[2]).transpose(1, 2).flatten(2)
        return q, k, heads[2], torch.unflatten(both, 0, (2, -1)).flatten(1, 2)[:, here]

    shapes = [(2, 60, 6 * features), (features,), (features,)]
    compare(attend_in_windows, [torch.randn(shape) for shape in shapes], range(3), dtype)


@needs_compiler
@pytest.mark.parametrize("dtype", NARROW)
@pytest.mark.parametrize("keys", [1, 7, 16, 33])
@pytest.mark.parametrize("masked", ["none", "one for all", "by group", "by query"])
def test_attention(masked: str, keys: int, dtype: torch.dtype) -> None:
    seen = {
        "none": None,
        "one for all": torch.rand(9, keys) > 0.4,
        "by group": torch.rand(3, 1, 1, keys) > 0.4,
        "by query": torch.rand(3, 1, 9, keys) > 0.4,
    }[masked]
    if seen is not None:
        seen[..., 0] = True
    shapes = [(3, 2, 9, 8), (3, 2, keys, 8), (3, 2, keys, 8)]
    inputs = [torch.randn(shape) for shape in shapes]
    compare(lambda q, k, v: attend(q, k, v, seen), inputs, range(3), dtype)


@needs_compiler
def test_inputs_that_are_views() -> None:
    torch.manual_seed(0)
    wide = torch.randn(2, 9, 40)
    gate, mixed, raw = torch.split(wide, [12, 22, 6], -1)
    weight, bias, late = torch.randn(22, 1, 3), torch.randn(22), torch.randn(2, 3)
    viewed = mamba_fused.convolve(mixed, weight, bias, raw, late, 12)
    whole = mamba_fused.convolve(mixed.contiguous(), weight, bias, raw.contiguous(), late, 12)
    for one, other in zip(viewed, whole, strict=True):
        torch.testing.assert_close(one, other)
    x, skip = torch.unflatten(viewed[0], -1, (3, 4)), torch.randn(3)
    normed = mamba_fused.gated_norm(x, x, skip, gate, torch.ones(12))
    again = mamba_fused.gated_norm(x, x, skip, gate.contiguous(), torch.ones(12))
    torch.testing.assert_close(normed, again)


@needs_compiler
def test_tensors_without_numbers_of_their_own_are_not_covered() -> None:
    assert c_kernels.covers(torch.zeros(2), torch.nn.Parameter(torch.zeros(2)))
    assert not c_kernels.covers(torch.zeros(2, device="meta"))
    assert not c_kernels.covers(torch.zeros(2), torch.zeros(2).bfloat16())
    with FakeTensorMode():
        assert not c_kernels.covers(torch.zeros(2))


@pytest.fixture
def fresh_library() -> Iterator[None]:
    """The library is looked for again, now and after the test."""
    for cached in (c_kernels.library, c_kernels._tell):
        cached.cache_clear()
    yield
    for cached in (c_kernels.library, c_kernels._tell):
        cached.cache_clear()


@pytest.mark.usefixtures("fresh_library")
@pytest.mark.parametrize("variable", [c_kernels.SWITCH, "PATH"])
def test_without_kernels_torch_does_the_work(
    variable: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    x, dt, A, B, C, start = draw(37)
    expected = bidirectional_ssd(x, dt, A, B, C, chunk=8, initial_states=start)
    monkeypatch.setenv(variable, "0" if variable == c_kernels.SWITCH else str(tmp_path))
    assert c_kernels.library() is None
    assert not c_kernels.covers(x.float())
    narrow = [one.float() for one in (x, dt, A, B, C)]
    found = bidirectional_ssd(*narrow, chunk=8, initial_states=start.float())
    close(found, expected, 1e-5)


def compiler(folder: Path, script: str) -> None:
    """Put a compiler of one's own in front of all others."""
    (folder / "cc").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "cc").chmod(0o755)


@pytest.mark.usefixtures("fresh_library")
def test_a_compiler_that_fails_is_told_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv(c_kernels.SWITCH, raising=False)
    compiler(tmp_path, "echo no such machine >&2; echo more >&2; exit 1")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setenv(c_kernels.FOLDER_VARIABLE, str(tmp_path / "kernels"))
    with pytest.warns(UserWarning, match=r"^no C kernels.*: no such machine$") as told:
        assert c_kernels.library() is None
        assert not c_kernels.covers(torch.zeros(1))  # compiled by itself
    assert len(told) == 1
    assert list((tmp_path / "kernels").iterdir()) == []


@pytest.fixture
def quick_compiler(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The compiler, which optimizes nothing."""
    folder, found = tmp_path_factory.mktemp("compiler"), shutil.which("cc") or shutil.which("gcc")
    compiler(folder, f'exec {found or "clang"} "$@" -O0')
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)


@needs_compiler
@pytest.mark.usefixtures("fresh_library", "quick_compiler")
@pytest.mark.e2e
def test_the_library_is_made_once_and_only_ours_is_loaded(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(c_kernels.FOLDER_VARIABLE, str(tmp_path))
    assert c_kernels.library() is not None
    (made,) = tmp_path.iterdir()
    before = made.stat().st_mtime_ns
    c_kernels.library.cache_clear()
    assert c_kernels.library() is not None
    assert made.stat().st_mtime_ns == before
    made.chmod(0o777)
    c_kernels.library.cache_clear()
    with pytest.warns(UserWarning, match="can be written by others"):
        assert c_kernels.library() is None


@needs_compiler
@pytest.mark.usefixtures("fresh_library", "quick_compiler")
@pytest.mark.e2e
def test_a_folder_that_others_may_write_is_not_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    monkeypatch.setenv(c_kernels.FOLDER_VARIABLE, str(shared))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert c_kernels.library() is not None
    assert list(tmp_path.iterdir()) == [shared]
    assert list(shared.iterdir()) == []


@needs_compiler
@pytest.mark.usefixtures("quick_compiler")
@pytest.mark.e2e
def test_two_processes_at_once(tmp_path: Path) -> None:
    script = "from lingen_models.kernels import c_kernels; assert c_kernels.library() is not None"
    environment = {
        **os.environ,
        c_kernels.FOLDER_VARIABLE: str(tmp_path),
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(script)]
    running = [subprocess.Popen(command, env=environment) for _ in range(2)]
    assert [one.wait(120) for one in running] == [0, 0]
    assert len(list(tmp_path.iterdir())) == 1
