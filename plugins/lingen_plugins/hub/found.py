"""Pipelines of `diffusers` that nobody registered, described from the folder that they lie in.

What a signature says (length, size, steps, guidance, images) is read from it, what the networks
say (strides) from their configurations on the meta device. `lingen-model.toml` in the folder says
the rest, and comes first.
"""

from __future__ import annotations

import inspect
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import fields
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from lingen_models.checkpoints.safetensors import CheckpointError
from lingen_plugins.contracts import IMAGES, PLAIN, FoundModel, HubModel, WeightFormats
from lingen_plugins.hub.families import ltx_sound
from lingen_plugins.hub.loading import (
    INDEX,
    class_of,
    index_of,
    is_modular,
    networks_of,
    one_line,
    parts_of,
    read_index,
)
from lingen_plugins.hub.modular.blocks import INDEX as MODULAR
from lingen_plugins.hub.modular.blocks import assemble
from lingen_plugins.hub.signatures import FRAMES, RATES, arguments_of, shift_name, strides_of
from lingen_plugins.hub_cache import cached_folder
from lingen_plugins.plugin_errors import MissingFolderError, NotHereError
from lingen_plugins.records import fits

SETTINGS = "lingen-model.toml"
FRAME_RATE = 16
"""Frames per second where nothing says another number."""
LONGEST_SECONDS = 3600
_GIVEN = ("prompt", "negative_prompt", *FRAMES, *RATES, *IMAGES)
_SETTABLE = (
    *("fps", "size", "side_step", "time_stride", "frames", "steps", "guidance"),
    *("negative_prompt", "shift", "license", "license_url", "call"),
)
REPOSITORY = re.compile(r"([A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(?:@([\w./-]+))?")
_EXAMPLE_NEGATIVE = re.compile(r'\bnegative_prompt = "([^"\n]+)"')
_EXAMPLE_RATE = re.compile(r"\bfps=(\d+)\b")
_OTHERWISE = {
    "AllegroPipeline": "turns its images after decoding",
    "HeliosPipeline": "decodes chunk by chunk: use --model helios-14b with --weights FOLDER",
    "HeliosPyramidPipeline": "decodes chunk by chunk",
    "HunyuanVideoFramepackPipeline": "decodes section by section",
    "HunyuanVideoImageToVideoPipeline": "drops images after decoding",
    "LTXI2VLongMultiPromptPipeline": "decodes in tiles of its own: use --model ltx-13b-distilled "
    "with --weights FOLDER",
    "LattePipeline": "decodes image by image",
    "SkyReelsV2DiffusionForcingVideoToVideoPipeline": "goes on with a video: use lingen "
    "extend with --model skyreels-v2-1.3b",
    "StableVideoDiffusionPipeline": "decodes some images at a time",
    "WanAnimatePipeline": "decodes segment by segment",
}
"""Pipelines whose images are not those of one call of their autoencoder, and why."""


def is_place(name: str) -> bool:
    """Tell whether a name of a model is a folder or `owner/name`, not one of a record."""
    return "/" in name or os.sep in name or os.path.isdir(name)


def find_folder(name: str) -> tuple[str, Path]:
    """The full name of a folder or of `owner/name[@revision]`, and the folder.

    Raises MissingFolderError, and NotHereError for a repository that was not downloaded.
    """
    path = Path(name).expanduser()
    repository = REPOSITORY.fullmatch(name)
    if os.path.isdir(path):
        return str(path.absolute()), path.absolute()
    if repository is None:
        raise MissingFolderError(f"no such folder of weights: {name}")
    revision = repository[2] or "main"
    for holds in (INDEX, MODULAR):
        folder = cached_folder(repository[1], revision, holds)
        if folder is not None:
            return f"{repository[1]}@{folder.name}", folder
    raise NotHereError(
        f"no folder {name}, and {repository[1]} at {revision} is not in the cache of "
        f"huggingface_hub: `lingen models pull {name}` fetches it"
    )


def describe(name: str, folder: Path) -> FoundModel:
    """The record of the pipeline in a folder, under a name.

    Raises MissingFolderError, NotHereError, and `CheckpointError` for what is no pipeline for video
    or one that makes its images in another way than by one call of its autoencoder.
    """
    files = [
        folder / INDEX,
        folder / MODULAR,
        folder / SETTINGS,
        *sorted(folder.glob("*/config.json")),
    ]
    state = tuple((str(one), one.stat().st_mtime_ns) for one in files if one.is_file())
    return _describe(name, folder, state)


