"""`lingen show`: what a video is, how it was made, and what it looks like."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lingen_cli.commands.options import JsonPerVideo, Videos
from lingen_cli.errors import InvalidOptionError
from lingen_cli.files.printable import printable
from lingen_cli.terminal import console

if TYPE_CHECKING:
    from rich.console import RenderableType

    from lingen_cli.media.images.orientation import Image
    from lingen_cli.media.probe import VideoInfo

_SHEET_FRAME = (320, 320)  # box of one frame, pixels


def show(
    videos: Videos,
    sheet: Annotated[
        Path | None, typer.Option(help="Also write the contact sheet to this PNG file.")
    ] = None,
    as_json: JsonPerVideo = False,
    frames: Annotated[
        int, typer.Option(min=1, max=64, help="Number of frames on the contact sheet.")
    ] = 8,
    verbose: Annotated[
        bool, typer.Option("--verbose", help="Print the whole recipe, with all hashes.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the PNG file.")] = False,
    frame: Annotated[
        str | None,
        typer.Option(
            metavar="TIME", help="Write the frame at this time, such as 3.5s or end, to a PNG file."
        ),
    ] = None,
) -> None:
    """Show a contact sheet of videos, and how they were made; or write a frame of one.

    With --frame, name the video and the PNG file.
    """
    from lingen_cli.files.numbered import images_at
    from lingen_cli.media.formats.numbered_images import image_info
    from lingen_cli.media.images.image_files import publish_png
    from lingen_cli.media.metadata import read_recipe
    from lingen_cli.media.probe import video_info
    from lingen_cli.terminal.each_file import for_each

    if sheet is not None and sheet.suffix.lower() != ".png":
        raise InvalidOptionError(f"--sheet writes PNG, the name must end in .png: {sheet.name!r}")
    if frame is not None:
        if sheet is not None or as_json:
            raise InvalidOptionError("--frame writes one PNG alone: leave out --sheet and --json")
        _write_frame(frame, videos, overwrite=overwrite)
        return
    if sheet is not None and len(videos) > 1:
        raise InvalidOptionError("--sheet is for one video; for many: lingen gallery")

    def one(video: Path) -> None:
        recipe, numbered = read_recipe(video), images_at(video)
        info = image_info(numbered, recipe) if numbered else video_info(video)
        if sheet is not None:
            publish_png(sheet, _contact_sheet(video, info, frames)[0], overwrite)
        if as_json:
            console.result(json.dumps(_as_json(video, info, recipe, sheet)))
            return
        if sys.stdout is not None and sys.stdout.isatty():
            from lingen_cli.terminal.terminal_image import TerminalImage

            drawn, times = _contact_sheet(video, info, frames, labels=False)
            _render(TerminalImage(drawn))
            console.result("at " + ", ".join(f"{time:.1f}" for time in times) + " s")
        _print(video, info, recipe, verbose=verbose)
        if sheet is not None:
            console.result(f"contact sheet: {printable(sheet)}")
        if video != videos[-1]:
            console.result("")

    for_each(videos, one)


def _contact_sheet(
    video: Path, info: "VideoInfo", count: int, *, labels: bool = True
) -> tuple["Image", list[float]]:
    """The sheet and the times of its frames; as labels, these need more pixels than a terminal
    has."""
    from lingen_cli.media.formats.numbered_images import some_of
    from lingen_cli.media.images.contact_sheet import contact_sheet, sheet_times
    from lingen_cli.media.reader import frames_at

    count = min(count, info.frames or count)
    times = sheet_times(info.duration or 0.0, count) if info.duration else [0.0]
    if info.codec == "png":
        images = some_of(video, count, _SHEET_FRAME)
        return contact_sheet(images, times if labels and info.duration else None), times
    images = list(frames_at(video, times, box=_SHEET_FRAME))
    return contact_sheet(images, times if labels else None), times


def _write_frame(frame: str, names: list[Path], *, overwrite: bool) -> None:
    """Write the image on screen at a time, upright, in its own size and square pixels."""
    from lingen_cli.inputs.frame_rates import parse_moment
    from lingen_cli.media.images.image_files import publish_png
    from lingen_cli.media.images.resize import Fit
    from lingen_cli.media.probe import examine
    from lingen_cli.media.reader import frames_at

    if len(names) != 2 or names[1].suffix.lower() != ".png":
        raise InvalidOptionError(
            "name a video, a time and a PNG file, such as: lingen show VIDEO --frame 3.5s first.png"
        )
    video, target = names
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
    publish_png(target, image, overwrite)
    console.path(target)


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
            "sound": info.sound,
        },
        "recipe": recipe,
        "sheet": None if sheet is None else str(sheet),
    }


def _print(video: Path, info: "VideoInfo", recipe: dict[str, Any] | None, *, verbose: bool) -> None:
    rows = [("file", str(video))]
    if recipe is not None:
        rows += _made(video, recipe)
    rows += [
        ("size", f"{info.width} x {info.height}"),
        ("frame rate", "unknown" if info.fps is None else f"{float(info.fps):g} per second"),
        ("frames", "unknown" if info.frames is None else str(info.frames)),
        ("duration", "unknown" if info.duration is None else f"{info.duration:.3f} s"),
        ("codec", info.codec),
    ]
    if info.sound is not None:
        rows.append(("sound", info.sound))
    if info.rotation:
        rows.append(("rotation", f"{info.rotation} degrees"))
    if recipe is not None and verbose:
        rows += [(f"recipe: {key}", value) for key, value in _rows(recipe)]
    console.result(_table(rows))
    if recipe is None:
        console.result("no lingen recipe")


def _made(video: Path, recipe: dict[str, Any]) -> list[tuple[str, str]]:
    """Rows about how a video was made: what people look for first."""
    import shlex

    from lingen_cli.requests.recipe import sampling_in

    sampling = sampling_in(recipe)
    names = {
        "seed": sampling["seed"],
        "made again by": shlex.join(["lingen", "rerun", str(video)]),
        "model": recipe.get("model"),
        "steps": sampling["steps"],
        "guidance": sampling["guidance"],
        "sampler": sampling["sampler"],
        "negative": sampling["negative"] or None,
    }
    prompts = [recipe.get("prompt")]
    edits = recipe.get("edits")
    prompts += [one.get("prompt") for one in edits or () if isinstance(one, dict)]
    lines = dict.fromkeys(one for one in prompts if isinstance(one, str) and one)
    rows = [("prompt" if number == 0 else "then", text) for number, text in enumerate(lines)]
    return rows + [(name, _plain(value)) for name, value in names.items() if value is not None]


def _render(renderable: "RenderableType") -> None:
    """Print through rich, and through the one place that knows what a closed or full output
    means."""
    from rich.console import Console

    screen = Console()
    with screen.capture() as captured:
        screen.print(renderable)
    console.result(captured.get().removesuffix("\n"))


def _table(rows: list[tuple[str, str]]) -> str:
    """Values come from files of strangers: no control characters."""
    from lingen_cli.terminal.tables import columns

    return columns((printable(key), printable(value)) for key, value in rows)


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
