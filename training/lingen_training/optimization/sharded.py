"""Parameters, optimizer state and moving average divided over processes: FSDP2 of torch.

Every process holds its shards in float32. Each block of the denoiser is gathered in the dtype of
the computation when it is needed, and its gradients are averaged back into shards in float32.
"""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, Shard

from lingen_models.checkpoints.whole_file import write_whole
from lingen_training.optimization.muon import Muon
from lingen_training.optimization.optimizer import MasterWeights, own
from lingen_training.optimization.parallel import Group
from lingen_training.optimization.state_files import METADATA, entries, read_state
from lingen_training.stages.pair import Pair


def shard(pair: Pair, device: str, dtype: torch.dtype, group: Group) -> Pair:
    """Return a copy of `pair` on `device` whose parameters are divided over the processes of
    `group` and which computes in `dtype`. A collective call; `pair` stays as it is."""
    mesh = init_device_mesh(device.partition(":")[0], (group.size,))
    policy = MixedPrecisionPolicy(
        param_dtype=dtype, reduce_dtype=torch.float32, cast_forward_inputs=False
    )
    copied = copy.deepcopy(pair).float().to(device)
    copied.dtype = dtype
    for block in copied.denoiser.blocks:
        fully_shard(block, mesh=mesh, mp_policy=policy)
    for part in copied.children():
        fully_shard(part, mesh=mesh, mp_policy=policy)
    return copied


class ShardedWeights(MasterWeights):
    """`MasterWeights` of a network that `shard` has divided: all that it keeps is divided in the
    same way. Its methods are collective calls.

    Its state is a folder in which every process writes a part, and which any number of processes
    can go on from.
    """

    state_suffix = ".state"

    def _cast(self) -> None:
        """The network computes in its dtype already."""

    def _muon(
        self, matrices: list[Tensor], learning_rate: float, weight_decay: float
    ) -> torch.optim.Optimizer:
        return ShardedMuon(
            matrices,
            shapes={
                id(matrix): _as_matrix(shape)
                for matrix, shape in zip(self.stepped, self.shapes, strict=True)
            },
            mesh=self._mesh,
            lr=learning_rate,
            weight_decay=weight_decay,
            dtype=self.compute_dtype,
            group=self.group,
        )

    @property
    def _mesh(self) -> DeviceMesh:
        return cast(DTensor, self.live[0]).device_mesh

    def _gradients(self) -> list[Tensor]:
        # FSDP has them averaged over the processes.
        return [
            torch.zeros_like(own(part)) if part.grad is None else own(part.grad) * self.group.size
            for part in self.live
        ]

    def _norm(self, tensors: Sequence[Tensor]) -> Tensor:
        square = super()._norm(tensors).square()
        self.group.sum(square)
        return square.sqrt()

    def use(self, values: Iterable[Tensor]) -> None:
        """Put these parameters into the network, which gathers them anew: after a pass without
        gradients, FSDP keeps some as they were."""
        super().use(values)
        for module in self.network.modules():
            if isinstance(module, FSDPModule):
                module.reshard()

    def averaged(self) -> dict[str, Tensor]:
        """The exponential moving average of the whole parameters, by name, on the CPU."""
        found = zip(self.names, self.average, self.shapes, strict=True)
        return {
            name: joined(part, shape, self._mesh).full_tensor().cpu() for name, part, shape in found
        }

    def save(self, path: Path, metadata: dict[str, str]) -> None:
        """Write everything that resuming needs into a new folder in `path`; one that is there
        goes when the new one is whole."""
        folder = path / f"step-{self.steps:08d}"
        if self.group.leads and folder.exists():  # a process ended while it was written
            shutil.rmtree(folder)
        self.group.wait()
        held: dict[str, Any] = {
            key: joined(value, self._shape_of(key), self._mesh)
            for key, value in self.state().items()
        }
        save(held, checkpoint_id=folder)
        if self.group.leads:
            text = json.dumps({**metadata, "steps": str(self.steps)})
            write_whole(folder / METADATA, text.encode())
            for other in path.iterdir():
                if other != folder:
                    shutil.rmtree(other)
        self.group.wait()

    def load(self, path: Path) -> dict[str, str]:
        """Continue from `save`, by as many processes or others, or from a state in one file."""
        if path.is_file():
            tensors, metadata = read_state(path)
            held = {key: own_part(value, self.group) for key, value in tensors.items()}
        else:
            metadata = json.loads((path / METADATA).read_bytes())
            divided: dict[str, Any] = {}
            for key, entry in entries(path).items():
                shape = own_part(torch.empty(entry.size, device="meta"), self.group).shape
                local = torch.empty(shape, dtype=entry.properties.dtype)
                divided[key] = joined(local, entry.size, self._mesh)
            load(divided, checkpoint_id=path)
            held = {key: own(value) for key, value in divided.items()}
        self.continue_from(held, metadata)
        return metadata

    def _shape_of(self, key: str) -> torch.Size:
        """The whole shape of an entry of `state`."""
        kind, _, name = key.partition(".")
        shape = self.shapes[self.names.index(name)]
        return _as_matrix(shape) if kind == "momentum_buffer" else shape


class ShardedMuon(Muon):
    """`Muon` for shards of matrices, whose whole `shapes` are given by id: each is gathered, made
    orthogonal by one of the processes, and divided again."""

    def __init__(
        self,
        matrices: list[Tensor],
        *,
        shapes: Mapping[int, torch.Size],
        mesh: DeviceMesh,
        **rest: Any,
    ) -> None:
        super().__init__(matrices, **rest)
        self.mesh, self.shapes = mesh, shapes

    def _whole(self, matrix: Tensor, update: Tensor) -> Tensor:
        return joined(update, self.shapes[id(matrix)], self.mesh).full_tensor()

    def _own(self, update: Tensor) -> Tensor:
        return own_part(update, self.group)


def joined(local: Tensor, shape: torch.Size, mesh: DeviceMesh) -> DTensor:
    """The tensor of this shape of whose lines every process holds some."""
    strides = torch.empty(shape, device="meta").stride()
    return DTensor.from_local(
        local.contiguous(), mesh, [Shard(0)], run_check=False, shape=shape, stride=strides
    )


def own_part(whole: Tensor, group: Group) -> Tensor:
    """The lines of a whole tensor that this process holds, as FSDP divides them."""
    parts = whole.chunk(group.size) if whole.shape[0] else ()
    if group.rank < len(parts):
        return parts[group.rank].contiguous()
    return whole[:0]


def _as_matrix(shape: torch.Size) -> torch.Size:
    """Shape of a parameter as Muon steps it."""
    return torch.Size((shape[0], shape[1:].numel())) if len(shape) > 1 else shape
