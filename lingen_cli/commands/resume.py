"""`lingen resume` and `lingen decode`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lingen_cli.commands.options import grouped_options
from lingen_cli.errors import BadDataError, InvalidOptionError, MissingInputError, OutputExistsError
from lingen_cli.inputs.request import (
    MovedImage,
    MovedLastImage,
    MovedWeights,
    Preview,
    Report,
    UnchangedDevice,
)

if TYPE_CHECKING:
    from lingen_cli.generation.begun import Begun
    from lingen_cli.requests.read_recipe import Changes


Run = Annotated[
    Path | None,
    typer.Argument(
        metavar="[VIDEO]",
        help="Path of the unfinished video; by default the only one in this folder.",
    ),
]


@grouped_options
def resume(
    report: Report,
    run: Run = None,
    image: MovedImage = None,
    last_image: MovedLastImage = None,
    weights: MovedWeights = None,
    preview: Preview = None,
) -> None:
    """Finish an interrupted run, and print the path of its video."""
    from lingen_cli.requests.read_recipe import Changes

    moved = Changes(image=image, last_image=last_image, weights=weights, preview=bool(preview))
    _go_on(run, moved, report)


@grouped_options
def decode(
    report: Report,
    run: Run = None,
    weights: MovedWeights = None,
    device: UnchangedDevice = None,
) -> None:
    """Finish an interrupted run that only needs decoding."""
    from lingen_cli.requests.read_recipe import Changes

    moved = Changes(weights=weights, device=device)
    _go_on(run, moved, report, decode_only=True)


def _go_on(
    run: Path | None,
    moved: Changes,
    report: Report,
    *,
    decode_only: bool = False,
) -> None:
    from dataclasses import replace

    from lingen_cli.files.work_folder import WorkFolder
    from lingen_cli.generation.begun import same_work
    from lingen_cli.generation.output import published
    from lingen_cli.generation.run_job import run_job
    from lingen_cli.requests.context import Context
    from lingen_cli.requests.job import Job
    from lingen_cli.requests.read_recipe import changed_files, check_inputs, prepare_again
    from lingen_cli.terminal.progress import Progress

    def job(progress: Progress) -> Job:
        context = Context.open(progress)
        folder, begun = _only(Path()) if run is None else _stopped(run)
        target = folder / begun.name
        changes = replace(
            moved,
            output=str(target if begun.pattern is None else target / begun.pattern),
            overwrite=begun.may_replace(target),
        )
        again = prepare_again(begun.recipe, changes, context, stem="")
        if begun.origin is not None and not 0 < begun.origin.done < len(again.timeline.edits):
            raise BadDataError(f"damaged journal of {target}: its edits are not whole")
        job = replace(
            again,
            timeline=replace(again.timeline, origin=begun.origin),
            runtime=replace(again.runtime, decode_only=decode_only),
            output=replace(
                again.output,
                beside=None if begun.beside is None else Path(begun.beside),
                subtitles=begun.subtitles,
                metadata=begun.metadata,
            ),
        )
        if published(WorkFolder(target), job) is None:  # else it has replaced what it goes on with
            check_inputs(job)
        if not same_work(begun.recipe, job):
            changed = "; ".join(changed_files(begun.recipe, job)) or "something is not what it was"
            raise OutputExistsError(
                f"{target} was begun with other settings: {changed}; --weights, --image and "
                "--last-image name those of then"
            )
        return job

    run_job(job, report)


def _stopped(target: Path) -> tuple[Path, Begun]:
    """The folder of the output `target`, and what the run that was to make it has left."""
    from lingen_cli.files.numbered import IMAGES, PATTERN
    from lingen_cli.files.work_folder import WorkFolder
    from lingen_cli.generation.begun import read_begun

    if PATTERN.search(target.name) and target.suffix.lower() == IMAGES:
        target = target.parent
    begun = read_begun(WorkFolder(target).journal)
    if begun is None or begun.name != target.name:
        raise MissingInputError(f"no interrupted run for {target}")
    return target.parent, begun


def _only(folder: Path) -> tuple[Path, Begun]:
    """The only run that was stopped in a folder.

    A name in a file says nothing by itself: it must be the one that the work folder belongs to, and
    one that can be printed.
    """
    from lingen_cli.files.work_folder import JOURNAL, WorkFolder
    from lingen_cli.generation.begun import read_begun

    found, useless = {}, []
    for journal in sorted(folder.glob(f".*.lingen/{JOURNAL}")):
        try:
            begun = read_begun(journal)
        except BadDataError as error:
            useless.append(error)
            continue
        if begun is None or "/" in begun.name or not begun.name.isprintable():
            continue
        if WorkFolder(folder / begun.name).journal == journal:
            found[begun.name] = begun
    if not found and useless:
        raise useless[0]
    if not found:
        raise MissingInputError(
            "nothing to resume in this folder; pass the path of the unfinished video"
        )
    if len(found) > 1:
        raise InvalidOptionError(
            f"several runs were interrupted here, name one: {', '.join(found)}"
        )
    ((_, begun),) = found.items()
    return folder, begun
