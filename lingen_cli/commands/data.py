"""`lingen data`: footage to train on."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lingen_cli.commands.options import AsJson, Device
from lingen_cli.errors import BadDataError, InvalidOptionError
from lingen_cli.files.printable import printable
from lingen_cli.terminal import console, signals
from lingen_cli.usage.completion import completed

if TYPE_CHECKING:
    from lingen_cli.datasets.footage import Clip

_SHEET_CLIPS = 48
_clips = partial(typer.Option, rich_help_panel="What the clips are")

app = typer.Typer(
    help="Footage to train on: folders of videos and images, or tars.", no_args_is_help=True
)


@app.command()
def check(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="Videos, images, captions, tars of those.")
    ],
    as_json: AsJson = False,
    sheet: Annotated[
        Path | None, typer.Option(help="Write a contact sheet of the clips, as PNG.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the contact sheet.")
    ] = False,
) -> None:
    """Look at every video and image of a folder, and name each that cannot be trained on.

    A caption is a text or JSON file of the same name beside the file, or a row of captions.csv or
    captions.jsonl in the folder, with a file and a caption. Tars are read as webdataset writes
    them; FOLDER may be one. Exits with 1 if any file cannot be
    used, and none of them stops a training. Of a folder that was prepared it tells what it holds,
    and which of its files are damaged.
    """
    from statistics import median

    from lingen_cli.datasets.footage import read_footage
    from lingen_cli.datasets.prepared_folder import is_prepared

    if is_prepared(folder):
        if sheet is not None:
            raise InvalidOptionError("--sheet: a prepared folder has no frames")
        _check_prepared(folder, as_json)
        return
    footage = read_footage(folder)
    videos = [one.seconds for one in footage.clips if one.seconds is not None]
    if sheet is not None:
        _write_sheet(sheet, footage.clips, overwrite)
    if as_json:
        record = {
            "folder": str(folder),
            "clips": [
                {
                    "path": str(Path(one.path)),
                    "caption": one.caption,
                    "width": one.width,
                    "height": one.height,
                    "seconds": one.seconds,
                }
                for one in footage.clips
            ],
            "duplicates": [[str(Path(one.path)) for one in group] for group in footage.duplicates],
            "problems": list(footage.problems),
        }
        console.record(record)
    else:
        console.result(f"videos      {len(videos)}")
        console.result(f"images      {len(footage.clips) - len(videos)}")
        if videos:
            spread = f"{min(videos):.1f} to {max(videos):.1f} s, median {median(videos):.1f} s"
            console.result(f"lengths     {spread}, {sum(videos) / 60:.1f} min in all")
        sizes = sorted({(one.width, one.height) for one in footage.clips})
        shown = ", ".join(f"{width}x{height}" for width, height in sizes[:6])
        console.result(f"sizes       {shown}{', ...' if len(sizes) > 6 else ''}")
        words = {word for one in footage.clips for word in one.caption.casefold().split()}
        console.result(f"captions    {len({one.caption for one in footage.clips})} different")
        console.result(f"words       {len(words)} different")
        for group in footage.duplicates:
            console.result(f"the same    {', '.join(str(Path(one.path)) for one in group)}")
    for problem in footage.problems:
        console.warning(problem)
    if footage.problems:
        raise typer.Exit(1)


@app.command()
def prepare(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="Videos, images, captions, tars of those.")
    ],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="PREPARED", help="Folder for what is prepared."),
    ],
    recipe: Annotated[
        Path,
        _clips(
            metavar="RECIPE",
            help="The recipe to train with: its sizes, lengths and autoencoder.",
            autocompletion=completed("recipe"),
        ),
    ] = Path("finetune"),
    start_from: Annotated[
        Path,
        _clips(
            help="Weights whose autoencoder encodes, where the recipe names none: a folder, or the "
            "name of a model."
        ),
    ] = Path("lingen-mini"),
    size: Annotated[
        list[str] | None,
        _clips(
            metavar="SIZE",
            help="128 or 176x96, in place of those of the recipe. Several are buckets.",
        ),
    ] = None,
    latent_frames: Annotated[
        list[int] | None,
        _clips(
            metavar="COUNT",
            min=1,
            help="A length to train on, in place of those of the recipe. Several are buckets.",
        ),
    ] = None,
    cut: Annotated[
        bool,
        _clips("--cut/--no-cut", help="Cut videos where a shot ends, or take each as one shot."),
    ] = True,
    min_seconds: Annotated[float, _clips(min=0, max=600, help="Leave out what is shorter.")] = 1.0,
    jobs: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=1024,
            help="Processes, each with an autoencoder.",
            show_default="one per thread",
        ),
    ] = None,
    device: Device = "auto",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Begin anew what was made of other footage.")
    ] = False,
    as_json: AsJson = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")] = False,
) -> None:
    """Cut, resample and encode footage once, for any number of trainings.

    Videos are cut where shots change, brought to 16 frames per second and to the sizes of a recipe,
    and encoded. `lingen train RECIPE --data PREPARED` then decodes no video. The same command again
    goes on where the last one stopped. PREPARED/report.txt names all that is left out, and why.
    """
    from lingen_cli.datasets.footage import read_footage
    from lingen_cli.datasets.preparation import find_codec, find_texts, line_of
    from lingen_cli.datasets.preparation import prepare as prepare_footage
    from lingen_cli.datasets.prepare_plan import Options, given_target, targets_of
    from lingen_cli.datasets.prepared_folder import REPORT
    from lingen_cli.inputs.training_inputs import find_recipe, warn_of, weights_of
    from lingen_cli.installation import plugin_parts
    from lingen_cli.requests.new_video import check_device
    from lingen_cli.terminal.progress import Progress
    from lingen_cli.zoo.locate import open_registry

    recipe = find_recipe(recipe)
    check_device(device)
    with signals.announced(), Progress(quiet=quiet) as progress:
        import torch

        from lingen_cli.zoo.load_model import find_device
        from lingen_training.training_recipe import (
            AutoencoderStage,
            DataSection,
            RecipeError,
            read_recipe,
        )

        try:
            read = read_recipe(recipe, None, DataSection(folder=str(folder)))
            targets = targets_of(read)
            if size or latent_frames:
                targets = (given_target(size or (), latent_frames or (), targets),)
            weights = None
            if isinstance(read.autoencoder, AutoencoderStage):
                weights = weights_of(open_registry(console.warning), start_from, "autoencoder")
            footage = read_footage(folder, progress.counts("files"))
            if not footage.clips:
                raise BadDataError(
                    f"nothing in {printable(folder)} can be prepared: {footage.problems[0]}"
                )
            with plugin_parts.found():
                found = prepare_footage(
                    footage,
                    Options(targets, min_seconds, cut),
                    find_codec(read, recipe, weights),
                    find_texts(read, recipe, place := find_device(device)),
                    output,
                    device=place,
                    jobs=jobs or torch.get_num_threads(),
                    overwrite=overwrite,
                    progress=progress.counts,
                )
        except RecipeError as error:
            raise BadDataError(str(error)) from error
    if as_json:
        console.record(found.to_dict())
        return
    warn_of([*found.unusable, *map(line_of, found.left_out)], printable(output / REPORT))
    console.note(found.summary)
    console.path(output)


def _write_sheet(target: Path, clips: tuple[Clip, ...], overwrite: bool) -> None:
    """Write the first frames of up to `_SHEET_CLIPS` clips."""
    from lingen_cli.datasets.video_folder import first_image
    from lingen_cli.media.images.contact_sheet import contact_sheet
    from lingen_cli.media.images.image_files import publish_png

    if not clips:
        raise BadDataError("no clips for a contact sheet")
    step = max(1, -(-len(clips) // _SHEET_CLIPS))
    publish_png(target, contact_sheet([first_image(one) for one in clips[::step]]), overwrite)


def _check_prepared(folder: Path, as_json: bool) -> None:
    """Tell what a prepared folder holds, and read all of it."""
    from lingen_cli.datasets.prepared_folder import REPORT, damaged, read_prepared

    index = read_prepared(folder)
    broken = [printable(one.path) for one in damaged(index)]
    if as_json:
        console.record({**index.to_dict(), "damaged": broken})
    else:
        for name, value in index.figures.items():
            for one in value if isinstance(value, list) else [value]:
                console.result(f"{name.replace('_', ' '):<14}{one}")
        left = f"{len(index.unusable)} files, {len(index.left_out)} stretches: {folder / REPORT}"
        console.result(f"left out      {left}")
    for path in broken:
        console.warning(f"damaged: {path}; delete it, and prepare with the same command again")
    if broken:
        raise typer.Exit(1)
