"""`lingen batch --ray`: the jobs of a batch on the machines of a Ray cluster.

An actor holds the model and makes one video after the other. Ray starts an actor again whose worker
or machine was lost, and gives it the same job; what was sampled there is gone on with.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lingen_cli.batch.job_list import read_jobs
from lingen_cli.batch.run_batch import Outcome, Tally, Task, loader, make_one, plan, until_free
from lingen_cli.errors import NotAvailableError
from lingen_cli.installation.interpreter import packages_folder, search_path
from lingen_cli.terminal import signals
from lingen_cli.terminal.events import Events
from lingen_cli.terminal.progress import Progress

LOCAL = "local"
_TIMES_LOST = 3
"""How often a job may lose its worker before it has failed."""


@dataclass(frozen=True)
class Share:
    """Facts that an actor must know to make a line of a batch."""

    jobs: str
    folder: str
    template: str
    retries: int
    cwd: str
    wait: float
    """Seconds for outputs that other runs hold."""


class Worker:
    """Lives on a machine of the cluster, in the folder that the batch was begun in."""

    def __init__(self, share: Share) -> None:
        os.chdir(share.cwd)
        self._share, self._load = share, loader()
        self._lines = {line.number: line for line in read_jobs(Path(share.jobs))}
        self._silent = Progress(Events(None), quiet=True)

    def make(self, number: int) -> dict[str, Any]:
        """The line `number`; an `Outcome` as a dictionary."""
        share = self._share
        tasks, problems = plan(
            [self._lines[number]], Path(share.folder), share.template, self._silent
        )
        if problems:
            _, code, message = problems[0]
            return asdict(Outcome(number, "", "failed", code, message))
        return asdict(make_one(tasks[0], self._silent, self._load, share.retries))


def run_on_ray(
    tasks: Sequence[Task], share: Share, address: str, count: int | None, tally: Tally, quiet: bool
) -> None:
    """Make `tasks` with `count` actors: by default as many as there are GPUs, or processors.

    Raises NotAvailableError (69) without the package, or where no cluster answers.
    """
    with _connected(address) as ray:
        gpus = int(ray.cluster_resources().get("GPU", 0))
        room = gpus or int(ray.cluster_resources().get("CPU", 1))
        actor = ray.remote(
            num_cpus=1, num_gpus=1 if gpus else 0, max_restarts=-1, max_task_retries=_TIMES_LOST
        )(Worker)
        actors = [actor.remote(share) for _ in range(min(count or room, room, len(tasks)))]
        with Progress(tally.events, quiet=quiet) as progress:
            if count is not None and count > room:
                progress.warn(f"the cluster has room for {room} actors, not {count}")

            def attempt(some: Sequence[Task]) -> list[Outcome]:
                return _spread(ray, actors, some, tally, progress)

            until_free(tasks, attempt, tally, share.wait)


@contextlib.contextmanager
def _connected(address: str) -> Iterator[Any]:
    """Give Ray, connected to a cluster while inside."""
    # Ray tells of lost workers where results belong; the events know where they go already.
    with contextlib.redirect_stdout(sys.stderr):
        ray = _connect(address)
        try:
            yield ray
        except Exception as error:
            if (stop := signals.stopped()) is not None:  # in the midst of Ray it becomes anything
                raise stop from error
            raise
        finally:
            with contextlib.suppress(Exception):  # an error that is on its way says more
                ray.shutdown()


def _spread(
    ray: Any, actors: Sequence[Any], tasks: Sequence[Task], tally: Tally, progress: Progress
) -> list[Outcome]:
    """Give every actor a job, and the next when it has made one; those that are held."""
    waiting, running, held = list(reversed(tasks)), {}, []

    def begin(actor: Any) -> None:
        task = waiting.pop()
        running[actor.make.remote(task.line)] = (actor, task)

    def failed(task: Task, message: str) -> Outcome:
        code = NotAvailableError.exit_code
        return Outcome(task.line, str(task.output), "failed", code, message)

    for actor in actors[: len(tasks)]:
        begin(actor)
    while running:
        if (stop := signals.stopped()) is not None:
            raise stop
        # Ray's own waiting would hear of a Ctrl-C too late.
        ready, _ = ray.wait(list(running), timeout=0.5)
        for one in ready:
            actor, task = running.pop(one)
            lost = False
            try:
                outcome = Outcome(**ray.get(one))
            except ray.exceptions.RayError as error:
                lost = isinstance(error, ray.exceptions.RayActorError)
                why = f"its worker was lost {_TIMES_LOST} times ({type(error).__name__})"
                outcome = failed(task, why)
            if outcome.status == "held":
                held.append(outcome)
            else:
                tally.add(outcome)
                left = tally.left(tasks)
                progress.note(f"{len(tally.outcomes)} are ready: {outcome.output}{left}")
            if waiting and not lost:
                begin(actor)
    for task in reversed(waiting):
        tally.add(failed(task, "no worker of the cluster is left"))
    return held


def _check_reachable(address: str) -> None:
    """Ray itself would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not port.isdigit():
        return
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except OSError as error:
        raise NotAvailableError(f"no Ray cluster answers at {address!r}: {error}") from error


def _connect(address: str) -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
    except ImportError as error:
        raise NotAvailableError("--ray needs Ray: pip install 'lingen[ray]'") from error
    _check_reachable(address)
    path = os.pathsep.join(search_path())
    settings: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    settings["runtime_env"] = {"env_vars": {"PYTHONPATH": path}} if address == LOCAL else {}
    try:
        with contextlib.chdir(packages_folder()):  # Ray lets its workers import what lies here
            if address == LOCAL:
                ray.init(include_dashboard=False, **settings)
            else:
                ray.init(address=address, **settings)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise NotAvailableError(f"no Ray cluster answers at {address!r}: {error}") from error
    signals.install(again=True)  # Ray has put its own answer to SIGTERM in place of ours
    return ray
