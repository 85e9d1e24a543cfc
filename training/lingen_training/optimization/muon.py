"""Muon where bfloat16 is slow: torch's own orthogonalises in nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from lingen_training.optimization.parallel import ALONE, Group, pieces_like


class Muon(torch.optim.Muon):
    """torch.optim.Muon with AdamW's update size, whose products are made in `dtype`.

    torch's always uses bfloat16. A processor without units for it takes hundreds of times as long
    for such a product as for one in float32: more than for the rest of a step together.
    """

    def __init__(
        self,
        params: Iterable[Tensor],
        *,
        lr: float,
        weight_decay: float,
        dtype: torch.dtype,
        group: Group = ALONE,
    ) -> None:
        super().__init__(
            list(params), lr=lr, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw"
        )
        self.dtype = dtype
        self.group = group

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Step every matrix that has a gradient. In a group, each process orthogonalises some of
        them and sends the result to the others."""
        loss = None if closure is None else torch.enable_grad()(closure)()
        for group in self.param_groups:
            matrices = [matrix for matrix in group["params"] if matrix.grad is not None]
            updates = [
                self._whole(matrix, self._momentum(matrix, group["momentum"]))
                for matrix in matrices
            ]
            shares = _shared_out(updates, self.group.size)
            for at in shares[self.group.rank]:
                updates[at] = orthogonal(
                    updates[at], group["ns_coefficients"], group["ns_steps"], group["eps"]
                )
            for owner, members in enumerate(shares):  # only now: a process waits for the owner's
                self._send([updates[at] for at in members], owner)
            for matrix, update in zip(matrices, updates, strict=True):
                size: float = 0.2 * max(update.shape) ** 0.5
                matrix.mul_(1 - group["lr"] * group["weight_decay"])
                matrix.add_(self._own(update), alpha=-group["lr"] * size)
        return loss

    def _whole(self, matrix: Tensor, update: Tensor) -> Tensor:
        """The update of a whole matrix, from that of what this process holds of it."""
        return update

    def _own(self, update: Tensor) -> Tensor:
        """Of the update of a whole matrix that of what this process holds."""
        return update

    def _momentum(self, matrix: Tensor, rate: float) -> Tensor:
        """Nesterov's momentum of a matrix with its gradient, in the dtype of the products."""
        gradient, state = matrix.grad, self.state[matrix]
        assert gradient is not None
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(gradient)
        momentum = state["momentum_buffer"].lerp_(gradient, 1 - rate)
        return gradient.lerp(momentum, rate).to(self.dtype)

    def _send(self, updates: list[Tensor], owner: int) -> None:
        """Copy these matrices of process `owner` into those of the others."""
        if self.group.size == 1 or not updates:
            return
        flat = torch.cat([update.flatten() for update in updates])
        self.group.send(flat, owner)
        for update, piece in zip(updates, pieces_like(flat, updates), strict=True):
            update.copy_(piece)


def _shared_out(matrices: list[Tensor], processes: int) -> list[list[int]]:
    """Numbers of the matrices that each process orthogonalises: about the same work for all."""
    work = [
        min(matrix.shape) ** 2 * (2 * max(matrix.shape) + min(matrix.shape)) for matrix in matrices
    ]
    shares: list[list[int]] = [[] for _ in range(processes)]
    loads = [0] * processes
    for at in sorted(range(len(matrices)), key=lambda at: -work[at]):
        least = loads.index(min(loads))
        shares[least].append(at)
        loads[least] += work[at]
    return shares


def orthogonal(
    matrix: Tensor, coefficients: tuple[float, float, float], steps: int, eps: float
) -> Tensor:
    """U V^T of the matrix U S V^T, nearly: Newton-Schulz, as in torch.optim.Muon. In its dtype."""
    a, b, c = coefficients
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = x / x.norm().clamp(min=eps)
    for _ in range(steps):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.T if tall else x
