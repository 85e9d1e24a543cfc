"""Runs of `lingen` in processes of their own, forked from one that has imported torch already."""

from __future__ import annotations

import io
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import redirect_stderr
from multiprocessing.connection import Connection
from typing import Self

_CONTEXT = multiprocessing.get_context("forkserver")


class Forked:
    """A run in the current folder and environment, as `subprocess.Popen` would begin it.

    `stdout` is the end of its standard output that is read; standard error is a file.
    """

    def __init__(self, *arguments: object) -> None:
        reader, writer = _CONTEXT.Pipe(duplex=False)
        descriptor, name = tempfile.mkstemp()
        self._stderr = os.fdopen(descriptor, encoding="utf-8")
        given = [str(one) for one in arguments], os.getcwd(), dict(os.environ)
        self._process = _CONTEXT.Process(target=_run, args=(*given, writer, name))
        self._process.start()
        writer.close()
        self.stdout = os.fdopen(os.dup(reader.fileno()), "rb")
        reader.close()
        self._name = name

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stdout.close()
        self._process.join()
        self._stderr.close()
        os.unlink(self._name)

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal to the run."""
        assert self._process.pid is not None
        os.kill(self._process.pid, number)

    def communicate(self) -> tuple[bytes, str]:
        """Wait for the end; return the rest of standard output, and standard error."""
        out = b"" if self.stdout.closed else self.stdout.read()
        self._process.join()
        return out, self._stderr.read()

    @property
    def returncode(self) -> int:
        """Exit code of a run that has ended; a signal is negative."""
        assert self._process.exitcode is not None
        return self._process.exitcode


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run to the end."""
    with Forked(*arguments) as process:
        out, err = process.communicate()
        given = [str(one) for one in arguments]
        return subprocess.CompletedProcess(given, process.returncode, out.decode(), err)


def slurm_step(*arguments: object) -> list[tuple[int, str]]:
    """Run as both tasks of a Slurm step at once; returns the exit code and standard error of
    each."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        rows = [(rank, free.getsockname()[1], [*map(str, arguments)]) for rank in range(2)]
    with _CONTEXT.Pool(2) as pool:
        return pool.starmap(_run_task, rows, chunksize=1)


def _run_task(rank: int, port: int, arguments: list[str]) -> tuple[int, str]:
    from lingen_cli.app import run

    os.environ |= {"SLURM_STEP_NUM_TASKS": "2", "SLURM_PROCID": str(rank), "SLURM_LOCALID": "0"}
    os.environ |= {"SLURM_STEP_NODELIST": "127.0.0.1", "MASTER_PORT": str(port)}
    with redirect_stderr(io.StringIO()) as said:
        code = run(arguments)
    return code, said.getvalue()


def _run(
    arguments: Sequence[str],
    folder: str,
    environment: dict[str, str],
    writer: Connection,
    stderr: str,
) -> None:
    os.dup2(writer.fileno(), 1)
    os.dup2(os.open(stderr, os.O_WRONLY | os.O_APPEND), 2)
    writer.close()
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # ignored under nohup
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.path[:0] = filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))
    from lingen_cli.app import run

    os._exit(run(arguments))
