"""The chunked scan on a processor: a few matrix products, and C kernels for all between them.

The formulas are those of `lingen_models.ssd` and `lingen_models.ssd_chunk`. What differs is how
much is written down: a chunk's Q x Q matrix and the map from the states that enter it stand side
by side, so that one product gives its outputs, and both are made again for the gradient.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from lingen_models.kernels import c_kernels

_HELD = 2**19
"""Numbers of the largest factor that are held at once: what comes next finds them in the cache."""


def covers(x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor | None = None) -> bool:
    """Tell whether the functions below take these."""
    wide = dt.dtype is torch.float32 and A.dtype is torch.float32 and dt.device.type == "cpu"
    return wide and x.numel() > 0 and c_kernels.covers(x, B, B if C is None else C)


def scan(
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    *,
    chunk: int,
    initial_states: Tensor | None,
    diagonal: bool,
) -> Tensor:
    """`lingen_models.ssd.bidirectional_ssd`."""
    y: Tensor = _Scan.apply(x, dt, A, B, C, initial_states, chunk, diagonal)  # type: ignore[no-untyped-call]
    return y


def final_states(x: Tensor, dt: Tensor, A: Tensor, B: Tensor) -> Tensor:
    """`lingen_models.ssd.final_states`."""
    states: Tensor = _Carried.apply(x, dt, A, B)  # type: ignore[no-untyped-call]
    return states


@dataclass(frozen=True)
class _Sorted:
    """Tokens in chunks, with what the scan knows of them before its products.

    B sequences are n = B c chunks of Q tokens; K heads have P features and S states. `tensors` is
    what a gradient needs of them. In each pair of directions the forward one is first.
    """

    size: list[int]
    """B, L, c, Q, K, P, S, the rows of a chunk's values, threads, and whether with diagonal."""
    A: Tensor
    """(2, K)."""
    values: Tensor
    """(n, K, Q + 2 S, P): what tokens hold, then what enters from the left and from the right."""
    steps: Tensor
    """(2, n, K, Q)."""
    sums: Tensor
    """(2, n, K, Q): sums of dt A up to each token, from the chunk's begin and from its end."""
    B: Tensor
    """(n, Q, S)."""
    C: Tensor
    """(n, Q, S)."""
    weighted: Tensor
    """(n K, Q, 2 S): B times the step and what is left of a token when its chunk ends."""

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """The fields after `size`."""
        return self.A, self.values, self.steps, self.sums, self.B, self.C, self.weighted

    def call(self, name: str, *arguments: Any) -> None:
        """Run a kernel for these sizes."""
        c_kernels.call(name, self.values.dtype, self.size, *arguments)

    def own(self) -> Tensor:
        """(n K, Q, P): what tokens hold."""
        return self.values.flatten(0, 1)[:, : self.size[3]]

    def tiles(self) -> list[slice]:
        """Chunks that are worked on at once."""
        chunks, heads, rows, _ = self.values.shape
        step = max(1, _HELD // (heads * self.size[3] * rows))
        return [slice(at, min(at + step, chunks)) for at in range(0, chunks, step)]

    def gradients(
        self,
        d_values: Tensor | None,
        d_states: Tensor,
        d_steps: Tensor,
        d_sums: Tensor,
        through_scores: tuple[Tensor, Tensor, Tensor] | None = None,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor | None]:
        """Compute gradients of x, dt, A, B and C from those of the values and of each chunk's
        states."""
        batch, length, chunks, _, heads, features, states = self.size[:7]
        d_weighted = torch.bmm(self.own(), d_states.transpose(1, 2))
        d_own = torch.bmm(self.weighted, d_states)
        d_x = self.values.new_empty(batch, length, heads, features)
        d_dt = d_steps.new_empty(2, batch, length, heads)
        d_B = self.values.new_empty(batch, length, states)
        d_C = None if through_scores is None else torch.empty_like(d_B)
        d_A = d_steps.new_empty(batch * chunks, 2, heads)
        self.call(
            "scan_prepare_back",
            self.A,
            self.B,
            self.steps,
            self.sums,
            d_values,
            d_own,
            d_weighted,
            *(through_scores or (None, None, None)),
            d_steps,
            d_sums,
            d_x,
            d_dt,
            d_B,
            d_C,
            d_A,
        )
        return d_x, d_dt, d_A.sum(0), d_B, d_C


def _sort(
    x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor | None, chunk: int, diagonal: bool
) -> _Sorted:
    """Tokens as they come to `scan`, in chunks; C may be missing."""
    batch, length, heads, features = x.shape
    states = B.shape[-1]
    n = batch * -(-length // chunk)
    rows = chunk if C is None else chunk + 2 * states
    x = _with_whole_heads(x)
    B = B if B.stride(-1) == 1 else B.contiguous()
    C = C if C is None or C.stride(-1) == 1 else C.contiguous()
    steps = dt.new_empty(2, n, heads, chunk)
    maps = x.new_empty(2, n, chunk, states)
    size = [batch, length, n // batch, chunk, heads, features, states, rows]
    size += [torch.get_num_threads(), int(diagonal)]
    tokens = _Sorted(
        size,
        A.contiguous(),
        x.new_empty(n, heads, rows, features),
        steps,
        torch.empty_like(steps),
        maps[0],
        maps[1],
        x.new_empty(n * heads, chunk, 2 * states),
    )
    tokens.call(
        "scan_prepare",
        x,
        x.stride(),
        dt.contiguous(),
        tokens.A,
        B,
        B.stride(),
        C,
        (0, 0, 0) if C is None else C.stride(),
        *tokens.tensors[1:],
    )
    return tokens


def _with_whole_heads(x: Tensor) -> Tensor:
    """(B, L, K, P) of which a token's heads lie one after another."""
    whole = x.stride(-1) == 1 and x.stride(-2) == x.shape[-1]
    return x if whole else x.contiguous()


class _Scan(torch.autograd.Function):
    """`scan`, with the gradient written out."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        dt: Tensor,
        A: Tensor,
        B: Tensor,
        C: Tensor,
        initial: Tensor | None,
        chunk: int,
        diagonal: bool,
    ) -> Tensor:
        chunk = min(chunk, x.shape[1])
        tokens = _sort(x, dt, A, B, C, chunk, diagonal)
        values = tokens.values
        _, heads, rows, features = values.shape
        states = torch.bmm(tokens.weighted.transpose(1, 2), tokens.own())
        if initial is not None:
            initial = initial.float().mT.contiguous()
        tokens.call("scan_pass", states, tokens.sums, initial, values)
        scores = torch.bmm(tokens.C, tokens.B.transpose(1, 2))
        y = values.new_empty(values.shape[0], heads, chunk, features)
        for tile in tokens.tiles():
            count = tile.stop - tile.start
            left = values.new_empty(count * heads, chunk, rows)
            tokens.call(
                "scan_weigh",
                tile.start,
                count,
                scores[tile],
                tokens.steps,
                tokens.sums,
                tokens.C,
                left,
            )
            torch.bmm(left, values[tile].flatten(0, 1), out=y[tile].flatten(0, 1))
        found = values.new_empty(x.shape)
        tokens.call("scan_restore", y, found)
        ctx.save_for_backward(scores, *tokens.tensors)
        ctx.size = tokens.size
        ctx.has_initial = initial is not None
        return found

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of the tensors, in the order of `forward`."""
        scores, *tensors = ctx.saved_tensors
        tokens = _Sorted(ctx.size, *tensors)
        values, states = tokens.values, tokens.size[6]
        n, heads, _, features = values.shape
        gradient = _with_whole_heads(gradient)
        d_y = values.new_empty(n, heads, tokens.size[3], features)
        tokens.call("scan_sort", gradient, gradient.stride(), d_y)
        d_steps, d_sums = torch.empty_like(tokens.steps), torch.empty_like(tokens.sums)
        d_scores, d_values = torch.empty_like(scores), torch.empty_like(values)
        d_out = tokens.steps.new_empty(tokens.C.shape)
        for tile in tokens.tiles():
            given = d_y[tile].flatten(0, 1)
            d_left = torch.bmm(given, values[tile].flatten(0, 1).transpose(1, 2))
            left = torch.empty_like(d_left)
            tokens.call(
                "scan_unweigh",
                tile.start,
                tile.stop - tile.start,
                d_left,
                scores[tile],
                tokens.steps,
                tokens.sums,
                tokens.C,
                left,
                d_scores[tile],
                d_steps,
                d_sums,
                d_out,
            )
            torch.bmm(left.transpose(1, 2), given, out=d_values[tile].flatten(0, 1))
        d_states = values.new_empty(n * heads, 2 * states, features)
        d_initial = None
        if ctx.has_initial:
            d_initial = d_steps.new_empty(2, tokens.size[0], heads, states, features)
        tokens.call("scan_pass_back", d_values, values, tokens.sums, d_sums, d_states, d_initial)
        d_in = torch.bmm(d_scores.transpose(1, 2), tokens.C)
        d_seen = torch.bmm(d_scores, tokens.B)
        gradients = tokens.gradients(d_values, d_states, d_steps, d_sums, (d_in, d_seen, d_out))
        return *gradients, None if d_initial is None else d_initial.mT, None, None


class _Carried(torch.autograd.Function):
    """`final_states`, with the gradient written out."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, dt: Tensor, A: Tensor, B: Tensor) -> Tensor:
        tokens = _sort(x, dt, A, B, None, x.shape[1], diagonal=True)
        states = torch.bmm(tokens.weighted.transpose(1, 2), tokens.own())
        ctx.save_for_backward(*tokens.tensors)
        ctx.size = tokens.size
        by_way = states.view(x.shape[0], x.shape[2], 2, -1, x.shape[3])
        return by_way.permute(2, 0, 1, 3, 4).to(dt.dtype).contiguous().mT

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of the tensors, in the order of `forward`."""
        tokens = _Sorted(ctx.size, *ctx.saved_tensors)
        d_states = gradient.permute(1, 2, 0, 4, 3).to(tokens.values.dtype).flatten(2, 3)
        d_steps, d_sums = torch.zeros_like(tokens.steps), torch.zeros_like(tokens.sums)
        return tokens.gradients(None, d_states.flatten(0, 1), d_steps, d_sums)[:4]
