"""`lingen story check`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from lingen_cli.commands.options import PlannedModel
from lingen_cli.errors import BadDataError
from lingen_cli.terminal import console

app = typer.Typer(help="Stories: several shots in one video.", no_args_is_help=True)


@app.command()
def check(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A TOML file of shots.")],
    model: PlannedModel = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Find gaps, overlaps, wrong lengths and unknown words, by line; print the shots."""
    from lingen_cli.inputs.settings import load
    from lingen_cli.inputs.story import StoryError, read_story
    from lingen_cli.terminal.tables import columns
    from lingen_cli.zoo.locate import find_model, locate, open_registry
    from lingen_models.networks.word_encoder import unknown_in
    from lingen_plugins.contracts import HubModel

    try:
        shots = read_story(file)
    except StoryError as error:
        for problem in error.problems[:-1]:
            console.note(problem)
        raise BadDataError(error.problems[-1]) from None
    settings = load({"model": model}).values
    registry, strange, known = open_registry(console.note), 0, set[str]()
    reads_all = isinstance(find_model(registry, settings.model, settings.weights), HubModel)
    if not reads_all:
        located = locate(registry, settings.model, settings.weights)
        reads_all = any(part.startswith("text_encoder") for part in located.foreign)
        known = set() if reads_all else _known_words(located.text_encoders)
    for shot in shots if not reads_all else ():
        for word in unknown_in(shot.prompt, known):
            strange += 1
            console.note(f"{file}:{shot.line}: {settings.model} does not know {word!r}")
    if as_json:
        records = [
            {
                "from": float(shot.begin),
                "to": float(shot.end),
                "cut": shot.cut,
                "prompt": shot.prompt,
                "line": shot.line,
            }
            for shot in shots
        ]
        console.result(json.dumps({"shots": records, "unknown_words": strange}))
        return
    rows = [
        (
            str(number),
            f"{float(shot.begin):.2f}",
            f"{float(shot.end):.2f}",
            "cut" if shot.cut else "smooth" if number > 1 else "",
            shot.prompt,
        )
        for number, shot in enumerate(shots, start=1)
    ]
    console.result(columns(rows, head=("shot", "from", "to", "begins", "prompt")))
    console.note(f"lingen: ok, {len(shots)} shots, {float(shots[-1].end):g} s")


def _known_words(encoders: tuple[Path, ...]) -> set[str]:
    """Every word that one of these text encoders has met."""
    from lingen_models.checkpoints.safetensors import CheckpointError, read_metadata

    try:
        configs = [read_metadata(path)["config"] for path in encoders]
        return {word for config in configs for word in config["words"]}
    except (CheckpointError, KeyError, TypeError) as error:
        raise BadDataError(f"these weights name no words: {error}") from error
