"""The output of a job while it is made: a free path is found, locked and taken over."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from lingen_cli.errors import (
    LingenError,
    LockedError,
    MissingInputError,
    OutputExistsError,
)
from lingen_cli.files.names import free_names
from lingen_cli.files.work_folder import WorkFolder
from lingen_cli.generation.journal import same_work, taken_over
from lingen_cli.requests.job import Job
from lingen_cli.requests.output_path import SUFFIX


def is_made(job: Job) -> bool:
    """Tell whether the output is there already, as a video of this very job; then it is left alone.

    What a run that was killed after it had published may have left beside it is removed.
    """
    from lingen_cli.requests.recipe import recipe_from_video

    path = job.destination.path
    if path is None or job.destination.overwrite or not path.is_file():
        return False
    try:
        if not same_work(recipe_from_video(path), job):
            return False
    except LingenError:
        return False
    work = WorkFolder(path, overwrite=True)
    if work.path.is_dir():
        with contextlib.suppress(LingenError), work:
            work.drop_journal()
    return True


@contextlib.contextmanager
def held(job: Job) -> Iterator[tuple[WorkFolder, Job]]:
    """Lock the output and its work folder; see `WorkFolder` for what is raised.

    Where a run with the same settings was stopped there, its seeds are taken over if the user gave
    none. Without a name of the user's own, a name that another run holds, or where one with other
    settings was stopped, is passed over for the next; else the second is OutputExistsError (73).
    """
    destination = job.destination
    if destination.path is not None:
        with WorkFolder(destination.path, overwrite=destination.overwrite) as work:
            settled = taken_over(work.journal, job)
            if settled is None and destination.overwrite:
                work.drop_journal()
            elif settled is None:
                raise OutputExistsError(
                    f"a run with other settings was stopped there: lingen resume {work.target} "
                    "goes on with it, --overwrite drops it"
                )
            yield work, settled or job
        return
    if not destination.folder.is_dir():
        raise MissingInputError(f"no such folder: {destination.folder}")
    for path in free_names(destination.folder, destination.stem, SUFFIX):
        with contextlib.ExitStack() as stack:
            try:
                work = stack.enter_context(WorkFolder(path))
            except (LockedError, OutputExistsError):
                continue
            settled = taken_over(work.journal, job)
            if settled is None:
                continue
            yield work, settled
            return
