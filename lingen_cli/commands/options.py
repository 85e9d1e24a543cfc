"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

OUTPUT = "Output"
"""The panel of the help text."""

Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace the output.", rich_help_panel=OUTPUT)
]
NoMetadata = Annotated[
    bool,
    typer.Option(
        "--no-metadata",
        help="Write no recipe into the video; then lingen cannot rerun or verify it.",
        rich_help_panel=OUTPUT,
    ),
]
Preview = Annotated[
    bool,
    typer.Option(
        "--preview", help="Draw the latents in the terminal as they form.", rich_help_panel=OUTPUT
    ),
]
Events = Annotated[
    str | None,
    typer.Option(
        help="Write one JSON object per line to a file; - is standard output.",
        rich_help_panel=OUTPUT,
    ),
]
AsJson = Annotated[
    bool, typer.Option("--json", help="Short for --events -.", rich_help_panel=OUTPUT)
]
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="Print errors only.", rich_help_panel=OUTPUT)
]
MovedImage = Annotated[
    Path | None, typer.Option(help="The picture it starts from, if that has moved.")
]
MovedLastImage = Annotated[
    Path | None, typer.Option(help="The picture it ends in, if that has moved.")
]
MovedWeights = Annotated[
    Path | None, typer.Option(help="The folder of its weights, if that has moved.")
]
AcceptLicence = Annotated[
    bool,
    typer.Option(
        "--accept-licence",
        help="Accept the licence of open weights from elsewhere; asked for once.",
    ),
]
