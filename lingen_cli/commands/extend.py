"""`lingen extend`, `continue`, `branch` and `retake`: on from a video that lingen made."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lingen_cli.commands.options import (
    OUTPUT,
    SAMPLING,
    AcceptLicence,
    AsJson,
    Events,
    GivenSampling,
    NoMetadata,
    Overwrite,
    Preview,
    Quiet,
    sampling_options,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from lingen_cli.requests.edit import Finished, Length, Wish
    from lingen_cli.requests.job import Job
    from lingen_cli.requests.read_recipe import Changes
    from lingen_cli.terminal.progress import Progress
    from lingen_plugins.registry import Registry

    MakeJob = Callable[[Registry, Progress], Job]

_LENGTH = "Length"
_FOREIGN = "For a video that lingen did not make"

Video = Annotated[Path, typer.Argument(metavar="VIDEO", help="A video that lingen made.")]
AnyVideo = Annotated[Path, typer.Argument(metavar="VIDEO", help="Any video.")]
Fit = Annotated[
    str | None,
    typer.Option(
        help="How the model sees it: stretch (the default), pad or crop.",
        rich_help_panel=_FOREIGN,
    ),
]
Size = Annotated[
    str | None,
    typer.Option(
        help="The size at which the model works, such as 128 or 192x128.", rich_help_panel=_FOREIGN
    ),
]
Model = Annotated[str | None, typer.Option(help="The model.", rich_help_panel=_FOREIGN)]
NewPrompt = Annotated[str, typer.Argument(metavar="PROMPT", help="What follows.")]
Seconds = Annotated[
    float | None, typer.Option(help="How many seconds to add.", rich_help_panel=_LENGTH)
]
Minutes = Annotated[
    float | None, typer.Option(help="How many minutes to add.", rich_help_panel=_LENGTH)
]
To = Annotated[
    str | None,
    typer.Option(help="How long the video is to be: 90, 1:30 or 1m30s.", rich_help_panel=_LENGTH),
]
Prompt = Annotated[
    str | None, typer.Option(help="Another prompt than before.", rich_help_panel=SAMPLING)
]
Crossfade = Annotated[
    float,
    typer.Option(
        min=0,
        max=3600,
        help="Seconds in which the prompt before gives way to the new one.",
        rich_help_panel=SAMPLING,
    ),
]
Weights = Annotated[
    Path | None,
    typer.Option(help="The folder of its weights, if that has moved.", rich_help_panel=SAMPLING),
]
Device = Annotated[
    str | None, typer.Option(help="auto, cpu or cuda; else as before.", rich_help_panel=SAMPLING)
]
Output = Annotated[
    str | None,
    typer.Option(
        "--output",
        "-o",
        help="An .mp4 file; otherwise a name made from VIDEO's, here.",
        rich_help_panel=OUTPUT,
    ),
]


@sampling_options
def extend(
    video: AnyVideo,
    seconds: Seconds = None,
    minutes: Minutes = None,
    to: To = None,
    prompt: Prompt = None,
    crossfade: Crossfade = 0.0,
    sampling: GivenSampling = None,
    fit: Fit = None,
    size: Size = None,
    model: Model = None,
    weights: Weights = None,
    accept_licence: AcceptLicence = False,
    device: Device = None,
    output: Output = None,
    overwrite: Overwrite = False,
    no_metadata: NoMetadata = False,
    preview: Preview = False,
    events: Events = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Make a video longer, and print the path of the new one; the old one is not touched.

    It may be any video. One that lingen did not make needs a --prompt, keeps its size, its rate
    and, up to where it ended, its sound. Sampling options that are not given are those of the end
    of the video.
    """
    length = partial(_length, seconds, minutes, to)
    wish = partial(_wish, prompt, sampling, crossfade)
    changes = partial(_changes, weights, device, output, overwrite, preview, accept_licence)
    external = {"size": size, "model": model, "fit": fit}
    job = _longer(video, length, wish, changes, external, sampling)
    _make(job, events, as_json, quiet, no_metadata)


