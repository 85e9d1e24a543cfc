"""float32 master weights under a network that computes in bf16, with Muon, AdamW and EMA."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from lingen_models.checkpoints.safetensors import save_tensors
from lingen_models.torch_private import copy_all, lerp_all
from lingen_training.optimization.muon import Muon
from lingen_training.optimization.parallel import ALONE, Group, pieces_like
from lingen_training.optimization.state_files import read_state

_NO_MUON = ("embedding", "position", "modulation", "patch_in", "patch_out", "decoder.out")
"""Tables, and the first and last layers, whose rows are not a map between hidden features."""
_LEAST_SIDE = 32
"""Smaller matrices (depthwise filters, decays) are left to AdamW."""
_MOMENTS = ("exp_avg", "exp_avg_sq", "momentum_buffer")
_NO_DECAY = ("bias", "norm", "position", "A_log", "dt_bias", "D", "modulation", "embedding")


class MasterWeights:
    """Steps float32 copies of a network's parameters and writes them back in its own dtype.

    Pure bf16 training loses small updates; keeping the parameters once more in float32 does not,
    and costs less than autocast on a CPU, which would cast every activation back and forth.

    Hidden matrices are stepped by Muon (momentum made orthogonal, with AdamW's update size), the
    rest by AdamW; a convolution is the matrix of its outputs by its inputs and taps. Parameters
    that are frozen when it is made stay as they are.
    """

    state_suffix = ".state.safetensors"
    """Of the name under which a state is saved."""

    def __init__(
        self,
        network: nn.Module,
        *,
        learning_rate: float,
        weight_decay: float,
        ema: float,
        compute_dtype: torch.dtype,
        clip: float = 1.0,
        group: Group = ALONE,
    ) -> None:
        self.network = network
        self.group = group
        self.ema_rate = ema
        self.clip = clip
        trained = [(name, p) for name, p in network.named_parameters() if p.requires_grad]
        self.names = [name for name, _ in trained]
        self.shapes = [part.shape for _, part in trained]
        self.master = [own(part.detach()).float().clone() for _, part in trained]
        """What this process holds of the parameters: all, or its shards."""
        self.average = [part.clone() for part in self.master]
        self.compute_dtype = compute_dtype
        self._cast()
        self.live: list[Tensor] = [part for part in network.parameters() if part.requires_grad]
        kinds = [
            "muon"
            if is_hidden_matrix(name, shape)
            else "bare"
            if any(key in name for key in _NO_DECAY)
            else "decayed"
            for name, shape in zip(self.names, self.shapes, strict=True)
        ]
        self.stepped = [
            part.flatten(1) if kind == "muon" else part
            for kind, part in zip(kinds, self.master, strict=True)
        ]
        """What the optimizers step: views of the masters."""
        chosen = {
            kind: [part for part, its in zip(self.stepped, kinds, strict=True) if its == kind]
            for kind in ("muon", "bare", "decayed")
        }
        groups = [
            {"params": chosen["decayed"], "weight_decay": weight_decay},
            {"params": chosen["bare"], "weight_decay": 0.0},
        ]
        self.optimisers: list[torch.optim.Optimizer] = []
        if any(group["params"] for group in groups):
            self.optimisers.append(
                torch.optim.AdamW(
                    [group for group in groups if group["params"]],
                    lr=learning_rate,
                    betas=(0.9, 0.98),
                    fused=True,
                )
            )
        if chosen["muon"]:
            self.optimisers.append(self._muon(chosen["muon"], learning_rate, weight_decay))
        self.steps = 0

    def _cast(self) -> None:
        """Have the network compute in its dtype."""
        self.network.to(self.compute_dtype)

    def _muon(
        self, matrices: list[Tensor], learning_rate: float, weight_decay: float
    ) -> torch.optim.Optimizer:
        return Muon(
            matrices,
            lr=learning_rate,
            weight_decay=weight_decay,
            dtype=self.compute_dtype,
            group=self.group,
        )

    def _gradients(self) -> list[Tensor]:
        """The sum over all processes of the gradients, as far as this one holds the parameters."""
        found = [torch.zeros_like(p) if p.grad is None else p.grad for p in self.live]
        if self.group.size > 1:
            flat = torch.cat([gradient.flatten() for gradient in found])
            self.group.sum(flat)
            found = pieces_like(flat, found)
        return found

    def _norm(self, tensors: Sequence[Tensor]) -> Tensor:
        """The norm of all of them together."""
        norms = [torch.linalg.vector_norm(tensor, dtype=torch.float32) for tensor in tensors]
        found: Tensor = torch.linalg.vector_norm(torch.stack(norms))
        return found

    @torch.no_grad()
    def step(self, learning_rate: float, batches: int = 1) -> float:
        """Apply the mean of the gradients that backward left on the network in every process of the
        group, after `batches` batches (or parts of such) in all; returns its norm."""
        found = self._gradients()
        norm = self._norm(found) / batches
        if torch.isfinite(norm):
            scale = (self.clip / (norm + 1e-6)).clamp(max=1.0) / batches
            for part, gradient in zip(self.stepped, found, strict=True):
                part.grad = gradient.to(torch.float32, copy=True).mul_(scale).view_as(part)
            for optimiser in self.optimisers:
                for group in optimiser.param_groups:
                    group["lr"] = learning_rate
                optimiser.step()
            self.steps += 1
            rate = min(self.ema_rate, (1 + self.steps) / (10 + self.steps))
            lerp_all(self.average, self.master, 1 - rate)
            self.use(self.master)
        for stepped, live in zip(self.stepped, self.live, strict=True):
            stepped.grad = live.grad = None
        return float(norm)

    def averaged(self) -> dict[str, Tensor]:
        """The exponential moving average of the parameters, by name, in float32."""
        return dict(zip(self.names, self.average, strict=True))

    @torch.no_grad()
    def use(self, values: Iterable[Tensor]) -> None:
        """Put these parameters into the network (the average to evaluate, the master to go on)."""
        copy_all([own(part) for part in self.live], list(values))

    @torch.no_grad()
    def start_from(self, tensors: dict[str, Tensor]) -> None:
        """Begin from given weights: master, average and network."""
        for name, master, average in zip(self.names, self.master, self.average, strict=True):
            master.copy_(tensors[name])
            average.copy_(tensors[name])
        self.use(self.master)

    def state(self) -> dict[str, Tensor]:
        """Return masters, average and what the optimizers remember, by name, as far as this
        process holds them."""
        tensors: dict[str, Tensor] = {}
        for name, master, average in zip(self.names, self.master, self.average, strict=True):
            tensors[f"master.{name}"] = master
            tensors[f"average.{name}"] = average
        for optimiser in self.optimisers:
            for name, part in zip(self.names, self.stepped, strict=True):
                for key in _MOMENTS:
                    if key in optimiser.state.get(part, {}):
                        tensors[f"{key}.{name}"] = optimiser.state[part][key]
        return tensors

    def save(self, path: Path, metadata: dict[str, str]) -> None:
        """Write everything that resuming needs, atomically."""
        save_tensors(path, self.state(), {**metadata, "steps": str(self.steps)})

    def load(self, path: Path) -> dict[str, str]:
        """Continue from `save`; returns its metadata."""
        tensors, metadata = read_state(path)
        self.continue_from(tensors, metadata)
        return metadata

    @torch.no_grad()
    def continue_from(self, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
        """Take over a `state`, of which `metadata` has the number of steps."""
        for name, master, average in zip(self.names, self.master, self.average, strict=True):
            master.copy_(tensors[f"master.{name}"])
            average.copy_(tensors[f"average.{name}"])
        for optimiser in self.optimisers:
            own = {part for group in optimiser.param_groups for part in group["params"]}
            for name, part in zip(self.names, self.stepped, strict=True):
                moments = {key: tensors.get(f"{key}.{name}") for key in _MOMENTS}
                if part not in own or all(value is None for value in moments.values()):
                    continue
                state = optimiser.state[part]
                state.update(
                    (key, value.to(part.device))
                    for key, value in moments.items()
                    if value is not None
                )
                if moments["exp_avg"] is not None:
                    state["step"] = torch.tensor(float(metadata["steps"]), device=part.device)
        self.steps = int(metadata["steps"])
        self.use(self.master)


def own(part: Tensor) -> Tensor:
    """Return what this process holds of a parameter."""
    to_local = getattr(part, "to_local", None)  # of a DTensor, whose import takes a second
    return part if to_local is None else to_local()


def is_hidden_matrix(name: str, shape: torch.Size) -> bool:
    """Tell whether Muon steps a parameter of this shape, and not AdamW."""
    if len(shape) < 2 or any(key in name for key in _NO_MUON):
        return False
    return min(shape[0], shape[1:].numel()) >= _LEAST_SIDE
