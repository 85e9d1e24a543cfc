"""The route through mamba_ssm's causal kernel, with a plain loop in the kernel's place."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from lingen_models.kernels import dispatch
from lingen_models.kernels.mamba_ssm import import_scan


def causal_scan(x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, chunk_size: int) -> Tensor:
    """`mamba_chunk_scan_combined` as its documentation says: (b, l, h, p), B and C (b, l, g, n)."""
    assert chunk_size > 0
    assert A.shape == (x.shape[2],)
    B, C = (part.repeat_interleave(x.shape[2] // part.shape[2], 2) for part in (B, C))
    state = x.new_zeros(x.shape[0], x.shape[2], x.shape[3], B.shape[-1])
    outputs = []
    for i in range(x.shape[1]):
        decay = (dt[:, i] * A).exp()[..., None, None]
        state = decay * state + torch.einsum("bh,bhp,bhn->bhpn", dt[:, i], x[:, i], B[:, i])
        outputs.append(torch.einsum("bhpn,bhn->bhp", state, C[:, i]))
    return torch.stack(outputs, 1)


def draw(length: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """x, dt, B, C of some tokens."""
    x = torch.randn(2, length, 3, 4, dtype=torch.float64)
    dt = (torch.randn(2, 2, length, 3, dtype=torch.float64) - 1).exp()
    B, C = torch.randn(2, 2, length, 5, dtype=torch.float64)
    return x, dt, B, C


@pytest.mark.parametrize("prefix", ["none", "front", "both"])
@pytest.mark.parametrize("diagonal", [True, False])
def test_both_routes_agree(prefix: str, diagonal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "triton_scan", lambda: causal_scan)
    x, dt, B, C = draw(21)
    A = -torch.randn(2, 3, dtype=torch.float64).exp()
    review_x, review_dt, review_B, _ = draw(6)
    review = None if prefix == "none" else (review_x, review_dt, review_B)
    leaves = [x, dt, A, B, C, *(review or ())]
    for leaf in leaves:
        leaf.requires_grad_(True)
    ours = dispatch.scan_with_review(
        x, dt, A, B, C, prefix=review, both_ends=prefix == "both", chunk=8, diagonal=diagonal
    )
    theirs = dispatch._triton(x, dt, A, B, C, review, prefix == "both", 8, diagonal)
    torch.testing.assert_close(theirs, ours)
    weight = torch.randn_like(ours)
    for one, other in zip(
        torch.autograd.grad((ours * weight).sum(), leaves),
        torch.autograd.grad((theirs * weight).sum(), leaves),
        strict=True,
    ):
        torch.testing.assert_close(other, one)


def test_a_front_prefix_does_not_reach_the_backward_direction() -> None:
    x, dt, B, C = draw(9)
    A = -torch.randn(2, 3, dtype=torch.float64).exp()
    review_x, review_dt, review_B, _ = draw(4)

    def scan(steps: Tensor, both_ends: bool) -> Tensor:
        return dispatch.scan_with_review(
            x,
            dt,
            A,
            B,
            C,
            prefix=(review_x, steps, review_B),
            both_ends=both_ends,
            chunk=4,
            diagonal=True,
        )

    other = review_dt.clone()
    other[1] += 1
    assert torch.equal(scan(review_dt, False), scan(other, False))
    assert not torch.allclose(scan(review_dt, True), scan(other, True))
    changed = review_dt.clone()
    changed[0] += 1
    assert not torch.allclose(scan(review_dt, False), scan(changed, False))


def test_without_the_package_there_is_no_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    absent = {"mamba_ssm", "triton"}
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name in absent else found(name)
    )
    monkeypatch.setattr(sys, "modules", {k: v for k, v in sys.modules.items() if k not in absent})
    dispatch.triton_scan.cache_clear()
    try:
        assert dispatch.triton_scan() is None
    finally:
        dispatch.triton_scan.cache_clear()


def _package(folder: Path, init: str, kernel: str) -> None:
    deep = folder / "mamba_ssm" / "ops" / "triton"
    deep.mkdir(parents=True)
    (folder / "mamba_ssm" / "__init__.py").write_text(init)
    (folder / "mamba_ssm" / "ops" / "__init__.py").write_text("")
    (deep / "__init__.py").write_text("")
    (deep / "ssd_combined.py").write_text(kernel)


@pytest.mark.parametrize(
    ("init", "kernel", "usable"),
    [
        ("", "def mamba_chunk_scan_combined(): return 'scan'", True),
        ("import no_such_extension_cuda", "def mamba_chunk_scan_combined(): return 'scan'", True),
        ("import no_such_extension_cuda", "import no_such_triton", False),
    ],
    ids=["whole", "broken init", "broken kernel"],
)
def test_import_goes_round_a_broken_package(
    init: str, kernel: str, usable: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _package(tmp_path, init, kernel)
    kept = {k: v for k, v in sys.modules.items() if k.split(".")[0] != "mamba_ssm"}
    monkeypatch.setattr(sys, "modules", kept)
    monkeypatch.syspath_prepend(tmp_path)
    scan = import_scan()
    if usable:
        assert scan is not None
        assert scan() == "scan"
    else:
        assert scan is None
        assert "mamba_ssm" not in sys.modules
