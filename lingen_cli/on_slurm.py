"""`lingen batch --slurm`: the parts of a batch as an array of Slurm jobs, through submitit."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lingen_cli.errors import InvalidOptionError, NotAvailableError

LOGS = ".slurm"
"""Where submitit writes, in the folder of the videos."""
_MINUTES = 24 * 60


@dataclass(frozen=True)
class Part:
    """A task of the array: this program, in the folder that the batch was begun in.

    A process of its own, so that Slurm's signals mean what they mean for lingen.
    """

    command: tuple[str, ...]
    cwd: str

    def __call__(self) -> int:
        """Run it; the exit code."""
        return subprocess.run(self.command, cwd=self.cwd, stdout=sys.stderr, check=False).returncode

    def checkpoint(self) -> Any:
        """What submitit puts back into the queue when the time is up: the same again."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


def submit(
    folder: Path, command: Sequence[str], parts: int, cluster: str, options: Sequence[str]
) -> list[Any]:
    """Submit `lingen batch` with `command` in so many parts; submitit's jobs.

    Raises NotAvailableError (69) without submitit or Slurm, InvalidOptionError (2).
    """
    try:
        import submitit
    except ImportError as error:
        raise NotAvailableError("--slurm needs submitit: pip install 'lingen[slurm]'") from error
    own = cluster == "slurm"
    settings = _settings(options, own)
    try:
        executor = submitit.AutoExecutor(folder / LOGS / "%j", cluster=cluster)
        executor.update_parameters(**{"name": "lingen", "timeout_min": _MINUTES} | settings)
    except (RuntimeError, ValueError, NameError, TypeError) as error:
        raise NotAvailableError(f"cannot submit to {cluster}: {error}") from error
    start = (sys.executable, "-m", "lingen_cli", "batch", "--keep-going")
    tasks = [
        Part((*start, "--shard", f"{number}/{parts}", *command), str(Path.cwd()))
        for number in range(1, parts + 1)
    ]
    try:
        with executor.batch():
            jobs = [executor.submit(task) for task in tasks]
    except (submitit.core.utils.FailedJobError, OSError) as error:
        raise NotAvailableError(f"Slurm took no job: {error}") from error
    return jobs


def _settings(options: Sequence[str], own: bool) -> dict[str, Any]:
    """`KEY=VALUE` pairs as submitit's parameters; Slurm's own names get its prefix."""
    common = {"timeout_min", "mem_gb", "nodes", "cpus_per_task", "gpus_per_node"}
    found: dict[str, Any] = {}
    for option in options:
        name, sign, value = option.partition("=")
        name = name.strip().replace("-", "_")
        if not sign or not name.isidentifier():
            raise InvalidOptionError(f"--slurm-option must be like partition=gpu, not {option!r}")
        plain = int(value) if value.isdigit() else value
        if name in common:
            found[name] = plain
        elif own:
            found[f"slurm_{name}"] = plain
    return found