@sampling_options
def continue_(
    video: AnyVideo,
    prompt: NewPrompt,
    seconds: Seconds = None,
    minutes: Minutes = None,
    to: To = None,
    crossfade: Crossfade = 0.0,
    sampling: GivenSampling = None,
    fit: Fit = None,
    size: Size = None,
    model: Model = None,
    weights: Weights = None,
    accept_licence: AcceptLicence = False,
    device: Device = None,
    output: Output = None,
    overwrite: Overwrite = False,
    no_metadata: NoMetadata = False,
    preview: Preview = False,
    events: Events = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Go on with something new: `lingen extend` with another prompt."""
    length = partial(_length, seconds, minutes, to)
    wish = partial(_wish, prompt, sampling, crossfade)
    changes = partial(_changes, weights, device, output, overwrite, preview, accept_licence)
    external = {"size": size, "model": model, "fit": fit}
    job = _longer(video, length, wish, changes, external, sampling)
    _make(job, events, as_json, quiet, no_metadata)


@sampling_options
def branch(
    video: Video,
    prompt: NewPrompt,
    at: Annotated[
        str,
        typer.Option(help="Where it branches off: 30, 0:30 or 30s.", rich_help_panel=_LENGTH),
    ],
    seconds: Seconds = None,
    minutes: Minutes = None,
    to: To = None,
    crossfade: Crossfade = 0.0,
    sampling: GivenSampling = None,
    weights: Weights = None,
    device: Device = None,
    output: Output = None,
    overwrite: Overwrite = False,
    no_metadata: NoMetadata = False,
    preview: Preview = False,
    events: Events = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Make another video that is the same up to a moment, and something else after it.

    Sampling options that are not given are those of the end of the video.
    """
    length = partial(_length, seconds, minutes, to)
    wish = partial(_wish, prompt, sampling, crossfade)
    changes = partial(_changes, weights, device, output, overwrite, preview)
    edit = _edit(video, "branch", changes, lambda one: one.branch(at, length(), wish()))
    _make(edit, events, as_json, quiet, no_metadata)


@sampling_options
def retake(
    video: Video,
    begin: Annotated[
        str,
        typer.Option("--from", help="Where the stretch begins: 23, 0:23 or 23s."),
    ],
    end: Annotated[
        str | None, typer.Option("--to", help="Where it ends; else with the video.")
    ] = None,
    prompt: Prompt = None,
    sampling: GivenSampling = None,
    weights: Weights = None,
    device: Device = None,
    output: Output = None,
    overwrite: Overwrite = False,
    no_metadata: NoMetadata = False,
    preview: Preview = False,
    events: Events = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Make a stretch of a video anew between its neighbours; all other latents stay the same.

    Sampling options that are not given are those of the end of the video; the seed is random if
    neither it nor a prompt is given.
    """
    wish = partial(_wish, prompt, sampling)
    changes = partial(_changes, weights, device, output, overwrite, preview)
    edit = _edit(video, "retake", changes, lambda one: one.retake(begin, end, wish()))
    _make(edit, events, as_json, quiet, no_metadata)


def _longer(
    video: Path,
    length: Callable[[], Length],
    wish: Callable[[], Wish],
    changes: Callable[[], Changes],
    external: dict[str, str | None],
    sampling: GivenSampling,
) -> MakeJob:
    """From the registry to a job that makes any video longer; `external` has the options that
    only a video of another origin takes."""

    def job(registry: Registry, progress: Progress) -> Job:
        from lingen_cli.errors import InvalidOptionError
        from lingen_cli.media.metadata import read_recipe
        from lingen_cli.requests.external_video import extend_foreign
        from lingen_cli.settings import load

        given = wish()
        if read_recipe(video) is None:
            flags = {"size": external["size"], "model": external["model"]}
            loaded, fit = load(flags | (sampling or {})), external["fit"] or "stretch"
            return extend_foreign(
                video, length(), given, fit, changes(), loaded, registry, progress
            )
        for option, value in external.items():
            if value is not None:
                raise InvalidOptionError(f"--{option}: lingen made this video, so that is settled")
        edit = _edit(video, "longer", changes, lambda one: one.extend(length(), given))
        return edit(registry, progress)

    return job


def _wish(prompt: str | None, sampling: GivenSampling, crossfade: float = 0.0) -> Wish:
    from lingen_cli.requests.edit import Wish
    from lingen_cli.settings import sampling_given

    given = sampling_given(sampling or {})
    return Wish(prompt=prompt, sampling=given, crossfade=_finite(crossfade))


def _finite(seconds: float) -> float:
    from lingen_cli.errors import InvalidOptionError

    if seconds != seconds:
        raise InvalidOptionError("--crossfade must be a number of seconds, not nan")
    return seconds


def _length(seconds: float | None, minutes: float | None, to: str | None) -> Length:
    from lingen_cli.requests.edit import Length
    from lingen_cli.settings import load

    return Length(seconds=seconds, minutes=minutes, to=to, default=load().values.seconds)


def _changes(
    weights: Path | None,
    device: str | None,
    output: str | None,
    overwrite: bool,
    preview: bool,
    accept_licence: bool = False,
) -> Changes:
    from lingen_cli.requests.read_recipe import Changes
    from lingen_cli.settings import load

    return Changes(
        weights=weights,
        device=device,
        output=output,
        overwrite=overwrite,
        preview=preview,
        accept_licence=accept_licence,
        cache_bytes=load().values.cache_bytes,
    )


def _edit(
    video: Path, name: str, changes: Callable[[], Changes], edit: Callable[[Finished], Job]
) -> MakeJob:
    """From the registry to a job that goes on with a video that lingen made."""

    def job(registry: Registry, progress: Progress) -> Job:
        from lingen_cli.requests.edit import Finished
        from lingen_cli.requests.read_recipe import differences

        finished = Finished(video, changes(), registry, name)
        edited = edit(finished)
        for difference in differences(finished.recipe, edited):
            progress.warn(difference)
        return edited

    return job


def _make(job: MakeJob, events: str | None, as_json: bool, quiet: bool, no_metadata: bool) -> None:
    from lingen_cli.generation.run import make
    from lingen_cli.zoo.locate import open_registry

    make(
        lambda progress: job(open_registry(progress.warn), progress),
        events=events,
        as_json=as_json,
        quiet=quiet,
        no_metadata=no_metadata,
    )
