"""Several processes that train one network: each computes some batches of a step, or a part of
every batch.

On two cores, two processes of one thread each are a third faster than one process of two threads:
small operations do not spread over threads. Gradients are summed by torch.distributed.
"""

from __future__ import annotations

import datetime
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as distributed
from torch import Tensor

from lingen_models.parallel.slabs import Slabs
from lingen_training.optimization.launched import launched_rank, launched_size

_PATIENCE = datetime.timedelta(days=2)
"""Time that processes wait for one another: the first one may render a whole dataset."""
_GRACE = 5.0
"""Seconds after which a process is taken for alive when the connection to it has been cut."""


@dataclass(frozen=True)
class Group:
    """The processes of a training, seen from process number `rank` of `size`."""

    rank: int = 0
    size: int = 1
    sharded: bool = False
    """Parameters and optimizer state are divided over the processes."""
    splits_clips: bool = False
    """All processes work on every batch, each on a slab of its latent frames."""

    @property
    def leads(self) -> bool:
        """True in the process that writes files and reports."""
        return self.rank == 0

    def own(self, count: int) -> range:
        """Those of `count` pieces of work that this process does."""
        return range(self.rank, count, self.size)

    def batches(self, count: int) -> range:
        """Those of the `count` batches of a step that this process works on."""
        return range(count) if self.splits_clips else self.own(count)

    def parts(self, count: int) -> int:
        """Parts in which the processes compute `count` batches. The loss of a part is such that
        the mean over the parts of a batch is the loss of the batch."""
        return count * self.size if self.splits_clips else count

    def slabs(self, frames: int) -> Slabs | None:
        """The division of a clip of so many latent frames; None where each process that works on
        it computes the whole clip, as those with fewer frames than processes are."""
        if not self.splits_clips or frames < self.size:
            return None
        return Slabs.even(frames, self.size, self.rank)

    def sum(self, tensor: Tensor) -> None:
        """Put the sum over all processes in place of `tensor`."""
        if self.size > 1:
            distributed.all_reduce(tensor)

    def send(self, tensor: Tensor, source: int) -> None:
        """Copy `tensor` of process `source` into that of every other process."""
        if self.size > 1:
            distributed.broadcast(tensor, source)

    def wait(self) -> None:
        """Return when every process has come here."""
        if self.size > 1:
            distributed.barrier()


ALONE = Group()


class LostProcessError(RuntimeError):
    """A process of the group that ended before its work was done."""


def pieces_like(flat: Tensor, tensors: Sequence[Tensor]) -> list[Tensor]:
    """Cut `flat`, which is as long as all of `tensors` together, into pieces of their shapes."""
    pieces = torch.split(flat, [tensor.numel() for tensor in tensors])
    return [piece.view(tensor.shape) for piece, tensor in zip(pieces, tensors, strict=True)]


@contextmanager
def grouped(
    processes: int,
    work: Callable[..., Any],
    arguments: Mapping[str, Any],
    *,
    sharded: bool = False,
    splits_clips: bool = False,
) -> Iterator[Group]:
    """Start processes that call `work(**arguments, group=...)`, and yield the group to this one.

    `sharded` and `splits_clips` are marks of the group; the first makes one even of one process.
    They share the threads of this process evenly. Each sees the same `arguments`, which have to
    be picklable. When the block ends, or fails, they are ended.
    """
    if processes == 1 and not sharded:
        yield ALONE
        return
    before = torch.get_num_threads()
    threads = max(1, before // processes)
    # Not preloaded: that would import from the current folder, too (Python 3.11). Tests do it.
    start = torch.multiprocessing.get_context
    context = start("spawn") if sys.platform == "win32" else start("forkserver")
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "store"
        groups = [Group(rank, processes, sharded, splits_clips) for rank in range(processes)]
        others = [
            context.Process(
                target=_join,
                args=(store, group, threads, work, dict(arguments)),
                daemon=True,
            )
            for group in groups[1:]
        ]
        for other in others:
            other.start()
        try:
            _open(store, groups[0], threads)
            yield groups[0]
            distributed.barrier()
        except RuntimeError as error:  # as gloo raises for a connection that was cut
            for rank, other in enumerate(others, start=1):
                other.join(_GRACE)
                if other.exitcode:
                    raise LostProcessError(
                        f"process {rank + 1} of {processes} ended with status {other.exitcode}"
                    ) from error
            raise
        finally:
            for other in others:
                other.terminate()
                other.join()
            distributed.destroy_process_group()
            torch.set_num_threads(before)


@contextmanager
def launched_group(
    device: str, *, sharded: bool = False, splits_clips: bool = False
) -> Iterator[Group]:
    """Join the processes that a launcher has started, each with a GPU of its own where `device` is
    cuda, and yield their group. Raises LostProcessError when the connection to one is cut."""
    if device != "cpu":
        here = int(os.environ.get("LOCAL_RANK", launched_rank()))
        torch.cuda.set_device(here % torch.cuda.device_count())  # a task of Slurm may see one alone
    distributed.init_process_group(backends(device), timeout=_PATIENCE)
    try:
        yield Group(launched_rank(), launched_size(), sharded, splits_clips)
        distributed.barrier()
    except RuntimeError as error:  # as gloo and NCCL raise for a connection that was cut
        if isinstance(error, distributed.DistError) or "gloo" in str(error):
            raise LostProcessError("another process has ended") from error
        raise
    finally:
        distributed.destroy_process_group()


def backends(device: str) -> str:
    """Backends of torch.distributed for a training on `device`. Losses are summed up, and processes
    wait for one another, on the CPU everywhere, which NCCL cannot do."""
    return "gloo" if device == "cpu" else "cpu:gloo,cuda:nccl"


def _open(store: Path, group: Group, threads: int) -> None:
    torch.set_num_threads(threads)
    distributed.init_process_group(
        "gloo",
        init_method=f"file://{store}",
        rank=group.rank,
        world_size=group.size,
        timeout=_PATIENCE,
    )


def _join(
    store: Path,
    group: Group,
    threads: int,
    work: Callable[..., Any],
    arguments: dict[str, Any],
) -> None:
    """Take part until the work is done, or until the first process is gone."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the first process decides when to stop
    _open(store, group, threads)
    with suppress(FloatingPointError):  # which the first process reports
        work(**arguments, group=group)
        distributed.barrier()
