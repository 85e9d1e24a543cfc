"""Parts of torch that it does not promise: without them, the same numbers."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import torch
from torch import Tensor

from lingen_models import torch_private
from lingen_models.kernels import c_kernels
from lingen_models.precision import compute_dtype

ROOT = Path(__file__).parents[2]


def without(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Take a part away from this torch."""
    place, _, last = name.rpartition(".")
    where = torch
    for one in place.split(".") if place else []:
        where = getattr(where, one)
    monkeypatch.delattr(where, last)
    assert list(torch_private.missing()) == [f"torch.{name}"]


def test_nothing_is_missing_in_the_torch_that_is_tested() -> None:
    assert torch_private.missing() == {}


def test_no_c_kernels_where_nobody_knows_who_watches(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.ones(2)
    assert not torch_private.operators_are_watched()
    without(monkeypatch, "_C._len_torch_dispatch_stack")
    assert torch_private.operators_are_watched() and not c_kernels.covers(x)


def test_the_gradient_of_a_softmax(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    scores = torch.randn(3, 4, 5, dtype=torch.float64, requires_grad=True)
    gradient, chances = torch.randn_like(scores), scores.softmax(-1)
    (expected,) = torch.autograd.grad(chances, scores, gradient)
    torch.testing.assert_close(torch_private.softmax_backward(gradient, chances), expected)
    without(monkeypatch, "_softmax_backward_data")
    torch.testing.assert_close(torch_private.softmax_backward(gradient, chances), expected)


@pytest.mark.parametrize("name", ["_foreach_lerp_", "_foreach_copy_"])
def test_lists_of_tensors(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    def done() -> list[Tensor]:
        torch.manual_seed(0)
        targets, sources = ([torch.randn(n) for n in (3, 5)] for _ in range(2))
        torch_private.lerp_all(targets, sources, 0.25)
        copied = [torch.zeros(n) for n in (3, 5)]
        torch_private.copy_all(copied, targets)
        return copied

    expected = done()
    without(monkeypatch, name)
    torch.testing.assert_close(done(), expected)


def test_float32_where_nobody_knows_of_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: True, raising=False)
    assert compute_dtype("cpu") is torch.bfloat16

    class Empty:
        pass

    monkeypatch.setattr(torch.ops, "mkldnn", Empty())
    assert compute_dtype("cpu") is torch.float32
    assert list(torch_private.missing()) == ["torch.ops.mkldnn._is_mkldnn_bf16_supported"]


def test_nobody_else_uses_such_parts() -> None:
    found = []
    for folder in ("lingen", "lingen_cli", "models", "plugins", "training", "playground"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                name = ast.unparse(node) if isinstance(node, ast.Attribute) else ""
                if name.startswith("torch.") and "._" in name.replace(".__", ""):
                    found.append((path.name, name))
    assert {name for name, _ in found} == {"torch_private.py"}
