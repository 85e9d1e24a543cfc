"""Processes that train together: the same weights as one process with the same batches."""

from __future__ import annotations

import multiprocessing
import os
import socket
from pathlib import Path

import pytest
import torch
import torch.distributed as distributed
from torch import Tensor, nn
from torch.distributed.distributed_c10d import Backend, BackendConfig

from lingen_models.checkpoints.safetensors import load_tensors
from lingen_training.optimization import parallel
from lingen_training.optimization.loop import Schedule, run_loop
from lingen_training.optimization.muon import _shared_out
from lingen_training.optimization.optimizer import MasterWeights
from lingen_training.optimization.parallel import (
    ALONE,
    Group,
    LostProcessError,
    grouped,
    launched_group,
    pieces_like,
)
from lingen_training.optimization.stage_logs import read_log


class Network(nn.Module):
    """Hidden matrices of several shapes for Muon, and parts for AdamW."""

    def __init__(self) -> None:
        super().__init__()
        self.up = nn.Linear(6, 48)
        self.hidden = nn.ModuleList(nn.Linear(a, b) for a, b in ((48, 64), (64, 40), (40, 48)))
        self.down = nn.Linear(48, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.up(x)
        for layer in self.hidden:
            x = layer(x.relu())
        return self.down(x)  # type: ignore[no-any-return]


def fit(folder: Path, steps: int, group: Group) -> None:
    """Train `Network` with two batches a step, in `folder`."""
    torch.manual_seed(0)
    network = Network()
    weights = MasterWeights(
        network,
        learning_rate=1e-2,
        weight_decay=0.01,
        ema=0.9,
        compute_dtype=torch.float32,
        group=group,
    )

    def loss_of(step: int, batch: int) -> dict[str, Tensor]:
        x = torch.randn(8, 6, generator=torch.Generator().manual_seed(2 * step + batch))
        error = (network(x) - x[:, :2]).square().mean()
        return {"loss": error, "tokens": torch.tensor(8)}

    run_loop(
        name="fit",
        weights=weights,
        loss_of=loss_of,
        schedule=Schedule(1e-2, steps, warmup=2),
        folder=folder,
        report=lambda line: None,
        batches=2,
        validate=lambda: {"loss": float(network.down.weight.detach().sum())},
        validate_every=4,
        log_every=2,
        save_every=4,
    )


def trained(folder: Path, steps: int, processes: int) -> dict[str, Tensor]:
    folder.mkdir(exist_ok=True)
    with grouped(processes, fit, {"folder": folder, "steps": steps}) as group:
        fit(folder, steps, group)
    return load_tensors(folder / "fit.state.safetensors")[0]


def test_two_processes_train_as_one(tmp_path: Path) -> None:
    one = trained(tmp_path / "one", 10, 1)
    two = trained(tmp_path / "two", 10, 2)
    assert one.keys() == two.keys()
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=2e-4, atol=2e-5)
    logs = [read_log(tmp_path / name / "fit.jsonl") for name in ("one", "two")]
    assert [record["tokens"] for record in logs[1]] == [32, 64, 96, 128, 160]
    for alone, together in zip(*logs, strict=True):
        assert together["loss"] == pytest.approx(alone["loss"], rel=1e-3)
    checks = read_log(tmp_path / "two" / "fit.validation.jsonl")
    assert [record["step"] for record in checks] == [4, 8, 10]
    assert checks[-1]["tokens"] == 160
    average = two["average.down.weight"].sum()
    assert checks[-1]["loss"] == pytest.approx(float(average), rel=1e-3)
    finished = trained(tmp_path / "two", 10, 2)
    for name, value in two.items():
        assert torch.equal(finished[name], value)


def test_the_same_processes_give_the_same_bits(tmp_path: Path) -> None:
    whole = trained(tmp_path / "whole", 10, 2)
    part = tmp_path / "part"
    trained(part, 10, 2)
    (part / "fit.state.safetensors").unlink()
    again = trained(part, 10, 2)
    for name, value in whole.items():
        assert torch.equal(again[name], value)
    assert len(read_log(part / "fit.jsonl")) == 5


def fit_launched(rank: int, port: int, folder: Path) -> list[str]:
    """Train as one of two processes of a launcher, whose group has a backend for each kind of
    device; returns those kinds."""
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2"}
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(parallel, "backends", lambda device: _WITHOUT_NCCL)
        with launched_group("cpu") as group:
            fit(folder, 10, group)
            whole = distributed.group.WORLD
            assert whole is not None
            kinds = sorted(device.type for device in whole._device_types)
            told: list[str] = [""] * 2
            distributed.all_gather_object(told, f"{rank}: {kinds}")  # as states are written
            return told


_WITHOUT_NCCL = parallel.backends("cuda").replace("nccl", "gloo")


def test_a_group_with_two_backends_trains_alike(tmp_path: Path) -> None:
    """What is summed on the CPU beside NCCL, here with gloo in its place, which is the only one
    that torch has for processors."""
    one = trained(tmp_path / "one", 10, 2)
    (tmp_path / "two").mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        rows = [(rank, free.getsockname()[1], tmp_path / "two") for rank in range(2)]
    with multiprocessing.get_context("forkserver").Pool(2) as pool:
        found = pool.starmap(fit_launched, rows, chunksize=1)
    assert found == [["0: ['cpu', 'cuda']", "1: ['cpu', 'cuda']"]] * 2
    two = load_tensors(tmp_path / "two" / "fit.state.safetensors")[0]
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=2e-4, atol=2e-5)
    logs = [read_log(tmp_path / name / "fit.jsonl") for name in ("one", "two")]
    for alone, together in zip(*logs, strict=True):
        assert together["loss"] == pytest.approx(alone["loss"], rel=1e-3)


def test_backends_are_those_of_the_device() -> None:
    assert parallel.backends("cpu") == "gloo"
    config = BackendConfig(Backend(parallel.backends("cuda")))
    assert config.get_device_backend_map() == {"cpu": "gloo", "cuda": "nccl"}


def fail(folder: Path, group: Group) -> None:
    raise SystemExit(3)


def test_a_process_that_dies_ends_the_others(tmp_path: Path) -> None:
    with (
        pytest.raises(LostProcessError, match="process 2 of 2 ended with status 3"),
        grouped(2, fail, {"folder": tmp_path}) as group,
    ):
        group.sum(torch.zeros(1))
    assert not torch.distributed.is_initialized()


def test_alone_nothing_is_started() -> None:
    with grouped(1, fail, {}) as group:
        assert group is ALONE
    tensor = torch.ones(3)
    group.sum(tensor)
    group.wait()
    assert tensor.tolist() == [1, 1, 1]
    assert list(Group(1, 3).own(8)) == [1, 4, 7]


def test_matrices_are_shared_out_evenly() -> None:
    shapes = [(256, 1024)] * 8 + [(256, 256)] * 16 + [(768, 256)] * 8
    matrices = [torch.empty(shape) for shape in shapes]
    shares = _shared_out(matrices, 2)
    assert sorted(at for share in shares for at in share) == list(range(len(shapes)))

    def work(share: list[int]) -> int:
        return sum(min(shapes[at]) ** 2 * max(shapes[at]) for at in share)

    assert work(shares[0]) == pytest.approx(work(shares[1]), rel=0.1)


def test_pieces_have_the_shapes() -> None:
    tensors = [torch.randn(2, 3), torch.randn(4)]
    flat = torch.cat([tensor.flatten() for tensor in tensors])
    for piece, tensor in zip(pieces_like(flat, tensors), tensors, strict=True):
        assert torch.equal(piece, tensor)
