"""The bidirectional scan beside what others offer for it, in one process, in turn.

    python benchmarks/scans.py
    python benchmarks/scans.py --heads 80 --state 128 --lengths 35904,143616 --dtypes bfloat16

Ours reads a sequence in both directions at once. The others read it in one, so they are called
twice, the second time on a flipped copy; what one call takes stands beside. Those that are not
installed are left out: `pip install transformers`, `lingen kernels install`. Errors are against
the float64 recurrence on a piece of the sequence. Writes scans.json and scans.md.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Any

import torch
from torch import Tensor

from lingen_models.kernels.dispatch import triton_scan
from lingen_models.kernels.ssd import bidirectional_ssd
from lingen_training.bench.step import timed
from lingen_training.markdown_table import table_of
from measuring import circumstances, options_parser, write_result

OURS = "lingen"
PIECE = 256
"""Tokens over which the recurrence is followed one by one."""


@dataclass(frozen=True)
class Inputs:
    """x (1, L, K, P), dt (2, 1, L, K), A (2, K), B and C (1, L, S)."""

    x: Tensor
    dt: Tensor
    A: Tensor
    B: Tensor
    C: Tensor

    def piece(self, length: int) -> Inputs:
        """The first tokens."""
        cut = (part[:, :length] for part in (self.x, self.B, self.C))
        x, B, C = cut
        return Inputs(x, self.dt[:, :, :length], self.A, B, C)

    def way(self, number: int) -> Inputs:
        """One direction; the backward one is flipped."""
        parts = (self.x, self.dt[number], self.B, self.C)
        x, dt, B, C = (part.flip(1) for part in parts) if number else parts
        return Inputs(x, dt, self.A[number], B, C)


Both = Callable[[Inputs], Tensor]
"""The sum of both directions, (1, L, K, P)."""
One = Callable[[Inputs], Tensor]
"""The forward direction of inputs that `Inputs.way` gave."""


def draw(length: int, heads: int, features: int, state: int, device: str) -> Inputs:
    """Inputs of the size that a trained network has, float32."""
    torch.manual_seed(0)
    x = torch.randn(1, length, heads, features)
    dt = torch.nn.functional.softplus(torch.randn(2, 1, length, heads) - 3)
    A = -torch.linspace(1, 16, 2 * heads).view(2, heads)
    B, C = torch.randn(2, 1, length, state) / state**0.25
    return Inputs(*(part.to(device) for part in (x, dt, A, B, C)))


def recurrence(given: Inputs) -> Tensor:
    """Both directions, token by token, in float64."""
    total: Tensor | None = None
    for number in range(2):
        way = given.way(number)
        x, dt, A, B, C = (part.double().cpu() for part in (way.x, way.dt, way.A, way.B, way.C))
        state = x.new_zeros(x.shape[2], x.shape[3], B.shape[-1])
        rows = []
        for t in range(x.shape[1]):
            added = (dt[0, t, :, None] * x[0, t])[..., None] * B[0, t]
            state = (dt[0, t] * A).exp()[:, None, None] * state + added
            rows.append(state @ C[0, t])
        y = torch.stack(rows).unsqueeze(0)
        total = y if total is None else total + y.flip(1)
    assert total is not None
    return total


def ours(chunk: int) -> Both:
    """The PyTorch path."""
    return lambda given: bidirectional_ssd(
        given.x, given.dt, given.A, given.B, given.C, chunk=chunk
    )


def ours_triton() -> Both | None:
    """Our Triton kernels."""
    try:
        from lingen_models.kernels.triton_ssd import bidirectional_ssd_triton
    except ImportError:
        return None
    return lambda given: bidirectional_ssd_triton(given.x, given.dt, given.A, given.B, given.C)


def twice(one: One) -> Both:
    """Both directions by two calls and two flips."""
    return lambda given: one(given.way(0)) + one(given.way(1)).flip(1)


def minimal(chunk: int) -> One | None:
    """`ssd_minimal_discrete` of mamba_ssm, its listing of the Mamba2 paper."""
    if triton_scan() is None:
        return None
    function = importlib.import_module("mamba_ssm.modules.ssd_minimal").ssd_minimal_discrete

    def run(given: Inputs) -> Tensor:
        dt = given.dt.to(given.x.dtype)
        heads = (1, 1, given.x.shape[2], 1)
        B, C = (part.unsqueeze(2).repeat(heads) for part in (given.B, given.C))
        decay = dt * given.A.to(dt)
        y: Tensor = function(given.x * dt.unsqueeze(-1), decay, B, C, chunk)[0]
        return y

    return run


def of_transformers(chunk: int) -> One | None:
    """`mamba2_chunk_scan` of transformers."""
    try:
        module = importlib.import_module("transformers.models.mamba2.modeling_mamba2")
        function: Any = module.mamba2_chunk_scan
    except (ImportError, AttributeError):
        return None

    def run(given: Inputs) -> Tensor:
        B, C = given.B.unsqueeze(2), given.C.unsqueeze(2)
        found: Any = function(given.x, given.dt, given.A, B, C, chunk)
        y: Tensor = found[0] if isinstance(found, tuple) else found
        return y

    return run


def of_mamba_ssm() -> One | None:
    """mamba_ssm's Triton kernel, for GPUs."""
    kernel = triton_scan()
    if kernel is None:
        return None

    def run(given: Inputs) -> Tensor:
        B, C = given.B.unsqueeze(2), given.C.unsqueeze(2)
        y: Tensor = kernel(given.x, given.dt, given.A, B, C, chunk_size=256)
        return y

    return run


