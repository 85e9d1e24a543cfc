"""float32 master weights under a network that computes in bf16, with AdamW and EMA."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor, nn

from lingen_models.checkpoint import load_tensors, save_tensors

_NO_DECAY = ("bias", "norm", "position", "A_log", "dt_bias", "D", "modulation", "embedding")


class MasterWeights:
    """Steps float32 copies of a network's parameters and writes them back in its own dtype.

    Pure bf16 training loses small updates; keeping the parameters once more in float32 does not,
    and costs less than autocast on a CPU, which would cast every activation back and forth.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        learning_rate: float,
        weight_decay: float,
        ema: float,
        compute_dtype: torch.dtype,
        clip: float = 1.0,
    ) -> None:
        self.network = network
        self.ema_rate = ema
        self.clip = clip
        self.names = [name for name, _ in network.named_parameters()]
        self.master = [p.detach().float().clone() for p in network.parameters()]
        self.average = [part.clone() for part in self.master]
        network.to(compute_dtype)
        self.live: list[Tensor] = list(network.parameters())
        decayed = [not any(key in name for key in _NO_DECAY) for name in self.names]
        for part in self.master:
            part.requires_grad_(True)
        groups = [
            {"params": _choose(self.master, decayed, True), "weight_decay": weight_decay},
            {"params": _choose(self.master, decayed, False), "weight_decay": 0.0},
        ]
        self.optimiser = torch.optim.AdamW(
            [group for group in groups if group["params"]],
            lr=learning_rate,
            betas=(0.9, 0.98),
            fused=True,
        )
        self.steps = 0

    @torch.no_grad()
    def step(self, learning_rate: float) -> float:
        """Apply the gradients that backward left on the network; returns their norm."""
        for master, live in zip(self.master, self.live, strict=True):
            master.grad = (
                torch.zeros_like(master) if live.grad is None else live.grad.to(torch.float32)
            )
            live.grad = None
        norm = torch.nn.utils.clip_grad_norm_(self.master, self.clip)
        if torch.isfinite(norm):
            for group in self.optimiser.param_groups:
                group["lr"] = learning_rate
            self.optimiser.step()
            self.steps += 1
            rate = min(self.ema_rate, (1 + self.steps) / (10 + self.steps))
            torch._foreach_lerp_(self.average, self.master, 1 - rate)
            torch._foreach_copy_(self.live, self.master)
        for master in self.master:
            master.grad = None
        return float(norm)

    def averaged(self) -> dict[str, Tensor]:
        """The exponential moving average of the parameters, by name, in float32."""
        return dict(zip(self.names, self.average, strict=True))

    @torch.no_grad()
    def use(self, values: Iterable[Tensor]) -> None:
        """Put these parameters into the network (the average to evaluate, the master to go on)."""
        torch._foreach_copy_(self.live, list(values))

    @torch.no_grad()
    def start_from(self, tensors: dict[str, Tensor]) -> None:
        """Begin from given weights: master, average and network."""
        for name, master, average in zip(self.names, self.master, self.average, strict=True):
            master.copy_(tensors[name])
            average.copy_(tensors[name])
        self.use(self.master)

    def save(self, path: Path, metadata: dict[str, str]) -> None:
        """Write everything that resuming needs, atomically."""
        tensors: dict[str, Tensor] = {}
        for name, master, average in zip(self.names, self.master, self.average, strict=True):
            tensors[f"master.{name}"] = master.detach()
            tensors[f"average.{name}"] = average
            state = self.optimiser.state.get(master, {})
            for key in ("exp_avg", "exp_avg_sq"):
                if key in state:
                    tensors[f"{key}.{name}"] = state[key]
        save_tensors(path, tensors, {**metadata, "steps": str(self.steps)})

    @torch.no_grad()
    def load(self, path: Path) -> dict[str, str]:
        """Continue from `save`; returns its metadata."""
        tensors, metadata = load_tensors(path)
        for name, master, average in zip(self.names, self.master, self.average, strict=True):
            master.copy_(tensors[f"master.{name}"])
            average.copy_(tensors[f"average.{name}"])
            if f"exp_avg.{name}" in tensors:
                state = self.optimiser.state[master]
                state["step"] = torch.tensor(float(metadata["steps"]), device=master.device)
                state["exp_avg"] = tensors[f"exp_avg.{name}"].to(master.device)
                state["exp_avg_sq"] = tensors[f"exp_avg_sq.{name}"].to(master.device)
        self.steps = int(metadata["steps"])
        self.use(self.master)
        return metadata


def _choose(parts: list[Tensor], flags: list[bool], wanted: bool) -> list[Tensor]:
    return [part for part, flag in zip(parts, flags, strict=True) if flag is wanted]
