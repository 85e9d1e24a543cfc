"""Processes of a launcher that tell one another what keeps them from training."""

from __future__ import annotations

import multiprocessing
import os
import socket
from collections.abc import Sequence

import pytest
from pytest import MonkeyPatch

from lingen_training.optimization import launched
from lingen_training.optimization.launched import (
    FailedElsewhereError,
    RollCall,
    first_node,
    join_slurm_step,
    launched_rank,
    launched_size,
)

Said = Sequence[tuple[int, str] | None]
"""For each round a process's failure, if any."""


def answer(rank: int, size: int, port: int, said: Said) -> list[str]:
    """Answer to a roll call in each round; returns what comes of it."""
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(size)}
    roll_call = RollCall()
    found = []
    for failure in said:
        try:
            if failure is None:
                roll_call.ready()
                found.append("ready")
            else:
                elsewhere = roll_call.is_reported_elsewhere(*failure)
                found.append("told elsewhere" if elsewhere else "tells")
        except FailedElsewhereError as error:
            found.append(f"ends with {error.code}")
    return found


def called(*said: Said) -> list[list[str]]:
    """What comes of a roll call of as many processes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    size = len(said)
    rows = [(rank, size, port, one) for rank, one in enumerate(said)]
    with multiprocessing.get_context("forkserver").Pool(size) as pool:
        return pool.starmap(answer, rows, chunksize=1)


@pytest.mark.e2e
def test_the_first_that_fails_tells_what_all_have_found() -> None:
    bad, other = (65, "a bad recipe"), (66, "no such file")
    assert called([bad], [bad], [other]) == [["tells"], ["told elsewhere"], ["tells"]]
    lone = called([None], [other], [other])
    assert lone == [["ends with 66"], ["tells"], ["told elsewhere"]]


@pytest.mark.e2e
def test_each_round_is_asked_anew() -> None:
    bad = (65, "no finite gradient")
    found = called([None, bad], [None, None])
    assert found == [["ready", "tells"], ["ready", "ends with 65"]]


@pytest.mark.e2e
def test_one_who_does_not_come_is_not_waited_for_long(monkeypatch: MonkeyPatch) -> None:
    monkeypatch.setattr(launched, "_LAST_WORDS", 0.5)
    for name in ("MASTER_ADDR", "MASTER_PORT", "RANK", "WORLD_SIZE"):
        monkeypatch.setenv(name, "x")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    assert answer(0, 2, port, [(65, "a bad recipe")]) == ["tells"]
    assert answer(1, 2, port, [(65, "a bad recipe")]) == ["tells"]


def test_without_a_launcher_nobody_is_asked(monkeypatch: MonkeyPatch) -> None:
    monkeypatch.delenv("RANK", raising=False)
    roll_call = RollCall()
    roll_call.ready()
    assert not roll_call.is_reported_elsewhere(65, "a bad recipe")


@pytest.mark.parametrize(
    ("nodes", "first"),
    [
        ("gpu7", "gpu7"),
        ("gpu[003-007,9],login", "gpu003"),
        ("a-1,b-2", "a-1"),
        ("rack[2,4]-ib", "rack2-ib"),
    ],
)
def test_the_first_node_of_a_list(nodes: str, first: str) -> None:
    assert first_node(nodes) == first


def test_tasks_of_a_slurm_step_are_processes_of_a_launcher(monkeypatch: MonkeyPatch) -> None:
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
    step = {"PROCID": "9", "LOCALID": "1", "STEP_NODELIST": "gpu[3-4]", "JOB_ID": "30007"}
    environment = {f"SLURM_{name}": value for name, value in step.items()}
    for tasks, found in (("1", [None] * 5), ("16", ["9", "16", "1", "gpu3", "20007"])):
        monkeypatch.setattr(os, "environ", environment | {"SLURM_STEP_NUM_TASKS": tasks})
        join_slurm_step()
        assert [os.environ.get(name) for name in names] == found
    assert (launched_rank(), launched_size()) == (9, 16)
    os.environ |= {"SLURM_PROCID": "3"}
    join_slurm_step()  # as under `srun torchrun`, whose processes have their ranks
    assert launched_rank() == 9
