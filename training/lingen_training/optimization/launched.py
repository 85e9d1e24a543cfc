"""Processes that a launcher such as torchrun or srun has started, before they are a group."""

from __future__ import annotations

import datetime
import os
import re
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch.distributed.distributed_c10d import Store

_PATIENCE = 2 * 86400.0
"""Seconds for which a process that is ready waits: the first one may train an autoencoder."""
_LAST_WORDS = 30.0
"""Seconds for which a process that has failed waits for the others to say why they have."""

_PORTS = range(20_000, 50_000)
"""Where the tasks of a Slurm job meet, by its number."""


def launched() -> bool:
    """Tell whether a launcher such as torchrun has started this process as one of several."""
    return all(name in os.environ for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"))


def join_slurm_step() -> None:
    """Take the tasks of a Slurm step (`srun lingen train`) for processes of a launcher: set the
    variables that torchrun would. Nothing happens in a step of one task, nor under torchrun."""
    names = ("SLURM_STEP_NUM_TASKS", "SLURM_PROCID", "SLURM_LOCALID", "SLURM_STEP_NODELIST")
    known = [os.environ.get(name) for name in names]
    if launched() or None in known or known[0] == "1":
        return
    size, rank, local_rank, nodes = map(str, known)
    job = int(os.environ.get("SLURM_JOB_ID", "0"))
    os.environ |= {"RANK": rank, "WORLD_SIZE": size, "LOCAL_RANK": local_rank}
    os.environ.setdefault("MASTER_ADDR", first_node(nodes))
    os.environ.setdefault("MASTER_PORT", str(_PORTS[job % len(_PORTS)]))


def first_node(nodes: str) -> str:
    """Name of the first node of a list as Slurm writes it: `gpu003` of `gpu[003-007,9],login`."""
    found = re.match(r"([^\[,]*)(?:\[([^-,\]]+)[^\]]*\])?([^\[,]*)", nodes)
    return "".join(part or "" for part in found.groups()) if found else nodes


def launched_rank() -> int:
    """Number of this process among those that a launcher has started; 0 without one."""
    return int(os.environ["RANK"]) if launched() else 0


def launched_size() -> int:
    """Number of processes that a launcher has started; 1 without one."""
    return int(os.environ["WORLD_SIZE"]) if launched() else 1


class FailedElsewhereError(RuntimeError):
    """Failure of another process, which says itself what it is; `code` is its exit code."""

    def __init__(self, code: int) -> None:
        super().__init__(f"another process ends with {code}")
        self.code = code


class RollCall:
    """Processes that a launcher has started tell one another whether they are ready, or what keeps
    them from it, so that one of them says what all have found. Without a launcher nobody is asked.
    """

    def __init__(self) -> None:
        self._round = 0
        self._is_over = not launched()
        self._store: Store | None = None

    def ready(self) -> None:
        """Return when all processes are ready; each calls this as often. Raises
        FailedElsewhereError."""
        if self._is_over:
            return
        failures = [*filter(None, self._call("", _PATIENCE))]
        self._round += 1
        if failures:
            self._is_over = True
            raise FailedElsewhereError(int(failures[0].split()[0]))

    def end(self) -> None:
        """Note that from now on each process says itself what it fails of."""
        self._is_over = True

    def is_reported_elsewhere(self, code: int, message: str) -> bool:
        """Tell the others what this process fails of; returns whether one before it says the
        same."""
        if self._is_over:
            return False
        self._is_over = True
        failure = f"{code} {message}"
        try:
            return failure in self._call(failure, _LAST_WORDS)[: launched_rank()]
        except (RuntimeError, TimeoutError):  # of one who does not answer, or has gone
            return False

    def _call(self, failure: str, patience: float) -> list[str]:
        """What the processes fail of, in their order, nothing where they are ready. Raises
        TimeoutError, and RuntimeError where the one that keeps what is said is gone."""
        if self._store is None:
            from torch.distributed.rendezvous import rendezvous

            found = rendezvous("env://", timeout=datetime.timedelta(seconds=patience))
            self._store = next(found)[0]
        store, size = self._store, launched_size()
        keys = [f"roll call {self._round}/{rank}" for rank in range(size)]
        store.set(keys[launched_rank()], failure)
        deadline, pause = time.monotonic() + patience, 0.02
        while not store.check(keys):  # in place of a wait that no signal would end
            if time.monotonic() > deadline:
                raise TimeoutError("not all processes have answered")
            time.sleep(pause)
            pause = min(1.0, 1.5 * pause)
        said = [store.get(key).decode() for key in keys]
        heard = f"roll call {self._round}/heard"
        store.add(heard, 1)
        if any(said) and launched_rank() == 0:  # it may be the one that keeps what is said
            while store.add(heard, 0) < size and time.monotonic() < deadline:
                time.sleep(0.02)
        return said
