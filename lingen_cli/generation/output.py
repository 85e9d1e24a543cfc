"""The output of a job while it is made: a free path is found, locked and taken over."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from lingen_cli.errors import (
    BadDataError,
    LingenError,
    LockedError,
    MissingInputError,
    OutputExistsError,
)
from lingen_cli.files.names import free_names
from lingen_cli.files.printable import printable
from lingen_cli.files.work_folder import WorkFolder
from lingen_cli.generation.begun import (
    DamagedJournalError,
    read_begun,
    same_edit,
    same_work,
    taken_over,
)
from lingen_cli.inputs.output_path import SUFFIX
from lingen_cli.media.frame_hashes import is_whole
from lingen_cli.requests.job import Job
from lingen_cli.requests.recipe import Recipe, recipe_from_video
from lingen_cli.requests.write_recipe import settings_in


def is_made(job: Job) -> bool:
    """Tell whether the output is there already, as a video of this very job; then it is left
    alone.

    Raises OutputExistsError (73) where it was that video, and is damaged or was edited.
    """
    from lingen_cli.media.formats.numbered_images import are_whole

    path, pattern = job.output.destination.path, job.output.destination.pattern
    if path is None or job.output.destination.overwrite or not os.path.exists(path):
        return False
    try:
        recipe = recipe_from_video(path)
    except LingenError:
        return False
    if not same_work(recipe, job):
        return False
    if pattern is None:
        whole = is_whole(path, recipe.frame_hashes, job.timeline.frames)
    else:
        whole = are_whole(path, pattern, job.timeline.frames)
    if not whole:
        raise OutputExistsError(
            "output is this video, but damaged or edited since; --overwrite makes it again: "
            f"{printable(path)}"
        )
    return True


def tidy(job: Job) -> None:
    """Remove what is left of a run beside the video that it has published."""
    work = _work_folder(job, overwrite=True)
    if work.path.is_dir():
        with contextlib.suppress(LingenError), work:
            work.drop_journal()


def _work_folder(job: Job, *, overwrite: bool) -> WorkFolder:
    destination = job.output.destination
    assert destination.path is not None
    return WorkFolder(destination.path, overwrite=overwrite, pattern=destination.pattern)


def subtitles_path(video: Path) -> Path:
    """Return where the subtitles of a story go."""
    return video.with_suffix(".srt")


@contextlib.contextmanager
def held(job: Job, warn: Callable[[str], None]) -> Iterator[tuple[WorkFolder, Job]]:
    """Lock the output and its work folder; see `WorkFolder` for what is raised.

    Where a run with the same settings was stopped there, its seeds are taken over if the user gave
    none. Without a name of the user's own, a name that another run holds, or where one with other
    settings was stopped, is passed over for the next; else the second is OutputExistsError (73).
    What a newer lingen left is BadDataError (65). A journal that is damaged is put aside, and
    `warn` is told. Raises FinishedBefore too.
    """
    destination = job.output.destination
    if destination.path is not None:
        with _work_folder(job, overwrite=destination.overwrite) as work:
            if job.in_place and (made := published(work, job)) is not None:
                raise FinishedBefore(
                    job.timeline.frames if same_work(made, job) else job.timeline.frames_before
                )
            work.remembers = job.in_place
            settled = _settled(work, job, warn)
            if settled is None and not (job.in_place or destination.overwrite):
                raise OutputExistsError(
                    f"a run with other settings was stopped there: lingen resume {work.target} "
                    "goes on with it, --overwrite drops it"
                )
            if settled is None:
                work.drop_journal()
            yield work, settled or job
        return
    if not destination.folder.is_dir():
        raise MissingInputError(f"no such folder: {destination.folder}")
    beside = (subtitles_path(Path(SUFFIX)).suffix,) if job.output.subtitles else ()
    for path in free_names(destination.folder, destination.stem, SUFFIX, *beside):
        with contextlib.ExitStack() as stack:
            try:
                work = stack.enter_context(WorkFolder(path))
                settled = _settled(work, job, warn)
            except (LockedError, OutputExistsError, BadDataError):
                continue
            if settled is None:
                continue
            yield work, settled
            return


class FinishedBefore(Exception):
    """A video that is edited in its own place has the edit already: the run that made it was
    killed after it had published, and before it had reported so (`mark_reported`)."""

    def __init__(self, frames: int) -> None:
        self.frames = frames
        super().__init__()


def published(work: WorkFolder, job: Job) -> Recipe | None:
    """Return the recipe of the output where the journal is of the same edit of this file, and the
    file what came of it; else None."""
    try:
        begun, made = read_begun(work.journal), recipe_from_video(work.target)
    except LingenError:
        return None
    if (
        begun is None
        or job.timeline.origin is None
        or settings_in(made) != settings_in(begun.recipe)
    ):
        return None
    return made if same_edit(begun, job) else None


def mark_reported(job: Job) -> None:
    """Forget the run of a job whose user knows that the video is there.

    Until then the same edit of a video in its own place is known by its journal. After that it is
    another edit, of the longer video.
    """
    if job.in_place:
        tidy(job)


def _settled(work: WorkFolder, job: Job, warn: Callable[[str], None]) -> Job | None:
    """The job as it goes on with what lies in the journal; None where that belongs to another."""
    try:
        return taken_over(work.journal, job)
    except DamagedJournalError as error:
        if not job.output.destination.overwrite:
            place = printable(work.set_journal_aside())
            warn(f"{error}; it begins anew, and keeps that as {place} until there is a video")
            return job
        return None
    except BadDataError:
        if not job.output.destination.overwrite:
            raise
        return None
