"""`lingen generate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lingen_cli.commands.options import (
    OUTPUT,
    AcceptLicence,
    AsJson,
    Events,
    GivenSampling,
    NoMetadata,
    Overwrite,
    Quiet,
    sampling_options,
)

_LENGTH = "Length"
_MODEL = "Model"


@sampling_options
def generate(
    prompt: Annotated[
        str | None, typer.Argument(metavar="PROMPT", help="What the video shows.")
    ] = None,
    story: Annotated[
        Path | None,
        typer.Option(help="A TOML file of shots, in place of a prompt (`lingen story check`)."),
    ] = None,
    minutes: Annotated[
        float | None, typer.Option(help="Length in minutes.", rich_help_panel=_LENGTH)
    ] = None,
    seconds: Annotated[
        float | None,
        typer.Option(help="Length in seconds; 4 where nothing is said.", rich_help_panel=_LENGTH),
    ] = None,
    frames: Annotated[
        int | None, typer.Option(help="Length in frames.", rich_help_panel=_LENGTH)
    ] = None,
    fps: Annotated[
        str | None,
        typer.Option(
            help="Frames per second, such as 24 or 24000/1001; motion keeps its speed.",
            rich_help_panel=_LENGTH,
        ),
    ] = None,
    size: Annotated[str | None, typer.Option(help="One side in pixels, or WIDTHxHEIGHT.")] = None,
    image: Annotated[
        Path | None, typer.Option(help="A PNG or JPEG that the video starts from.")
    ] = None,
    last_image: Annotated[
        Path | None, typer.Option(help="A PNG or JPEG that the video ends in.")
    ] = None,
    layout: Annotated[
        Path | None,
        typer.Option(help="A JSON file of where things are over time, as `lingen layout` prints."),
    ] = None,
    sampling: GivenSampling = None,
    model: Annotated[
        str | None, typer.Option(help="A name from `lingen models list`.", rich_help_panel=_MODEL)
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option(help="A folder with weights of your own.", rich_help_panel=_MODEL),
    ] = None,
    accept_licence: AcceptLicence = False,
    device: Annotated[
        str | None, typer.Option(help="auto, cpu or cuda.", rich_help_panel=_MODEL)
    ] = None,
    save_memory: Annotated[
        bool,
        typer.Option(
            "--save-memory", help="Smaller parts at a time: slower.", rich_help_panel=_MODEL
        ),
    ] = False,
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            help="An .mp4 file, or - to stream; otherwise a free name made from the prompt.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    overwrite: Overwrite = False,
    no_metadata: NoMetadata = False,
    preview: Annotated[
        bool | None,
        typer.Option(help="Draw the latents in the terminal as they form.", rich_help_panel=OUTPUT),
    ] = None,
    events: Events = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Only tell what it would need, as `lingen plan` does."),
    ] = False,
) -> None:
    """Make a video from a prompt or from a story, and print its path."""
    from lingen_cli.generation.run import make
    from lingen_cli.requests.job import Job
    from lingen_cli.requests.new_video import Wishes, prepare
    from lingen_cli.settings import load
    from lingen_cli.terminal.progress import Progress
    from lingen_cli.zoo.locate import open_registry

    flags = {
        "model": model,
        "weights": weights,
        "device": device,
        "size": size,
        "fps": fps,
        "preview": preview,
    }
    wishes = Wishes(
        prompt=prompt,
        story=story,
        minutes=minutes,
        seconds=seconds,
        frames=frames,
        image=image,
        last_image=last_image,
        layout=layout,
        output=output,
        overwrite=overwrite,
        accept_licence=accept_licence,
        save_memory=save_memory,
    )

    def job(progress: Progress) -> Job:
        return prepare(wishes, load(flags | (sampling or {})), open_registry(progress.warn))

    if dry_run:
        from lingen_cli.planning.report import tell

        tell(job, as_json=as_json)
        return
    make(job, events=events, as_json=as_json, quiet=quiet, no_metadata=no_metadata)