@lru_cache(maxsize=8)
def _describe(name: str, folder: Path, state: tuple[tuple[str, int], ...]) -> FoundModel:
    if index_of(folder) is None:
        raise MissingFolderError(
            f"no {INDEX} in the folder of weights: {folder}; name that of a whole pipeline of "
            "diffusers, as save_pretrained writes it"
        )
    index = read_index(folder)
    kind = _kind(folder, index)
    for part in parts_of(index):
        if not (folder / part).is_dir():
            raise MissingFolderError(f"a part of the weights is missing: {folder / part}")
    pipe = skeleton(kind, folder, index) if is_modular(index) else None
    signature = inspect.signature(kind.__call__).parameters if pipe is None else arguments_of(pipe)
    length = next((one for one in FRAMES if one in signature), None)
    if (length is None and "video" not in signature) or "vae" not in index:
        raise CheckpointError(f"{folder} is a {kind.__name__}, which makes no video")
    needed = [
        one
        for one, parameter in signature.items()
        if one != "self"
        and parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
    ]
    if unknown := [one for one in needed if one not in _GIVEN]:
        raise CheckpointError(f"{kind.__name__} needs {unknown[0]!r}, which lingen cannot give it")
    pipe = pipe or skeleton(kind, folder, index)
    facts = _facts(kind, signature, pipe)
    sound = ltx_sound.AUTOENCODER in parts_of(index)
    if sound and not ltx_sound.can_be_heard(pipe):
        raise CheckpointError(
            f"{kind.__name__} makes sound in a way that lingen does not know, and would lose it"
        )
    settings = folder / SETTINGS if (folder / SETTINGS).is_file() else None
    facts |= {} if settings is None else _settings(settings, set(signature))
    if "size" not in facts:
        raise CheckpointError(
            f"{kind.__name__} has no size of its own: write one into {folder / SETTINGS}, such as "
            'size = "832x480"'
        )
    chained = settings is not None and "frames" in tomllib.loads(settings.read_text("utf-8"))
    if chained and "image" in signature:
        facts |= {"windows": (1 + (facts["frames"] - 1) // facts["time_stride"], 1)}
    return FoundModel(
        name=name,
        summary=f"{kind.__name__} in {folder}",
        build=partial(_build, name),
        pipelines=(kind.__name__,),
        since="0.35.2",
        repository="",
        folder=folder,
        settings=settings,
        images=tuple(one for one in IMAGES if one in signature),
        needs=tuple(
            one
            for one in IMAGES
            if one in needed or (one == "video" and length is None)  # how long it is
        ),
        previews=False,
        sound=sound,
        takes_formats=True,
        tiles=True,
        from_pixels=False,
        **{"license": "", "license_url": ""} | facts,
    )


def _build(name: str, folder: Path, device: str, dtype: Any, formats: WeightFormats = PLAIN) -> Any:
    from lingen_plugins.hub.by_signature import BySignature
    from lingen_plugins.hub.loading import load_pipeline

    model = describe(name, folder)
    return BySignature(load_pipeline(model, folder, device, dtype, formats), model)


def _kind(folder: Path, index: Mapping[str, Any]) -> Any:
    """The class of a pipeline."""
    name = index.get("_class_name")
    if not isinstance(name, str):
        raise CheckpointError(f"{index_of(folder)} names no pipeline")
    kind = class_of("diffusers", name)
    base = "ModularPipeline" if is_modular(index) else "DiffusionPipeline"
    if not issubclass(kind, class_of("diffusers", base)):
        raise CheckpointError(f"{index_of(folder)} names {name[:60]!r}, which is no pipeline")
    if name in _OTHERWISE:
        raise CheckpointError(f"lingen cannot run a {name} by its signature: it {_OTHERWISE[name]}")
    return kind


def skeleton(kind: Any, folder: Path, index: dict[str, Any]) -> Any:
    """The pipeline of a class without a number in its networks, and without what reads text and
    images. Raises `CheckpointError`."""
    networks = networks_of(index)
    try:
        given = {part: empty_network(folder / part, *networks[part]) for part in networks}
        for part, value in index.items():
            if part.startswith("_") or part in given:
                continue
            given[part] = None if isinstance(value, list) else value
        if "scheduler" in given:
            _, name = parts_of(index)["scheduler"]
            given["scheduler"] = class_of("diffusers", name).from_pretrained(folder / "scheduler")
        if is_modular(index):
            return assemble(folder, {part: one for part, one in given.items() if one is not None})
        return kind(**given)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise CheckpointError(f"cannot read {folder}: {one_line(error)}") from error


def empty_network(folder: Path, library: str, name: str) -> Any:
    """A network of a folder on the meta device. Raises what the library raises."""
    from accelerate import init_empty_weights

    kind = class_of(library, name)
    with init_empty_weights():
        if library != "transformers":
            return kind.from_config(kind.load_config(folder, local_files_only=True))
        network = kind(kind.config_class.from_pretrained(folder, local_files_only=True))
    network.tie_weights()
    return network


def _facts(kind: Any, signature: Mapping[str, Any], pipe: Any) -> dict[str, Any]:
    """Fields of a record that the pipeline tells."""

    def default(*names: str) -> Any:
        found = (signature[one].default for one in names if one in signature)
        return next((one for one in found if isinstance(one, int | float | str)), None)

    time, space = strides_of(pipe)
    config = pipe.transformer.config
    patch = config.get("patch_size") or 1
    step = space * (patch if isinstance(patch, int) else max(patch[-2:]))
    rate = default(*RATES)
    if rate is None:
        example = _EXAMPLE_RATE.search(kind.__call__.__doc__ or "")
        rate = FRAME_RATE if example is None else int(example[1])
    negative = _EXAMPLE_NEGATIVE.search(kind.__call__.__doc__ or "")
    if "negative_prompt" not in signature:
        negative = None
    facts: dict[str, Any] = {
        "fps": int(rate),
        "side_step": step,
        "time_stride": time,
        "frames": LONGEST_SECONDS * int(rate),
        "steps": default("num_inference_steps") or 50,
        "guidance": float(default("guidance_scale") or 1.0),
        "negative_prompt": default("negative_prompt") or (negative and negative[1]) or "",
        "parameters": {
            part: sum(one.numel() for one in network.parameters())
            for part, network in pipe.components.items()
            if hasattr(network, "parameters")
        },
        "supports": tuple(
            field
            for field, name in (
                ("steps", "num_inference_steps"),
                ("guidance_scale", "guidance_scale"),
                ("negative_prompt", "negative_prompt"),
                ("seed", "generator"),
            )
            if name in signature
        )
        + (("shift",) if shift_name(pipe.scheduler) else ())
        + (("step_cache",) if hasattr(pipe.transformer, "enable_cache") else ()),
    }
    width, height = default("width"), default("height")
    if width is None or height is None:
        width, height = (getattr(pipe, f"default_{side}", None) for side in ("width", "height"))
    if width is None or height is None:
        width, height = (
            config[one] * space if config.get(one) else None
            for one in ("sample_width", "sample_height")
        )
    if width is not None and height is not None:
        facts["size"] = f"{width}x{height}"
    return facts


def _settings(path: Path, signature: set[str]) -> dict[str, Any]:
    """Fields of a record that a `lingen-model.toml` sets. Raises `CheckpointError`."""
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: {one_line(error)}") from error
    types = {one.name: str(one.type) for kind in (HubModel, FoundModel) for one in fields(kind)}
    for key, value in found.items():
        if key not in _SETTABLE:
            raise CheckpointError(f"{path}: unknown key {key!r}; known: {', '.join(_SETTABLE)}")
        if not fits(value, types[key]) or (isinstance(value, int | float) and not value > 0):
            raise CheckpointError(f"{path}: {key} cannot be {value!r}")
    for name in found.get("call", {}):
        if name not in signature:
            raise CheckpointError(f"{path}: call: the pipeline takes no {name!r}")
    if "size" in found and not re.fullmatch(r"\d{1,5}x\d{1,5}", found["size"]):
        raise CheckpointError(f"{path}: size must be WIDTHxHEIGHT, not {found['size']!r}")
    return found
