"""`lingen --trace`: what the processor and the GPU do in three sampling steps, for Perfetto."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from lingen_cli.files.work_folder import WorkFolder, check_target
from lingen_cli.files.write_errors import write_error

if TYPE_CHECKING:
    from torch.profiler import profile

_STEPS = 3
_path: Path | None = None
_profiler: profile | None = None


def trace_into(path: Path | None) -> None:
    """Set where the trace of the next run goes. Raises OutputExistsError (73)."""
    global _path
    if path is not None:
        check_target(path, overwrite=False)
    _path = path


@contextlib.contextmanager
def traced() -> Iterator[None]:
    """While inside, three sampling steps after one to warm up are recorded, if that was asked.

    Where there are fewer, what follows them is recorded too.

    Raises as `WorkFolder` where the file cannot be written.
    """
    global _path, _profiler
    if _path is None:
        yield
        return
    from torch.profiler import profile, schedule, supported_activities

    path, _path = _path, None
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # else it tells when it begins and ends
    with WorkFolder(path) as work:
        part = work.temporary(".json")

        def ready(found: profile) -> None:
            try:
                found.export_chrome_trace(str(part))
            except (OSError, RuntimeError) as error:
                known = error if isinstance(error, OSError) else OSError(0, str(error))
                raise write_error(known, path) from error

        plan = schedule(wait=0, warmup=1, active=_STEPS, repeat=1)
        kinds = supported_activities()  # type: ignore[no-untyped-call]
        with profile(activities=kinds, schedule=plan, on_trace_ready=ready) as _profiler:
            try:
                yield
            finally:
                _profiler = None
        if part.stat().st_size:
            work.publish(part)


def step() -> None:
    """A sampling step is done."""
    if _profiler is not None:
        _profiler.step()
