"""`lingen show`: what a video is, how it was made, and what it looks like."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lingen_cli.terminal import console

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from lingen_cli.media.images.orientation import Image
    from lingen_cli.media.probe import VideoInfo

_NO_RECIPE = "no lingen recipe"
_SHEET_FRAME = (320, 320)  # box of one frame, pixels


def show(
    video: Annotated[
        Path, typer.Argument(metavar="VIDEO", help="A video file, made by lingen or not.")
    ],
    sheet: Annotated[
        Path | None, typer.Option(help="Write the contact sheet to this PNG file.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object instead of tables.")
    ] = False,
    frames: Annotated[
        int, typer.Option(min=1, max=64, help="Number of frames on the contact sheet.")
    ] = 8,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the PNG file.")] = False,
    picture: Annotated[
        Path | None, typer.Argument(metavar="[PNG]", help="The file that --frame writes.")
    ] = None,
    frame: Annotated[
        str | None,
        typer.Option(
            metavar="TIME", help="Write the frame at this time, such as 3.5s or end, to PNG."
        ),
    ] = None,
) -> None:
    """Show how a video was made, and a contact sheet of it; or write one of its frames."""
    from lingen_cli.errors import InvalidOptionError
    from lingen_cli.media.metadata import read_recipe
    from lingen_cli.media.probe import video_info

    if sheet is not None and sheet.suffix.lower() != ".png":
        raise InvalidOptionError(f"--sheet writes PNG, the name must end in .png: {sheet.name!r}")
    if frame is not None or picture is not None:
        if sheet is not None or as_json:
            raise InvalidOptionError("--frame writes one PNG alone: leave out --sheet and --json")
        _write_frame(video, frame, picture, overwrite=overwrite)
        return
    info, recipe = video_info(video), read_recipe(video)
    if sheet is not None:
        _write_png(sheet, _contact_sheet(video, info, frames), overwrite=overwrite)
    if as_json:
        console.result(json.dumps(_as_json(video, info, recipe, sheet)))
        return
    _print(video, info, recipe)
    if sheet is not None:
        from lingen_cli.files.printable import printable

        console.result(f"contact sheet: {printable(sheet)}")
    elif sys.stdout is not None and sys.stdout.isatty():
        from lingen_cli.terminal.terminal_image import TerminalPicture

        _render(TerminalPicture(_contact_sheet(video, info, frames)))


def _contact_sheet(video: Path, info: "VideoInfo", count: int) -> "Image":
    from lingen_cli.media.images.contact_sheet import contact_sheet, sheet_times
    from lingen_cli.media.reader import frames_at

    count = min(count, info.frames or count)
    times = sheet_times(info.duration or 0.0, count) if info.duration else [0.0]
    return contact_sheet(list(frames_at(video, times, box=_SHEET_FRAME)), times)


def _write_frame(video: Path, frame: str | None, target: Path | None, *, overwrite: bool) -> None:
    """Write the picture on screen at a time, upright, in its own size and square pixels."""
    from lingen_cli.errors import InvalidOptionError
    from lingen_cli.inputs.frame_rates import parse_moment
    from lingen_cli.media.images.resize import Fit
    from lingen_cli.media.probe import examine
    from lingen_cli.media.reader import frames_at

    if frame is None or target is None or target.suffix.lower() != ".png":
        raise InvalidOptionError(
            "name a time and a PNG file, such as: lingen show VIDEO --frame 3.5s first.png"
        )
    found = examine(video)
    length = found.frames / found.rate
    moment = length if frame == "end" else parse_moment(frame, "--frame")
    if moment > length or (moment == length and frame != "end"):
        raise InvalidOptionError(
            f"--frame must be before the video's end at {float(length):g} s, not {frame!r}"
        )
    seen = (found.width, found.height)
    time = max(0.0, float(min(moment, length - 1 / (2 * found.rate))))
    (image,) = frames_at(video, [time], fit=Fit(name="stretch", seen=seen, size=seen))
    _write_png(target, image, overwrite=overwrite)
    console.path(target)


def _write_png(target: Path, image: "Image", *, overwrite: bool) -> None:
    from lingen_cli.files.work_folder import WorkFolder
    from lingen_cli.media.images.image_files import write_png

    with WorkFolder(target, overwrite=overwrite) as work:
        temporary = work.temporary(".png")
        write_png(temporary, image)
        work.publish(temporary)


def _as_json(
    video: Path, info: "VideoInfo", recipe: dict[str, object] | None, sheet: Path | None
) -> dict[str, Any]:
    return {
        "path": str(video),
        "video": {
            "width": info.width,
            "height": info.height,
            "fps": None if info.fps is None else float(info.fps),
            "frames": info.frames,
            "seconds": info.duration,
            "rotation": info.rotation,
            "codec": info.codec,
        },
        "recipe": recipe,
        "sheet": None if sheet is None else str(sheet),
    }


def _print(video: Path, info: "VideoInfo", recipe: dict[str, object] | None) -> None:
    rows: list[tuple[str, str]] = [
        ("file", str(video)),
        ("size", f"{info.width} x {info.height}"),
        ("frame rate", "unknown" if info.fps is None else f"{float(info.fps):g} per second"),
        ("frames", "unknown" if info.frames is None else str(info.frames)),
        ("duration", "unknown" if info.duration is None else f"{info.duration:.3f} s"),
        ("codec", info.codec),
    ]
    if info.rotation:
        rows.append(("rotation", f"{info.rotation} degrees"))
    _render(_table("video", rows))
    if recipe is None:
        console.result(_NO_RECIPE)
    else:
        _render(_table("recipe", _rows(recipe)))


def _render(thing: "RenderableType") -> None:
    """Print through rich, and through the one place that knows what a closed or full output
    means."""
    from rich.console import Console

    screen = Console()
    with screen.capture() as captured:
        screen.print(thing)
    console.result(captured.get().removesuffix("\n"))


def _table(title: str, rows: list[tuple[str, str]]) -> "Table":
    """Values come from files of strangers: no markup, no control characters."""
    from rich.table import Table
    from rich.text import Text

    from lingen_cli.files.printable import printable

    table = Table(title=title, title_justify="left", show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for key, value in rows:
        table.add_row(Text(printable(key)), Text(printable(value)))
    return table


def _rows(recipe: dict[str, object]) -> list[tuple[str, str]]:
    """Key and value; a table within the recipe (weights, versions) has a row for each entry."""
    rows = []
    for key, value in recipe.items():
        if isinstance(value, dict):
            rows += [(f"{key}: {part}", _plain(entry)) for part, entry in value.items()]
        else:
            rows.append((key, _plain(value)))
    return rows


def _plain(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
