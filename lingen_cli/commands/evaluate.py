"""`lingen evaluate`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lingen_cli.commands.options import Device, GivenSampling, grouped_options
from lingen_cli.errors import InvalidOptionError
from lingen_cli.exit_codes import Terminated
from lingen_cli.terminal import console, signals
from lingen_cli.usage.completion import completed

if TYPE_CHECKING:
    from lingen_cli.inputs.settings import SamplingOverrides
    from lingen_cli.zoo.locate import LocatedModel
    from lingen_models.sampling.params import SamplingParams


@grouped_options
def evaluate(
    model: Annotated[
        str,
        typer.Option(help="A name from `lingen models list`.", autocompletion=completed("model")),
    ] = "lingen-mini",
    weights: Annotated[
        Path | None,
        typer.Option(help="A folder with weights of your own.", show_default="the model's"),
    ] = None,
    models: Annotated[
        str | None,
        typer.Option(
            metavar="NAME,NAME=FOLDER,...", help="Models to compare; the first is the baseline."
        ),
    ] = None,
    clips: Annotated[int, typer.Option(min=0, help="Clips that are judged.")] = 200,
    seconds: Annotated[float, typer.Option(help="Length of each of them.")] = 4.0,
    natural_clips: Annotated[
        int, typer.Option(min=0, help="Clips from prompts as people write them, also judged.")
    ] = 60,
    long_clips: Annotated[
        int, typer.Option(min=0, help="Long clips, whose end is compared with their beginning.")
    ] = 20,
    long_seconds: Annotated[float, typer.Option(help="Length of each of them.")] = 60.0,
    loss_clips: Annotated[
        int, typer.Option(min=2, help="With --models: clips of 4 s whose loss is compared.")
    ] = 16,
    loss_seconds: Annotated[
        str, typer.Option(metavar="SECONDS,...", help="With --models: lengths of such clips.")
    ] = "4,17,60",
    size: Annotated[
        int | None, typer.Option(min=64, help="Pixels per side.", show_default="the model's")
    ] = None,
    sampling: GivenSampling = None,
    device: Device = "auto",
    output: Annotated[
        Path, typer.Option("--output", "-o", help="A .json file for the full result.")
    ] = Path("results.json"),
    gallery: Annotated[
        bool, typer.Option(help="Keep the clips beside the output, and a page that shows them.")
    ] = True,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the output.")] = False,
) -> None:
    """Measure how well a model follows prompts, or several models side by side.

    Clips are made from held-out prompts and judged from their pixels; --seed chooses the prompts
    and the noise. Prints a table in markdown, in which real renders stand beside the model. With
    --models, their losses on the same held-out clips are compared too, and drawn over the position
    in time beside the output. Ctrl-C keeps what was judged, in OUTPUT.partial.json.
    """
    from lingen_cli.files.work_folder import WorkFolder, check_target, publish
    from lingen_cli.gallery.clips import ClipFolder
    from lingen_cli.inputs.frame_rates import MAX_SECONDS, parse_lengths
    from lingen_cli.inputs.settings import sampling_given
    from lingen_cli.requests.new_video import check_device, parse_size
    from lingen_cli.terminal.progress import Progress
    from lingen_cli.terminal.tables import aligned
    from lingen_cli.zoo.locate import locate, open_registry, side_step

    for name, length in (("--seconds", seconds), ("--long-seconds", long_seconds)):
        if not 0 < length <= MAX_SECONDS:  # also refuses nan
            raise InvalidOptionError(f"{name} must be above 0 and at most {MAX_SECONDS:g}")
    if output.suffix.lower() != ".json":
        raise InvalidOptionError(f"--output must end in .json, not {str(output)!r}")
    if models is None and not clips:
        raise InvalidOptionError("--clips 0 leaves nothing to measure without --models")
    if models is not None and weights is not None:
        raise InvalidOptionError("with --models, weights are said as NAME=FOLDER, not by --weights")
    check_device(device)
    lengths = parse_lengths(loss_seconds, "--loss-seconds")
    registry = open_registry(console.warning)
    named = {model: (model, weights)} if models is None else _named(models)
    for name, _ in named.values():
        registry.model_variants[name]  # weights from elsewhere know nothing of the playground
    located = {label: locate(registry, *one) for label, one in named.items()}
    if size is not None:
        for name, folder in named.values():
            parse_size(size, side_step(registry, registry.model_variants[name], folder))
    given = sampling_given(sampling or {})
    sampled = {label: _params_of(one, given) for label, one in located.items()}
    for params in sampled.values():
        registry.samplers[params.sampler]
    if models is not None:
        check_target(output.with_suffix(".png"), overwrite)
    clip_folder = ClipFolder(output, overwrite=overwrite) if gallery else None
    results: dict[str, dict[str, Any]] = {}
    with (
        signals.announced(),
        WorkFolder(output, overwrite=overwrite) as work,
        Progress() as progress,
    ):
        from lingen_cli.requests.write_recipe import versions
        from lingen_cli.zoo.load_model import load_model
        from lingen_training.evaluation import quality_table

        def tell(phase: str, done: int, total: int) -> None:
            if done:
                progress.advance(done)
            else:
                progress.phase(phase, total)

        def measured(name: str, one: LocatedModel) -> None:
            variant = registry.model_variants[one.variant.name]
            params = sampled[name]
            pipe = load_model(one, device)
            side = variant.size if size is None else size
            results[name] = found = {
                "model": variant.name,
                "sampler": params.sampler,
                "weights": one.hashes,
                "versions": versions(),
            }
            quality_table.evaluate(
                pipe,
                params,
                registry.samplers[params.sampler].method(),
                clips=clips,
                seconds=seconds,
                natural_clips=natural_clips if clips else 0,
                long_clips=long_clips,
                long_seconds=long_seconds,
                size=side,
                report=progress.note,
                progress=tell,
                into=found,
                seen=lambda clip: clip_folder.keep(name, clip) if clip_folder else None,
            )
            if models is not None:
                from lingen_training.evaluation.position_losses import validation_losses

                found["losses"] = validation_losses(
                    pipe,
                    clips=loss_clips,
                    seconds=lengths,
                    size=side,
                    seed=params.seed,
                    report=progress.note,
                )

        def keep(target: Path) -> None:
            temporary = work.temporary(".json")
            whole = results[model] if models is None else results
            temporary.write_text(json.dumps(whole, indent=2) + "\n", encoding="utf-8")
            publish(temporary, target, overwrite or target != output)
            if clip_folder is not None:
                clip_folder.write_page()

        try:
            for name, one in located.items():
                if models is not None:
                    progress.note(name)
                measured(name, one)
        except (KeyboardInterrupt, Terminated):
            if results:
                partial = output.with_suffix(".partial.json")
                keep(partial)
                progress.note(f"what was judged is kept in {partial}")
            raise
        keep(output)
    if models is None:
        console.result(aligned(quality_table.markdown_table(results[model])))
    else:
        from lingen_training.evaluation.position_losses import comparison_table, draw_losses

        console.result(aligned(comparison_table(results)))
        if draw_losses(results, image := output.with_suffix(".png")):
            console.note(f"lingen: losses drawn in {image}")
    console.note(f"lingen: full result in {output}")
    if clip_folder is not None and clip_folder.page.exists():
        console.note(f"lingen: all clips in {clip_folder.page}")


def _params_of(model: LocatedModel, given: SamplingOverrides) -> SamplingParams:
    """Sampling parameters of a model for prompts of the playground."""
    from lingen_cli.requests.capabilities import overridden, params_of, plans_prompts

    plans = plans_prompts(model.variant, model.folder, ())  # all of them
    planned = plans and given.values.get("plan_layout", True)
    return overridden(params_of(model.variant, planned=planned), given, model.variant)


def _named(text: str) -> dict[str, tuple[str, Path | None]]:
    """`NAME,NAME=FOLDER,...`: names and folders, by name, or by both where a name is there twice.

    Raises InvalidOptionError (2).
    """
    parts = [one.strip() for one in text.split(",")]
    names = [one.partition("=")[0] for one in parts]
    if not all(names) or len(set(parts)) < len(parts):
        raise InvalidOptionError(f"--models must be different names or folders, not {text!r}")
    found: dict[str, tuple[str, Path | None]] = {}
    for one, name in zip(parts, names, strict=True):
        folder = one.partition("=")[2]
        found[one if names.count(name) > 1 else name] = (name, Path(folder) if folder else None)
    return found
