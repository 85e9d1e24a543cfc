"""`lingen evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def evaluate(
    model: Annotated[str, typer.Option(help="A name from `lingen models list`.")] = "lingen-mini",
    weights: Annotated[Path | None, typer.Option(help="A folder with weights of your own.")] = None,
    clips: Annotated[int, typer.Option(min=1, help="Clips that are judged.")] = 200,
    seconds: Annotated[float, typer.Option(help="Length of each of them.")] = 4.0,
    long_clips: Annotated[
        int, typer.Option(min=0, help="Long clips, whose end is compared with their beginning.")
    ] = 20,
    long_seconds: Annotated[float, typer.Option(help="Length of each of them.")] = 60.0,
    sampler: Annotated[str | None, typer.Option(help="A sampler; else the model's.")] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, max=1000, help="Sampling steps; else the model's.")
    ] = None,
    guidance: Annotated[
        float | None, typer.Option(min=0, max=100, help="Guidance; else the model's.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Chooses the prompts and the noise.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    output: Annotated[
        Path, typer.Option("--output", "-o", help="A .json file for the full result.")
    ] = Path("results.json"),
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the output.")] = False,
) -> None:
    """Measure how well a model follows prompts.

    Clips are made from held-out prompts and judged from their pixels. Prints a table in markdown,
    in which real renders stand beside the model.
    """
    import json

    from lingen_cli import console, stopping
    from lingen_cli.errors import InvalidOptionError
    from lingen_cli.preflight import check_device
    from lingen_cli.publish import WorkFolder
    from lingen_cli.timing import MAX_SECONDS
    from lingen_cli.zoo import locate, open_registry

    for name, length in (("--seconds", seconds), ("--long-seconds", long_seconds)):
        if not 0 < length <= MAX_SECONDS:  # also refuses nan
            raise InvalidOptionError(f"{name} must be above 0 and at most {MAX_SECONDS:g}")
    if output.suffix.lower() != ".json":
        raise InvalidOptionError(f"--output must end in .json, not {str(output)!r}")
    check_device(device)
    registry = open_registry(console.warning)
    located = locate(registry, model, weights)
    variant = located.variant
    solver = registry.samplers[sampler or variant.sampler]
    with stopping.announced(), WorkFolder(output, overwrite=overwrite) as work:
        from lingen_cli.generation import load_model
        from lingen_cli.recording import versions
        from lingen_training import evaluate as evaluation

        result = evaluation.evaluate(
            load_model(located, device),
            clips=clips,
            seconds=seconds,
            long_clips=long_clips,
            long_seconds=long_seconds,
            steps=variant.steps if steps is None else steps,
            guidance=variant.guidance if guidance is None else guidance,
            sampler=solver.build(),
            schedule=solver.schedule,
            guided_after=solver.guided_after,
            size=variant.size,
            seed=seed,
            report=console.note,
        )
        result |= {
            "model": model,
            "sampler": solver.name,
            "weights": located.hashes,
            "versions": versions(),
        }
        temporary = work.temporary(".json")
        temporary.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
        work.publish(temporary)
    console.result(evaluation.markdown_table(result))
    console.note(f"lingen: full result in {output}")
