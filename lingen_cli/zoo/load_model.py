"""Pipelines of located models: weights are read, and placed on a device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lingen_cli.errors import BadDataError, NotAvailableError
from lingen_cli.installation import plugin_parts
from lingen_models.checkpoints.safetensors import CheckpointError
from lingen_plugins.contracts import PLAIN, HubModel, ModelVariant, WeightFormats

if TYPE_CHECKING:
    import torch

    from lingen_cli.zoo.locate import LocatedModel
    from lingen_models.pipelines.protocol import VideoPipeline
    from lingen_models.pipelines.text_to_video import TextToVideo


@dataclass(frozen=True, kw_only=True)
class WeightFile:
    """A file of weights beside a model, and the place that its name stands for."""

    name: str
    """Its file, absolute, or `owner/name@commit/FILE`."""
    path: Path
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Lora(WeightFile):
    """A LoRA, and how strong it is."""

    scale: float


def load_pipeline(
    model: LocatedModel,
    device: str,
    dtype: str | None = None,
    loras: Sequence[Lora] = (),
    formats: WeightFormats = PLAIN,
) -> VideoPipeline:
    """Read the weights of `model`, whichever kind of model that is; else as `load_model`.

    It gets its LoRAs: BadDataError (65) for those of another model.
    """
    variant = model.variant
    pipe: VideoPipeline
    with plugin_parts.found():
        if isinstance(variant, HubModel):
            folder = next(iter(model.files.values())).parent
            given = {"formats": formats} if variant.takes_formats else {}
            precision = _dtype(dtype, find_device(device))
            pipe = variant.build(folder, "cpu", precision, **given)  # until it is placed
        else:
            check_loras(model, loras)
            pipe = load_model(model, device, dtype)
        if loras:
            pipe.add_loras([(one.path, one.scale) for one in loras])
    return pipe


def check_loras(model: LocatedModel, loras: Sequence[Lora]) -> None:
    """Raise BadDataError (65) for LoRAs that were trained on other weights than those of a model of
    lingen; diffusers looks at those of its models."""
    if not loras or isinstance(model.variant, HubModel) or "denoiser" not in model.hashes:
        return
    from lingen_models.checkpoints.lora import check_base

    with plugin_parts.found():
        for one in loras:
            check_base(one.path, model.hashes["denoiser"])


def load_model(model: LocatedModel, device: str, dtype: str | None = None) -> TextToVideo:
    """Read the weights of `model`; `device` may be `auto`, `dtype` defaults to the device's own.

    Raises BadDataError (65) for weights that are damaged, NotAvailableError (69) for a device that
    is not there.
    """
    from lingen_models.checkpoints.pretrained import FrozenText
    from lingen_models.pipelines.text_to_video import TextToVideo

    variant = model.variant
    place = find_device(device)
    precision = _dtype(dtype, place)
    try:
        given = {model.files[part]: one.build() for part, one in model.foreign.items()}
        pipe = TextToVideo.load(
            denoiser=model.files["denoiser"],
            autoencoder=model.files["autoencoder"],
            text_encoders=model.text_encoders,
            device=place,
            dtype=precision,
            given={
                path: one.to(place, precision if isinstance(one, FrozenText) else None)
                for path, one in given.items()
            },
        )
    except CheckpointError as error:
        raise BadDataError(str(error)) from error
    if isinstance(variant, ModelVariant):
        pipe.planner, pipe.locator = variant.plan_layout, variant.locate_objects
    return pipe


def find_device(name: str) -> str:
    """`auto` is the GPU where there is one; for a CPU, this process then keeps what it frees.

    Raises NotAvailableError (69) for an absent one.
    """
    import torch

    from lingen_models.malloc import keep_freed_memory

    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise NotAvailableError("device cuda is not available; use --device cpu")
    if name == "auto":
        name = "cuda" if available else "cpu"
    if name == "cpu":
        keep_freed_memory()
    return name


def _dtype(name: str | None, device: str) -> torch.dtype:
    """The type of a name; without one, that of the device."""
    import torch

    from lingen_models.precision import compute_dtype

    if name is None:
        return compute_dtype(device)
    known = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    if name not in known:
        raise BadDataError(f"the recipe names an unknown dtype: {name!r}")
    return known[name]
