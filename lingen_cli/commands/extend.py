"""`lingen extend` and `lingen continue`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from lingen_cli.extend import More
    from lingen_cli.repeat import Changes

_LENGTH = "Length"
_MODEL = "Sampling"
_OUTPUT = "Output"

Video = Annotated[Path, typer.Argument(metavar="VIDEO", help="A video that lingen made.")]
Seconds = Annotated[
    float | None, typer.Option(help="How many seconds to add.", rich_help_panel=_LENGTH)
]
Minutes = Annotated[
    float | None, typer.Option(help="How many minutes to add.", rich_help_panel=_LENGTH)
]
To = Annotated[
    float | None,
    typer.Option(help="How long the video is to be, in seconds.", rich_help_panel=_LENGTH),
]
Negative = Annotated[
    str | None, typer.Option(help="What must not be shown; else as before.", rich_help_panel=_MODEL)
]
Seed = Annotated[int | None, typer.Option(help="Another seed than before.", rich_help_panel=_MODEL)]
Sampler = Annotated[
    str | None, typer.Option(help="Another sampler than before.", rich_help_panel=_MODEL)
]
Steps = Annotated[
    int | None,
    typer.Option(min=1, max=1000, help="Sampling steps; else as before.", rich_help_panel=_MODEL),
]
Guidance = Annotated[
    float | None,
    typer.Option(
        min=0, max=100, help="How strictly the prompt is followed.", rich_help_panel=_MODEL
    ),
]
Weights = Annotated[
    Path | None,
    typer.Option(help="The folder of its weights, if that has moved.", rich_help_panel=_MODEL),
]
Device = Annotated[
    str | None, typer.Option(help="auto, cpu or cuda; else as before.", rich_help_panel=_MODEL)
]
Output = Annotated[
    str | None,
    typer.Option(
        "--output",
        "-o",
        help="An .mp4 file; otherwise VIDEO-longer.mp4 here.",
        rich_help_panel=_OUTPUT,
    ),
]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace the output.", rich_help_panel=_OUTPUT)
]
Preview = Annotated[
    bool,
    typer.Option(
        "--preview", help="Draw the latents in the terminal as they form.", rich_help_panel=_OUTPUT
    ),
]
Events = Annotated[
    str | None,
    typer.Option(
        help="Write one JSON object per line to a file; - is standard output.",
        rich_help_panel=_OUTPUT,
    ),
]
AsJson = Annotated[
    bool, typer.Option("--json", help="Short for --events -.", rich_help_panel=_OUTPUT)
]
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="Print errors only.", rich_help_panel=_OUTPUT)
]


def extend(
    video: Video,
    seconds: Seconds = None,
    minutes: Minutes = None,
    to: To = None,
    prompt: Annotated[
        str | None, typer.Option(help="Another prompt than before.", rich_help_panel=_MODEL)
    ] = None,
    negative: Negative = None,
    seed: Seed = None,
    sampler: Sampler = None,
    steps: Steps = None,
    guidance: Guidance = None,
    weights: Weights = None,
    device: Device = None,
    output: Output = None,
    overwrite: Overwrite = False,
    preview: Preview = False,
    events: Events = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Make a video longer, and print the path of the new one; the old one is not touched."""
    from lingen_cli.extend import More

    more = More(
        seconds=seconds,
        minutes=minutes,
        to=to,
        prompt=prompt,
        negative=negative,
        seed=seed,
        sampler=sampler,
        steps=steps,
        guidance=guidance,
    )
    changes = _changes(weights, device, output, overwrite, preview)
    _run(video, more, changes, events, as_json, quiet)


def continue_(
    video: Video,
    prompt: Annotated[str, typer.Argument(metavar="PROMPT", help="What follows.")],
    seconds: Seconds = None,
    minutes: Minutes = None,
    to: To = None,
    negative: Negative = None,
    seed: Seed = None,
    sampler: Sampler = None,
    steps: Steps = None,
    guidance: Guidance = None,
    weights: Weights = None,
    device: Device = None,
    output: Output = None,
    overwrite: Overwrite = False,
    preview: Preview = False,
    events: Events = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Go on with something new: `lingen extend` with another prompt."""
    extend(
        video,
        seconds,
        minutes,
        to,
        prompt,
        negative,
        seed,
        sampler,
        steps,
        guidance,
        weights,
        device,
        output,
        overwrite,
        preview,
        events,
        as_json,
        quiet,
    )


def _changes(
    weights: Path | None, device: str | None, output: str | None, overwrite: bool, preview: bool
) -> Changes:
    from lingen_cli.repeat import Changes
    from lingen_cli.settings import load

    return Changes(
        weights=weights,
        device=device,
        output=output,
        overwrite=overwrite,
        preview=preview,
        cache_bytes=load().values.cache_bytes,
    )


def _run(
    video: Path, more: More, changes: Changes, events: str | None, as_json: bool, quiet: bool
) -> None:
    from lingen_cli.extend import prepare_extension
    from lingen_cli.job import Job
    from lingen_cli.making import make
    from lingen_cli.progress import Progress
    from lingen_cli.repeat import differences
    from lingen_cli.settings import load
    from lingen_cli.zoo import open_registry

    length = load().values.seconds

    def job(progress: Progress) -> Job:
        registry = open_registry(progress.warn)
        recipe, longer = prepare_extension(video, more, changes, registry, default_seconds=length)
        for difference in differences(recipe, longer):
            progress.warn(difference)
        return longer

    make(job, events=events, as_json=as_json, quiet=quiet)