def offers(chunk: int, device: str) -> dict[str, tuple[Both, One | None]]:
    """By name: both directions, and what is called for one."""
    found: dict[str, tuple[Both, One | None]] = {OURS: (ours(chunk), None)}
    if device == "cuda" and (kernels := ours_triton()) is not None:
        found = {"lingen, Triton": (kernels, None)} | found
    others = {"transformers": of_transformers(chunk), "mamba_ssm, ssd_minimal": minimal(chunk)}
    if device == "cuda":
        others["mamba_ssm, Triton"] = of_mamba_ssm()
    found |= {name: (twice(one), one) for name, one in others.items() if one is not None}
    return found


def in_dtype(given: Inputs, dtype: torch.dtype) -> Inputs:
    """As the network has them: steps and decays stay float32."""
    x, B, C = (part.to(dtype) for part in (given.x, given.B, given.C))
    return Inputs(x, given.dt, given.A, B, C)


def measure(
    given: Inputs, dtype: torch.dtype, chunk: int, rounds: int, device: str
) -> dict[str, dict[str, Any]]:
    """By name: the seconds of every round for both directions and for one, and the error."""
    low, exact = in_dtype(given, dtype), recurrence(given.piece(PIECE))
    start = in_dtype(given.piece(PIECE), dtype)
    available = offers(chunk, device)
    found: dict[str, dict[str, Any]] = {}
    for name, (both, _) in available.items():
        error = (both(start).double().cpu() - exact).norm() / exact.norm()
        found[name] = {"both": [], "one": [], "error": float(error)}
    for round_ in range(-1, rounds):  # the first is for warming up
        for name, (both, one) in available.items():
            took = timed(partial(both, low), device)
            first = low.way(0)
            alone = None if one is None else timed(partial(one, first), device)
            if round_ >= 0:
                found[name]["both"].append(took)
                found[name]["one"] += [] if alone is None else [alone]
    return found


def table(rows: list[dict[str, Any]]) -> str:
    """The result as markdown; ratios are medians of the rounds' ratios to our first."""
    lines = []
    for row in rows:
        (_, first), *_ = row["found"].items()
        for name, found in row["found"].items():
            pairs = zip(found["both"], first["both"], strict=True)
            ratio = median(theirs / mine for theirs, mine in pairs)
            both = f"{median(found['both']) * 1e3:.1f}"
            one = f"{median(found['one']) * 1e3:.1f}" if found["one"] else "-"
            cells = [f"{row['tokens']:,}", row["dtype"], name, both, one]
            lines.append([*cells, f"{ratio:.2f}", f"{found['error']:.1e}"])
    head = ("tokens", "dtype", "scan", "both directions, ms", "one, ms", "against ours", "error")
    return table_of(head, lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, write, and print the table."""
    parser = options_parser(__doc__)
    parser.add_argument("--lengths", default="8192", help="tokens, a multiple of the chunk")
    parser.add_argument("--heads", type=int, default=8)
    parser.add_argument("--features", type=int, default=64)
    parser.add_argument("--state", type=int, default=64)
    parser.add_argument("--chunk", type=int, default=64)
    parser.add_argument("--dtypes", default="float32,bfloat16")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args(arguments)
    rows = []
    with torch.inference_mode():
        for length in map(int, options.lengths.split(",")):
            given = draw(length, options.heads, options.features, options.state, options.device)
            for name in options.dtypes.split(","):
                dtype: torch.dtype = getattr(torch, name)
                found = measure(given, dtype, options.chunk, options.rounds, options.device)
                rows.append({"tokens": length, "dtype": name, "found": found})
    whole = {**circumstances(options, options.device), "rows": rows}
    write_result(options.output, "scans", whole, table(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
