"""`lingen rerun`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lingen_cli.commands.options import (
    AsJson,
    Events,
    MovedImage,
    MovedLastImage,
    MovedWeights,
    NoMetadata,
    Overwrite,
    Preview,
    Quiet,
)


def rerun(
    video: Annotated[Path, typer.Argument(metavar="VIDEO", help="A video that lingen made.")],
    output: Annotated[
        str | None,
        typer.Option("--output", "-o", help="An .mp4 file; otherwise VIDEO-again.mp4 here."),
    ] = None,
    overwrite: Overwrite = False,
    no_metadata: NoMetadata = False,
    image: MovedImage = None,
    last_image: MovedLastImage = None,
    weights: MovedWeights = None,
    device: Annotated[
        str | None, typer.Option(help="auto, cpu or cuda, in place of the one it was made on.")
    ] = None,
    preview: Preview = False,
    events: Events = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Make the same video again, from the recipe inside it."""
    from lingen_cli.generation.run import make
    from lingen_cli.requests.job import Job
    from lingen_cli.requests.read_recipe import Changes, check_base, differences, prepare_again
    from lingen_cli.requests.recipe import recipe_from_video
    from lingen_cli.settings import load
    from lingen_cli.terminal.progress import Progress
    from lingen_cli.zoo.locate import open_registry

    def job(progress: Progress) -> Job:
        changes = Changes(
            cache_bytes=load().values.cache_bytes,
            output=output,
            overwrite=overwrite,
            image=image,
            last_image=last_image,
            weights=weights,
            device=device,
            preview=preview,
        )
        recipe = recipe_from_video(video)
        registry = open_registry(progress.warn)
        again = prepare_again(recipe, changes, registry, stem=f"{video.stem}-again")
        if again.base is not None:
            check_base(again.base)
        for difference in differences(recipe, again):
            progress.warn(difference)
        return again

    make(job, events=events, as_json=as_json, quiet=quiet, no_metadata=no_metadata)
