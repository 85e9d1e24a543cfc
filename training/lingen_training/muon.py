"""Muon where bfloat16 is slow: torch's own orthogonalises in nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor


class Muon(torch.optim.Muon):
    """torch.optim.Muon with AdamW's update size, whose products are made in `dtype`.

    torch's always uses bfloat16. A processor without units for it takes hundreds of times as long
    for such a product as for one in float32: more than for the rest of a step together.
    """

    def __init__(
        self, params: Iterable[Tensor], *, lr: float, weight_decay: float, dtype: torch.dtype
    ) -> None:
        super().__init__(
            list(params), lr=lr, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw"
        )
        self.dtype = dtype

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step of every matrix that has a gradient."""
        loss = None if closure is None else torch.enable_grad()(closure)()
        for group in self.param_groups:
            for matrix in group["params"]:
                if matrix.grad is not None:
                    self._step(matrix, matrix.grad, group)
        return loss

    def _step(self, matrix: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[matrix]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(gradient)
        momentum = state["momentum_buffer"].lerp_(gradient, 1 - group["momentum"])
        update = gradient.lerp(momentum, group["momentum"])
        update = orthogonal(
            update.to(self.dtype), group["ns_coefficients"], group["ns_steps"], group["eps"]
        )
        size: float = 0.2 * max(matrix.shape) ** 0.5
        matrix.mul_(1 - group["lr"] * group["weight_decay"])
        matrix.add_(update, alpha=-group["lr"] * size)


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
