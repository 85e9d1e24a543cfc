"""Our Triton kernels without a GPU: in Triton's interpreter, and compiled for one."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from lingen_models.kernels import dispatch

needs_triton = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="no Triton (Linux on x86-64 has it)"
)

INTERPRETED = r"""
import json, os, sys
os.environ["TRITON_INTERPRET"] = "1"
import numpy as np
import torch
import triton.language as tl
from triton.runtime.interpreter import InterpreterBuilder, TensorHandle

plain = InterpreterBuilder.create_dot

def wide(part):  # the interpreter would multiply the bit patterns of bfloat16
    if part.dtype.scalar != tl.bfloat16:
        return part
    return TensorHandle((part.data.astype(np.uint32) << 16).view(np.float32), tl.float32)

InterpreterBuilder.create_dot = lambda self, a, b, *rest: plain(self, wide(a), wide(b), *rest)

from lingen_models.kernels.ssd import bidirectional_ssd, final_states
from lingen_models.kernels.triton_ssd import bidirectional_ssd_triton, final_states_triton

def error(found, wanted):
    return float((found.double() - wanted).norm() / wanted.norm())

worst = []
for length, heads, features, size, chunk, dtype, begun, diagonal in json.loads(sys.argv[1]):
    dtype = getattr(torch, dtype)
    torch.manual_seed(length)
    wider = torch.randn(2, length, heads, 2 * features, dtype=torch.float64)
    x = wider[..., :features]  # strides that a split projection has
    dt = (torch.randn(2, 2, length, heads, dtype=torch.float64) - 1).exp()
    A = -torch.randn(2, heads, dtype=torch.float64).exp()
    B, C = torch.randn(2, 2, length, size, dtype=torch.float64)
    start = torch.randn(2, 2, heads, features, size, dtype=torch.float64) if begun else None
    wanted = bidirectional_ssd(x, dt, A, B, C, chunk=7, initial_states=start, diagonal=diagonal)
    low, narrow = wider.to(dtype)[..., :features], (dt.float(), A.float(), B.to(dtype))
    found = bidirectional_ssd_triton(
        low, *narrow, C.to(dtype), initial_states=start, diagonal=diagonal, chunk=chunk
    )
    assert found.dtype == dtype
    ends = final_states_triton(low, *narrow, chunk=chunk)
    worst.append([error(found, wanted), error(ends, final_states(x, dt, A, B))])
print(json.dumps(worst))
"""
CASES = [
    # length, heads, features, state, chunk, dtype, begun, diagonal
    (1, 1, 8, 16, 16, "float32", True, True),
    (16, 2, 16, 5, 16, "float32", False, False),
    (37, 3, 8, 20, 16, "float32", True, False),
    (130, 2, 16, 16, 64, "float32", True, True),
    (200, 1, 64, 32, 128, "float32", False, True),
    (37, 2, 24, 16, 16, "bfloat16", True, True),
    (130, 2, 16, 16, 64, "bfloat16", True, False),
    (70, 2, 16, 16, 32, "float16", True, True),
]


@needs_triton
def test_the_numbers_are_those_of_the_float64_scan() -> None:
    done = subprocess.run(
        [sys.executable, "-c", INTERPRETED, json.dumps(CASES)],
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    worst = json.loads(done.stdout)
    allowed = {"float32": 1e-5, "bfloat16": 1.5e-2, "float16": 2e-3}
    assert len(worst) == len(CASES)
    for case, errors in zip(CASES, worst, strict=True):
        assert max(errors) < allowed[case[5]], (case, errors)


COMPILED = r"""
import json
from triton import compile
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from lingen_models.kernels import triton_ssd

tiles = {"FEATURES": 64, "STATE": 128, "CHUNK": triton_ssd.CHUNK, "WIDE": 64, "DEEP": 128}
asked = {
    "_added": tiles,
    "_carried": {"NUMBERS": 64 * 128, "CHUNK": triton_ssd.CHUNK, "CELLS": triton_ssd._CELLS,
                 "BEGUN": True},
    "_outputs": tiles | {"ROWS": triton_ssd._ROWS, "COLUMNS": triton_ssd._COLUMNS,
                         "DIAGONAL": True},
}
kinds = dict.fromkeys(("dt", "A", "sums", "initial", "last"), "*fp32")
kinds |= dict.fromkeys(("x", "B", "C", "states", "scores", "y"), "*bf16")
shared = {}
for name, constants in asked.items():
    kernel = getattr(triton_ssd, name)
    signature = {one: "constexpr" if one in constants else kinds.get(one, "i32")
                 for one in kernel.arg_names}
    source = ASTSource(kernel, signature, constants)
    made = compile(source, target=GPUTarget("cuda", 90, 32), options={"num_warps": 8})
    assert made.asm["cubin"]
    shared[name] = made.metadata.shared
print(json.dumps(shared))
"""


@needs_triton
def test_they_compile_for_a_gpu_that_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    done = subprocess.run(
        [sys.executable, "-c", COMPILED], capture_output=True, text=True, check=False, timeout=200
    )
    assert done.returncode == 0, done.stderr
    shared = json.loads(done.stdout)
    assert shared.keys() == {"_added", "_carried", "_outputs"}
    assert max(shared.values()) <= 99 * 1024  # what every card of compute capability 8.0 on has


@pytest.mark.parametrize(
    ("own", "theirs", "gradients", "route"),
    [
        (True, True, False, "triton"),
        (True, False, False, "triton"),
        (True, True, True, "mamba_ssm"),
        (False, True, False, "mamba_ssm"),
        (True, False, True, "pytorch"),
        (False, False, False, "pytorch"),
    ],
)
def test_which_kernels_are_taken(
    monkeypatch: pytest.MonkeyPatch, own: bool, theirs: bool, gradients: bool, route: str
) -> None:
    monkeypatch.setattr(dispatch, "own_kernels_work", lambda device: own)
    monkeypatch.setattr(dispatch, "triton_scan", lambda: object() if theirs else None)
    assert dispatch.scan_route(torch.device("cuda"), gradients=gradients) == route
    assert dispatch.scan_route(torch.device("cpu"), gradients=gradients) == "pytorch"


@needs_triton
def test_kernels_that_fail_are_told_once_and_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a GPU and its interpreter, Triton has nothing to run them on."""
    dispatch.own_kernels_work.cache_clear()
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    with pytest.warns(UserWarning, match="the Triton kernels do not work on cpu: "):
        assert not dispatch.own_kernels_work(torch.device("cpu"))
    assert not dispatch.own_kernels_work(torch.device("cpu"))
    dispatch.own_kernels_work.cache_clear()
