"""The bidirectional scan as three Triton kernels, both directions in each launch.

The mathematics are those of `kernels.ssd` (Mamba2, arXiv 2405.21060): what each chunk adds to
the states that leave it, those states passed from chunk to chunk, and the outputs, whose one matrix
per chunk decays forwards below its diagonal and backwards above it. C B^T, which the heads share,
is one batched product of the library's. States are kept in the dtype of x, sums in float32.

Forward alone: it is for sampling. Import it only where `triton` is.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

CHUNK = 128
"""Tokens of a chunk; a CPU does best with fewer."""
_ROWS = 64
"""Tokens that one program of the last kernel answers for. With these sizes, a state of 128 and
eight warps, ptxas spills nothing for bf16 on compute capability 9.0."""
_COLUMNS = 32
"""Tokens that it looks at at a time."""
_CELLS = 1024
"""Numbers of a state that one program carries along the chunks."""


def bidirectional_ssd_triton(
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    *,
    initial_states: Tensor | None = None,
    diagonal: bool = True,
    chunk: int = CHUNK,
) -> Tensor:
    """Same as `kernels.ssd.bidirectional_ssd`, without gradients; `chunk` is a power of two, at
    least 16. x may have any strides but in its last axis."""
    batch, length, heads, features = x.shape
    states, sums = _states(x, dt, A, B, chunk)
    _pass(states, sums, initial_states)
    chunks = states.shape[2]
    scores = _chunked(C, chunks, chunk) @ _chunked(B, chunks, chunk).transpose(-1, -2)
    C = C.contiguous()
    y = torch.empty((batch, length, heads, features), dtype=x.dtype, device=x.device)
    rows = min(_ROWS, chunk)
    _outputs[(batch * chunks * (chunk // rows), heads)](
        x,
        dt,
        C,
        scores,
        sums,
        states,
        y,
        length,
        chunks,
        batch,
        heads,
        *x.stride()[:3],
        *dt.stride(),
        FEATURES=features,
        STATE=B.shape[-1],
        CHUNK=chunk,
        ROWS=rows,
        COLUMNS=min(_COLUMNS, chunk),
        WIDE=_block(features),
        DEEP=_block(B.shape[-1]),
        DIAGONAL=diagonal,
        num_warps=8,
    )
    return y


def final_states_triton(
    x: Tensor, dt: Tensor, A: Tensor, B: Tensor, *, chunk: int = CHUNK
) -> Tensor:
    """Same as `lingen_models.kernels.ssd.final_states`."""
    states, sums = _states(x, dt, A, B, chunk)
    return _pass(states, sums, None)


def _states(x: Tensor, dt: Tensor, A: Tensor, B: Tensor, chunk: int) -> tuple[Tensor, Tensor]:
    """What each chunk adds, (2, B, c, K, P, S) in x's dtype, and the sums of dt A inside it, from
    its begin and from its end, (2, B, c, K, Q) in float32."""
    batch, length, heads, features = x.shape
    chunks, size = -(-length // chunk), B.shape[-1]
    shape = (2, batch, chunks, heads)
    states = torch.empty((*shape, features, size), dtype=x.dtype, device=x.device)
    sums = torch.empty((*shape, chunk), dtype=torch.float32, device=x.device)
    _added[(batch * chunks, heads)](
        x,
        dt,
        A.contiguous(),
        B.contiguous(),
        states,
        sums,
        length,
        chunks,
        batch,
        heads,
        *x.stride()[:3],
        *dt.stride(),
        FEATURES=features,
        STATE=size,
        CHUNK=chunk,
        WIDE=_block(features),
        DEEP=_block(size),
        num_warps=8,
    )
    return states, sums


def _pass(states: Tensor, sums: Tensor, initial: Tensor | None) -> Tensor:
    """Replace, in place, what chunks add by what enters them; returns what leaves at the ends."""
    _, batch, chunks, heads, features, size = states.shape
    numbers = features * size
    last = torch.empty((2, batch, heads, features, size), dtype=torch.float32, device=sums.device)
    _carried[(batch * heads, 2, triton.cdiv(numbers, _CELLS))](
        states,
        sums,
        last if initial is None else initial.float().contiguous(),
        last,
        chunks,
        batch,
        heads,
        NUMBERS=numbers,
        CHUNK=sums.shape[-1],
        CELLS=_CELLS,
        BEGUN=initial is not None,
    )
    return last


def _chunked(part: Tensor, chunks: int, chunk: int) -> Tensor:
    """(B, L, S) as (B, c, Q, S), zeros behind the end."""
    missing = chunks * chunk - part.shape[1]
    if missing:
        part = torch.nn.functional.pad(part, (0, 0, 0, missing))
    part = part.contiguous()
    return part.view(part.shape[0], chunks, chunk, part.shape[2])


def _block(size: int) -> int:
    """What a product of tiles takes."""
    return max(16, 1 << (size - 1).bit_length())


@triton.jit
def _added(
    x, dt, A, B, states, sums, length, chunks, batch, heads,
    x_b, x_l, x_k, dt_d, dt_b, dt_l, dt_k,
    FEATURES: tl.constexpr, STATE: tl.constexpr, CHUNK: tl.constexpr,
    WIDE: tl.constexpr, DEEP: tl.constexpr,
):  # fmt: skip
    place, k = tl.program_id(0).to(tl.int64), tl.program_id(1)
    b, c = place // chunks, place % chunks
    q, p, s = tl.arange(0, CHUNK), tl.arange(0, WIDE), tl.arange(0, DEEP)
    at = c * CHUNK + q
    inside = at < length
    values = tl.load(
        x + b * x_b + at[None, :] * x_l + k * x_k + p[:, None],
        mask=inside[None, :] & (p[:, None] < FEATURES),
        other=0.0,
    )
    keys = tl.load(
        B + (b * length + at[:, None]) * STATE + s[None, :],
        mask=inside[:, None] & (s[None, :] < STATE),
        other=0.0,
    )
    for way in tl.static_range(2):
        step = tl.load(
            dt + way * dt_d + b * dt_b + at * dt_l + k * dt_k, mask=inside, other=0.0
        ).to(tl.float32)
        decay = step * tl.load(A + way * heads + k).to(tl.float32)
        run = tl.cumsum(decay, 0, reverse=way == 1)
        cell = ((way * batch + b) * chunks + c) * heads + k
        tl.store(sums + cell * CHUNK + q, run)
        weight = tl.exp(tl.sum(decay, 0) - run) * step
        added = tl.dot(values, (keys * weight[:, None]).to(values.dtype), input_precision="tf32x3")
        tl.store(
            states + cell * FEATURES * STATE + p[:, None] * STATE + s[None, :],
            added.to(states.dtype.element_ty),
            mask=(p[:, None] < FEATURES) & (s[None, :] < STATE),
        )


@triton.jit
def _carried(
    states, sums, initial, last, chunks, batch, heads,
    NUMBERS: tl.constexpr, CHUNK: tl.constexpr, CELLS: tl.constexpr, BEGUN: tl.constexpr,
):  # fmt: skip
    place, way = tl.program_id(0).to(tl.int64), tl.program_id(1)
    b, k = place // heads, place % heads
    number = tl.program_id(2) * CELLS + tl.arange(0, CELLS)
    real = number < NUMBERS
    whole = ((way * batch + b) * heads + k) * NUMBERS + number
    state = tl.zeros((CELLS,), dtype=tl.float32)
    if BEGUN:
        state = tl.load(initial + whole, mask=real, other=0.0)
    for turn in range(chunks):
        c = tl.where(way == 0, turn, chunks - 1 - turn)
        cell = ((way * batch + b) * chunks + c) * heads + k
        here = states + cell * NUMBERS + number
        added = tl.load(here, mask=real, other=0.0).to(tl.float32)
        tl.store(here, state.to(states.dtype.element_ty), mask=real)
        total = tl.load(sums + cell * CHUNK + tl.where(way == 0, CHUNK - 1, 0))
        state = state * tl.exp(total) + added
    tl.store(last + whole, state, mask=real)


@triton.jit
def _outputs(
    x, dt, C, scores, sums, states, y, length, chunks, batch, heads,
    x_b, x_l, x_k, dt_d, dt_b, dt_l, dt_k,
    FEATURES: tl.constexpr, STATE: tl.constexpr, CHUNK: tl.constexpr, ROWS: tl.constexpr,
    COLUMNS: tl.constexpr, WIDE: tl.constexpr, DEEP: tl.constexpr, DIAGONAL: tl.constexpr,
):  # fmt: skip
    place, k = tl.program_id(0).to(tl.int64), tl.program_id(1)
    place, part = place // (CHUNK // ROWS), place % (CHUNK // ROWS)
    b, c = place // chunks, place % chunks
    i, p, s = part * ROWS + tl.arange(0, ROWS), tl.arange(0, WIDE), tl.arange(0, DEEP)
    at = c * CHUNK + i
    inside = at < length
    queries = tl.load(
        C + (b * length + at[:, None]) * STATE + s[None, :],
        mask=inside[:, None] & (s[None, :] < STATE),
        other=0.0,
    )
    ahead = ((b * chunks) + c) * heads + k
    back = ((batch + b) * chunks + c) * heads + k
    a_i, b_i = tl.load(sums + ahead * CHUNK + i), tl.load(sums + back * CHUNK + i)
    inner = p[None, :] * STATE + s[:, None]
    real = (p[None, :] < FEATURES) & (s[:, None] < STATE)
    left = tl.load(states + ahead * FEATURES * STATE + inner, mask=real, other=0.0)
    right = tl.load(states + back * FEATURES * STATE + inner, mask=real, other=0.0)
    total = tl.exp(a_i)[:, None] * tl.dot(queries, left, input_precision="tf32x3")
    total += tl.exp(b_i)[:, None] * tl.dot(queries, right, input_precision="tf32x3")
    for begin in range(0, CHUNK, COLUMNS):
        j = begin + tl.arange(0, COLUMNS)
        there = c * CHUNK + j
        has = there < length
        score = tl.load(scores + (place * CHUNK + i[:, None]) * CHUNK + j[None, :]).to(tl.float32)
        steps = dt + b * dt_b + there * dt_l + k * dt_k
        forward = tl.load(steps, mask=has, other=0.0).to(tl.float32)
        backward = tl.load(steps + dt_d, mask=has, other=0.0).to(tl.float32)
        a_j, b_j = tl.load(sums + ahead * CHUNK + j), tl.load(sums + back * CHUNK + j)
        below, above = i[:, None] > j[None, :], i[:, None] < j[None, :]
        exponent = tl.where(below, a_i[:, None] - a_j[None, :], b_i[:, None] - b_j[None, :])
        size = tl.where(below, forward[None, :], backward[None, :])
        weight = tl.exp(tl.minimum(exponent, 0.0)) * size
        if DIAGONAL:
            weight = tl.where(below | above, weight, (forward + backward)[None, :])
        else:
            weight = tl.where(below | above, weight, 0.0)
        values = tl.load(
            x + b * x_b + there[:, None] * x_l + k * x_k + p[None, :],
            mask=has[:, None] & (p[None, :] < FEATURES),
            other=0.0,
        )
        total += tl.dot((score * weight).to(values.dtype), values, input_precision="tf32x3")
    tl.store(
        y + ((b * length + at[:, None]) * heads + k) * FEATURES + p[None, :],
        total.to(y.dtype.element_ty),
        mask=inside[:, None] & (p[None, :] < FEATURES),
    )
