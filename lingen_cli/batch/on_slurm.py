"""`lingen batch --slurm`: the parts of a batch as an array of Slurm jobs, through submitit."""

from __future__ import annotations

import contextlib
import difflib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from lingen_cli.errors import InvalidOptionError, NotAvailableError
from lingen_cli.installation.interpreter import inherited_safe_path, lingen_command

LOGS = ".slurm"
"""Where submitit writes, in the folder of the videos."""
_MINUTES = 24 * 60
_PATIENCE = 60.0
"""Seconds for the journal of a part that is put back; submitit has Slurm warn 90 before."""
_COMMON: dict[str, Callable[[str], float]] = {
    "timeout_min": int,
    "mem_gb": float,
    "cpus_per_task": int,
    "gpus_per_node": int,
}
"""What submitit's executors have in common."""
_OWN: dict[str, Callable[[str], int | str]] = {
    **dict.fromkeys(("array_parallelism", "cpus_per_gpu", "gpus_per_task", "signal_delay_s"), int),
    **dict.fromkeys(("account", "comment", "constraint", "exclude", "gres", "partition"), str),
    **dict.fromkeys(("mem", "mem_per_cpu", "mem_per_gpu", "qos"), str),
}
"""What submitit calls as Slurm does; any other name goes to sbatch as it is."""
_SET = {
    **dict.fromkeys(("nodes", "ntasks", "ntasks_per_node", "array"), "--slurm is how many parts"),
    **dict.fromkeys(("output", "error"), f"logs go into {LOGS}, in the folder of the videos"),
    "signal": "signal-delay-s says how early it comes",
    "time": "say timeout-min, in minutes",
}


class Part:
    """A task of the array: this program, in the folder that the batch was begun in.

    A process of its own, so that signals and exit codes mean what they mean for lingen.
    """

    def __init__(self, command: Sequence[str], cwd: str, *, leaves: bool) -> None:
        """With `leaves`, this process ends with the code of a part that failed."""
        self._command, self._cwd, self._leaves = tuple(command), cwd, leaves
        self._process: subprocess.Popen[bytes] | None = None

    def __call__(self) -> int:
        """Run it; the exit code."""
        with _on_sigterm(self._stop):
            self._process = subprocess.Popen(
                self._command, cwd=self._cwd, stdout=sys.stderr, preexec_fn=_deaf
            )
            code = self._process.wait()
        code = code if code >= 0 else 128 - code
        if code and self._leaves:
            sys.exit(code)
        return code

    def _stop(self, *_: object) -> None:
        if self._process is not None:
            self._process.terminate()

    def checkpoint(self) -> Any:
        """Return what submitit puts back into the queue when the time is up: the same again.

        What runs has written its journal by then.
        """
        from submitit.helpers import DelayedSubmission

        if self._process is not None:
            self._stop()
            _await_end(self._process.pid)
        return DelayedSubmission(Part(self._command, self._cwd, leaves=self._leaves))


def _await_end(pid: int) -> None:
    """For a while. In a signal handler that came in the midst of `Popen.wait`, that would block."""
    until = time.monotonic() + _PATIENCE
    look = os.WEXITED | os.WNOHANG | os.WNOWAIT
    with contextlib.suppress(ChildProcessError):
        while os.waitid(os.P_PID, pid, look) is None and time.monotonic() < until:
            time.sleep(0.1)


def _deaf() -> None:
    """Slurm tells all processes of a task that the time is up; to answer is `checkpoint`'s part."""
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)


@contextlib.contextmanager
def _on_sigterm(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """While inside, SIGTERM calls `handler`; submitit would pass over it."""
    before = signal.signal(signal.SIGTERM, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def submit(
    folder: Path, command: Sequence[str], parts: int, cluster: str, options: Sequence[str]
) -> list[Any]:
    """Submit `lingen batch` with `command` in so many parts; submitit's jobs.

    Raises NotAvailableError (69) without submitit or Slurm, InvalidOptionError (2).
    """
    settings = settings_of(options, slurm=cluster == "slurm")
    try:
        import submitit
    except ImportError as error:
        raise NotAvailableError("--slurm needs submitit: pip install 'lingen[slurm]'") from error
    try:
        executor = submitit.AutoExecutor(folder / LOGS / "%j", cluster=cluster)
    except RuntimeError as error:
        raise NotAvailableError(f"cannot submit to {cluster}: {error}") from error
    executor.update_parameters(**{"name": "lingen", "timeout_min": _MINUTES} | settings)
    start = lingen_command("batch", "--keep-going")
    shards = [f"{number}/{parts}" for number in range(1, parts + 1)]
    cwd, leaves = str(Path.cwd()), cluster != "debug"
    tasks = [Part((*start, "--shard", shard, *command), cwd, leaves=leaves) for shard in shards]
    try:
        with inherited_safe_path(), executor.batch():
            jobs = [executor.submit(task) for task in tasks]
    except (submitit.core.utils.FailedJobError, OSError) as error:
        raise NotAvailableError(f"Slurm took no job: {error}") from error
    return jobs


def settings_of(options: Sequence[str], *, slurm: bool) -> dict[str, Any]:
    """`KEY=VALUE` pairs as submitit's parameters; what only Slurm knows is left out without it.

    Raises InvalidOptionError (2).
    """
    found: dict[str, Any] = {}
    more: dict[str, str] = {}
    for option in options:
        given, sign, value = option.partition("=")
        name = given.strip().replace("-", "_")
        if not sign or not name.isidentifier() or not value.isprintable():
            raise InvalidOptionError(f"--slurm-option must be like partition=gpu, not {option!r}")
        if name in _SET:
            raise InvalidOptionError(f"--slurm-option {given}: {_SET[name]}")
        if name in _COMMON:
            found[name] = _value(given, value, _COMMON[name])
        elif name in _OWN:
            found[f"slurm_{name}"] = _value(given, value, _OWN[name])
        elif near := difflib.get_close_matches(name, (*_COMMON, *_OWN), n=1, cutoff=0.8):
            meant = near[0].replace("_", "-")
            raise InvalidOptionError(f"--slurm-option {given}: unknown, meant {meant!r}?")
        else:
            more[name] = value
    if more:
        found["slurm_additional_parameters"] = more
    return found if slurm else {name: found[name] for name in found if name in _COMMON}


def _value(name: str, text: str, kind: Callable[[str], Any]) -> Any:
    try:
        return kind(text)
    except ValueError:
        raise InvalidOptionError(f"--slurm-option {name} must be a number, not {text!r}") from None
