"""The built-in model zoo."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from lingen_models.network_config import PRESETS, SCAN_ORDERS, LinGenConfig, WordsConfig
from lingen_models.sampling.layout import Keyframe, Layout, LayoutObject
from lingen_plugins.contracts import Config, ModelVariant, Weights
from lingen_plugins.hookspecs import hookimpl

if TYPE_CHECKING:
    from torch import Tensor

    from lingen_models.networks.denoiser import LinGen


def build_lingen(config: Config) -> LinGen:
    """A fresh denoiser with random weights."""
    from lingen_models.networks.denoiser import LinGen

    return LinGen(LinGenConfig.from_dict(config))


def plans(prompt: str) -> bool:
    """Tell whether `plan_layout` has a plan for a prompt."""
    from lingen_playground import read_prompt

    return read_prompt(prompt) is not None


def plan_layout(
    prompt: str,
    seed: int,
    frames: Sequence[float],
    before: Layout | None,
    unknown: Collection[str] = (),
) -> Layout | None:
    """Plan where the objects of a prompt are at these video frames, as in a random scene of the
    playground that shows what it says; None where it names none, or more than two, or says more
    than what these objects are and do. Words that are `unknown` to the weights are passed over."""
    from lingen_models.networks.word_encoder import PLACE_WORDS, known_form, split_words
    from lingen_playground import read_prompt, vocabulary
    from lingen_playground.layout_planner import Place, plan_objects

    said = read_prompt(prompt, unknown)
    if said is None:
        return None
    described = (word for one in said.objects for word in one.described)
    read = PLACE_WORDS.union(unknown, described)
    captioned = frozenset(vocabulary())
    if any(
        word not in read and known_form(word, captioned) is None for word in split_words(prompt)
    ):
        return None
    now = [] if before is None else [one for one in before.objects if one.is_there(frames[0])]
    places = [
        Place(one.phrase, at.x, at.y, at.radius) for one in now for at in (one.at(frames[0]),)
    ]
    planned = plan_objects(prompt, seed, frames, places, unknown)
    assert planned is not None
    objects = []
    for one in planned.objects:
        rows = zip(frames, one.discs.tolist(), strict=True)
        path = tuple(Keyframe(at, x, y, r, math.degrees(angle)) for at, (x, y, r, angle) in rows)
        objects.append(LayoutObject(one.phrase, path))
    return Layout(tuple(objects), planned.prompt)


def locate_objects(image: Tensor) -> Layout:
    """Find the objects of the playground in an image (H, W, 3) uint8."""
    from lingen_playground.layout_planner import places_in

    return Layout(
        tuple(
            LayoutObject(one.phrase, (Keyframe(0.0, one.x, one.y, one.radius),))
            for one in places_in(image)
        )
    )


def tiny(config: LinGenConfig) -> LinGenConfig:
    """The same architecture, small enough to run in a test: two layers of width 32."""
    return replace(
        config,
        width=32,
        depth=2,
        head_dim=16,
        ssm_head_dim=16,
        state_size=16,
        chunk=16,
        window=(4, 2, 2),
        text_dims=tuple(32 for _ in config.text_dims),
        position_grid=(8, 4, 4),
    )


ABLATIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "lingen-mini-no-review": ("lingen-mini without review tokens", {"review": "none"}),
    "lingen-mini-review-front": (
        "lingen-mini with review tokens for the forward direction alone",
        {"review": "front"},
    ),
    "lingen-mini-row-major": ("lingen-mini that reads every layer row by row", {}),
    "lingen-mini-zigzag": ("lingen-mini that reads every second line backwards", {}),
    "lingen-mini-hilbert": ("lingen-mini that reads along Hilbert's curve", {}),
    "lingen-mini-no-tesa": ("lingen-mini without window attention", {"tesa_branch": False}),
    "lingen-mini-no-mamba": ("lingen-mini with window attention alone", {"mamba_branch": False}),
    "dit-mini": (
        "lingen-mini with full attention: a diffusion transformer",
        {"mixer": "attention"},
    ),
}
"""Summary, and what differs from `lingen-mini`; where a scan order differs, the name ends in it."""


def _ablation(mini: ModelVariant, name: str) -> ModelVariant:
    """`mini` with another network, for `lingen train ablation --model NAME`."""
    summary, changes = ABLATIONS[name]
    order = next((one for one in SCAN_ORDERS if name.endswith(f"-{one}")), mini.scan_order)
    config = replace(PRESETS["mini"], scan_axes=SCAN_ORDERS[order], **changes)
    return replace(
        mini,
        name=name,
        summary=summary,
        config=config.to_dict(),
        tiny_config=tiny(config).to_dict(),
        scan_order=order,
        review=config.review,
        weights=None,
        recipe="ablation",
    )


@hookimpl
def register_model_variants() -> list[ModelVariant]:
    """`lingen-mini`, whose weights are in the package; `lingen-4b` and the variants of the
    ablation, of which none are."""
    mini = PRESETS["mini"]
    # The paper's three encoders are not built in; what can be trained today reads the one that is.
    full = replace(PRESETS["4b"], text_dims=(WordsConfig().width,))
    shipped = ModelVariant(
        name="lingen-mini",
        summary="128 x 128, 16 fps, up to a minute; trained on the playground",
        build=build_lingen,
        config=mini.to_dict(),
        tiny_config=tiny(mini).to_dict(),
        autoencoder="tae",
        text_encoders=("playground-words",),
        scan_order="rms",
        review=mini.review,
        sampler="dpm-multistep",
        steps=10,
        guidance=2.0,
        weights=Weights(package="lingen_models", folder="weights/lingen-mini"),
        license="Apache-2.0",
        plan_layout=plan_layout,
        plans=plans,
        planned_sampling={"steps": 3, "guidance_interval": (0.05, 0.4)},
        locate_objects=locate_objects,
    )
    few_steps = replace(
        shipped,
        name="lingen-mini-4step",
        summary="lingen-mini distilled to 4 steps of one pass each, guidance folded in",
        sampler="euler-shifted",
        steps=4,
        guidance=1.0,
        planned_sampling={},
        weights=None,
        recipe="lingen-mini-4step",
    )
    return [
        shipped,
        few_steps,
        *(_ablation(shipped, name) for name in ABLATIONS),
        ModelVariant(
            name="lingen-4b",
            summary="the size of the paper, 4 billion parameters; no weights exist",
            build=build_lingen,
            config=full.to_dict(),
            tiny_config=tiny(full).to_dict(),
            autoencoder="tae",
            text_encoders=("playground-words",),
            scan_order="rms",
            review=full.review,
            sampler="euler",
            weights=None,
            license="Apache-2.0",
            size=512,
            trained_seconds=68.0,
            steps=50,
            guidance=7.5,
        ),
    ]
