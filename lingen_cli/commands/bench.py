"""`lingen bench`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lingen_cli.commands.options import Device
from lingen_cli.errors import InvalidOptionError
from lingen_cli.terminal import console, signals
from lingen_cli.usage.completion import completed

if TYPE_CHECKING:
    from lingen_training.bench.cases import Case


def bench(
    preset: Annotated[
        str,
        typer.Option(
            help="mini, small, base, 1b, 4b, or paper for the paper's rows.",
            autocompletion=completed("preset"),
        ),
    ] = "mini",
    lengths: Annotated[
        str | None,
        typer.Option(metavar="S,S,...", help="Seconds of video.", show_default="4,10,17,34,60"),
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(help="One side or WIDTHxHEIGHT in pixels.", show_default="128"),
    ] = None,
    rounds: Annotated[
        int, typer.Option(min=1, max=1000, help="Timed runs per length, after one warm-up.")
    ] = 3,
    limit: Annotated[
        float, typer.Option(help="A step that would take more seconds is not timed.")
    ] = 120.0,
    clock: Annotated[
        str,
        typer.Option(
            help="On a CPU: wall-clock (wall) or CPU time (processor).",
            autocompletion=completed("clock"),
        ),
    ] = "wall",
    device: Device = "auto",
    output: Annotated[
        Path, typer.Option("--output", "-o", help="A folder for bench.json, .md and .png.")
    ] = Path("bench"),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the files in the output folder.")
    ] = False,
) -> None:
    """Measure LinGen beside its DiT twin of the same size: FLOPs, time, memory.

    Both have random weights and are timed in turn, in one process. Prints a table in markdown.
    """
    from lingen_cli.files.work_folder import WorkFolder, check_target
    from lingen_cli.requests.new_video import check_device

    if not limit >= 0:  # also refuses nan
        raise InvalidOptionError("--limit must be a number of seconds, at least 0")
    if clock not in ("wall", "processor"):
        raise InvalidOptionError(f"--clock must be wall or processor, not {clock!r}")
    check_device(device)
    chosen = _cases(preset, lengths, size)
    drawn = output / "bench.png", output / "bench.md"
    made = not output.exists()
    output.mkdir(parents=True, exist_ok=True)
    try:
        for target in drawn:
            check_target(target, overwrite)
        with (
            signals.announced(),
            WorkFolder(output / "bench.json", overwrite=overwrite) as work,
        ):
            from lingen_cli.terminal.tables import aligned
            from lingen_cli.zoo.load_model import find_device
            from lingen_training.bench import measure
            from lingen_training.bench.bench_report import draw, table

            result = measure.bench(
                preset,
                chosen,
                device=find_device(device),
                rounds=rounds,
                limit=limit,
                clock=clock,
                report=console.note,
            )
            text, report = json.dumps(result, indent=2), aligned(table(result))
            image = draw(result, work.temporary(".png"))
            words = work.temporary(".md")
            words.write_text(report + "\n", encoding="utf-8")
            whole = work.temporary(".json")
            whole.write_text(text + "\n", encoding="utf-8")
            pairs = zip((image, words), drawn, strict=True)
            work.publish(whole, beside=[(one, target) for one, target in pairs if one is not None])
    except BaseException:
        if made and not any(output.iterdir()):
            output.rmdir()
        raise
    console.result(text if as_json else report)
    console.note(f"lingen: full result in {output / 'bench.json'}")


def _cases(preset: str, lengths: str | None, size: str | None) -> list[Case]:
    """What is measured. Raises InvalidOptionError (2)."""
    from lingen_cli.inputs.frame_rates import parse_lengths
    from lingen_cli.requests.new_video import parse_size
    from lingen_models.network_config import PRESETS
    from lingen_training.bench.cases import PAPER, STRIDE, chosen

    if preset == PAPER:
        if lengths is not None or size is not None:
            raise InvalidOptionError("--preset paper has lengths and sizes of its own")
        return chosen(PAPER, (), (0, 0))
    if preset not in PRESETS:
        known = ", ".join([*PRESETS, PAPER])
        raise InvalidOptionError(f"--preset must be one of {known}, not {preset!r}")
    pixels = parse_size(128 if size is None else size, STRIDE * PRESETS[preset].patch[1])
    return chosen(
        preset, parse_lengths("4,10,17,34,60" if lengths is None else lengths, "--lengths"), pixels
    )
