"""`lingen layout`."""

from __future__ import annotations

from typing import Annotated

import typer

from lingen_cli.commands.options import PlannedModel
from lingen_cli.errors import BadDataError, InvalidOptionError
from lingen_cli.terminal import console


def layout(
    prompt: Annotated[str, typer.Argument(metavar="PROMPT", help="What the video shows.")],
    seed: Annotated[int, typer.Option(min=0, help="Seed of the video.")] = 0,
    seconds: Annotated[float, typer.Option(min=0.1, max=3600, help="Length in seconds.")] = 4.0,
    model: PlannedModel = None,
) -> None:
    """Print where the model would place the objects of a prompt, as JSON.

    Change it and hand it to `lingen generate --layout FILE`.
    """
    from lingen_cli.inputs.layout_file import DrawnLayout
    from lingen_cli.inputs.prompts import check_prompt
    from lingen_cli.inputs.settings import load
    from lingen_cli.zoo.describe import known_words
    from lingen_cli.zoo.locate import find_model, open_registry
    from lingen_models.networks.word_encoder import unknown_in, with_synonyms
    from lingen_models.sampling.layout import instant_frames
    from lingen_plugins.contracts import ModelVariant

    text = check_prompt(prompt)
    registry = open_registry(console.warning)
    variant = find_model(registry, load({"model": model}).values.model)
    if not isinstance(variant, ModelVariant) or variant.plan_layout is None:
        raise InvalidOptionError(f"{variant.name} plans no layouts")
    stride = registry.autoencoders[variant.autoencoder].time_stride
    count = 1 + -(-round(seconds * variant.fps - 1) // stride)
    known = known_words(variant)
    unknown = [] if known is None else unknown_in(text, known)
    read = text if known is None else with_synonyms(text, known)
    frames = instant_frames(range(count), stride)
    planned = variant.plan_layout(read, seed, frames, None, unknown)
    if planned is None:
        raise BadDataError(
            f"{variant.name} plans layouts for prompts that name one or two things it knows, "
            "such as: a red ball bounces on green grass"
        )
    console.result(DrawnLayout.of(planned, variant.fps).model_dump_json(indent=1))
