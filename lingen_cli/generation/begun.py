"""The record of a run that has begun: all that a later run needs to go on with it."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from lingen_cli.errors import BadDataError, LingenError
from lingen_cli.files.numbered import fingerprint_of
from lingen_cli.files.printable import printable
from lingen_cli.files.sealed import sealed, sum_of, unsealed
from lingen_cli.files.write_errors import write_error
from lingen_cli.media.frame_hashes import Sha256
from lingen_cli.requests.job import Job, Origin
from lingen_cli.requests.recipe import Recipe, recipe_from_video
from lingen_cli.requests.write_recipe import settings_in, settings_of

JOB = "job.json"
"""The file, in the journal of the run."""


class Begun(BaseModel):
    """All that is needed to go on with a stopped run."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[2] = 2
    name: str
    """Of the output, which lies beside the work folder."""
    pattern: str | None = None
    """Of the names of numbered images, which are the output."""
    overwrite: bool
    replaces: Sha256 | None
    """Fingerprint of the file that was there when the run began: that one may be overwritten."""
    subtitles: bool
    metadata: bool
    recipe: Recipe
    origin: Origin | None
    beside: str | None = None
    """The video whose sound, subtitles, chapters and tags are taken over."""
    history: Sha256 | None = None
    """The latents that are gone on with."""
    sha256: Sha256 | None = None
    """Checksum of all the others; what belongs to this run names it."""

    @classmethod
    def of(cls, job: Job, target: Path, recipe: Recipe) -> Self:
        """The record of a job that begins now."""
        return cls(
            name=target.name,
            pattern=job.output.destination.pattern,
            overwrite=job.output.destination.overwrite,
            replaces=print_of(target),
            subtitles=job.output.subtitles,
            metadata=job.output.metadata,
            recipe=recipe,
            origin=job.timeline.origin,
            beside=None if job.output.beside is None else str(job.output.beside.absolute()),
        )

    def may_replace(self, target: Path) -> bool:
        """Tell whether the run may overwrite what now is its output: the file that was there when
        the user asked for that, or its own video, and none that somebody put there since."""
        if not self.overwrite or not os.path.lexists(target):
            return self.overwrite
        if self.replaces is not None and print_of(target) == self.replaces:
            return True
        try:
            return settings_in(recipe_from_video(target)) == settings_in(self.recipe)
        except LingenError:
            return False

    def sealed(self) -> Self:
        """The same with its checksum."""
        return self.model_copy(update={"sha256": sum_of(self._facts())})

    def to_bytes(self) -> bytes:
        """The file."""
        return sealed(self._facts())

    def _facts(self) -> dict[str, Any]:
        return self.model_dump(mode="json", exclude={"sha256"})


class DamagedJournalError(BadDataError):
    """A journal that is of no use: damaged, or of an older lingen."""


def print_of(path: Path) -> str | None:
    """Fingerprint of a file or of a folder of images, None where there is none."""
    from lingen_cli.media.probe import fingerprint

    try:
        return fingerprint_of(path) if os.path.isdir(path) else fingerprint(path)
    except (LingenError, OSError):
        return None


def read_begun(folder: Path) -> Begun | None:
    """Read what a stopped run has left in its journal; None where there is nothing.

    Raises DamagedJournalError (65), BadDataError (65: of a newer lingen), PermissionDeniedError
    (77), WriteFailedError (74: it cannot be read now).
    """
    shown = printable(folder.parent)
    try:
        found = unsealed((folder / JOB).read_bytes())
        kind = found.get("format")
        if isinstance(kind, int) and kind > Begun.model_fields["format"].default:
            raise BadDataError(
                f"a newer lingen was stopped there: go on with that one, or drop its work with "
                f"--overwrite: {shown}"
            )
        return Begun.model_validate(found)
    except (FileNotFoundError, NotADirectoryError):
        if any(folder.glob("*.safetensors")):
            raise DamagedJournalError(f"damaged journal, {JOB} is missing: {shown}") from None
        return None
    except OSError as error:
        if error.errno in (errno.EIO, errno.EISDIR, errno.ELOOP):
            why = f"damaged journal, {JOB}: {error.strerror}: {shown}"
            raise DamagedJournalError(why) from error
        raise write_error(error, folder.parent) from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise DamagedJournalError(f"damaged journal, {JOB}: {place}: {shown}") from error
    except ValueError as error:
        raise DamagedJournalError(f"damaged journal, {JOB}: {error}: {shown}") from error


def taken_over(folder: Path, job: Job) -> Job | None:
    """`job` as it goes on with what lies in a journal: with the seeds that were drawn for it then.

    The job itself where nothing lies there, None where that belongs to another job. Raises as
    `read_begun`.
    """
    begun = read_begun(folder)
    if begun is None:
        return job
    if begun.origin != job.timeline.origin or not same_work(begun.recipe, job):
        return None
    if not job.timeline.draws_seeds:
        return job
    return job.with_edits(begun.recipe.all_edits)


def same_work(recipe: Recipe, job: Job) -> bool:
    """Tell whether a recipe asks for what `job` asks for; seeds that were drawn need not be
    equal."""
    then, now = settings_in(recipe), settings_of(job)
    if job.timeline.draws_seeds:
        made = 0 if job.timeline.origin is None else job.timeline.origin.done
        then, now = _without_seeds(then, made), _without_seeds(now, made)
    return then == now


def same_edit(begun: Begun, job: Job) -> bool:
    """Tell whether `job` asks for the edit again that a run has begun with: it goes on with what
    came of that run, or with what that went on with."""
    assert job.timeline.origin is not None
    then, now = settings_in(begun.recipe), settings_of(job)["edits"][job.timeline.origin.done - 1 :]
    if begun.origin is None:  # of a video from elsewhere
        made = [then | {"kind": "add"}]
    else:
        made = then["edits"][begun.origin.done - 1 :]
    if len(made) != len(now):
        return False
    for old, new in zip(made, now, strict=True):
        for key in new.keys() & old.keys():
            drawn = key == "sampling" and job.timeline.draws_seeds
            if old[key] != new[key] and not (drawn and _seedless(old[key]) == _seedless(new[key])):
                return False
    return True


def _seedless(sampling: dict[str, Any]) -> dict[str, Any]:
    return sampling | {"seed": 0}


def _without_seeds(settings: dict[str, Any], made: int) -> dict[str, Any]:
    """What was asked for, without the seeds of the edits after the first `made`."""

    def without(edit: dict[str, Any]) -> dict[str, Any]:
        return edit | {"sampling": _seedless(edit["sampling"])} if "sampling" in edit else edit

    later = [
        without(edit) if number >= made else edit
        for number, edit in enumerate(settings["edits"], start=1)
    ]
    return (settings if made else without(settings)) | {"edits": later}
