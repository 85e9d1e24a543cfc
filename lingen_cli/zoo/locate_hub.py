"""Finds the weights of a model from elsewhere, all parts of them, and their sums.

Nothing is imported, downloaded or loaded here. Weights lie in the folder that the user names, or in
the cache of `huggingface_hub`, whose layout is documented.
"""

from __future__ import annotations

import os
import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from lingen_cli.errors import BadDataError, MissingInputError, NotAvailableError
from lingen_cli.installation import plugin_parts
from lingen_cli.zoo import licenses
from lingen_models.checkpoints.safetensors import CheckpointError, sha256_file
from lingen_plugins.contracts import DENOISER, FoundModel, HubModel
from lingen_plugins.hub.folders import CONFIG
from lingen_plugins.hub.found import describe, find_folder
from lingen_plugins.hub.loading import INDEX, index_of, parts_of, read_index
from lingen_plugins.hub_cache import cached_folder
from lingen_plugins.sums import folder_sum

PACKAGES = ("diffusers", "transformers", "accelerate", "sentencepiece", "ftfy")
"""What the extra `lingen[hub]` brings, and every pipeline may call."""
OLDEST = "0.35.2"
"""The first version of diffusers that runs with transformers 5."""
_PARTS = {"transformer": "denoiser", "vae": "autoencoder"}
"""What the parts of a pipeline are called in a recipe; others keep their names."""


def find_weights(
    model: HubModel, folder: Path | None, *, own_denoisers: bool = True
) -> tuple[dict[str, Path], dict[str, str]]:
    """The folders of the parts of `model`, and their SHA-256 sums, by part; without `own_denoisers`
    those of the denoisers' configurations.

    Raises NotAvailableError (69: packages or weights are not here, or the license is not
    accepted), MissingInputError (66: nothing in `folder`), BadDataError (65).
    """
    root = cached(model) if folder is None else folder
    lacks = [licenses.missing(model), _packages_lacking(model.name, model.since)]
    if root is None:
        size = model.weight_bytes / 1e9
        lacks.append(
            f"the weights of {model.name!r} are not here: `{how_to_fetch(model)}` fetches them, or "
            f"name their folder with --weights; they take {size:.1f} GB of memory, and --offload "
            "says how they fit a smaller card"
        )
    if any(lacks):
        raise NotAvailableError("; ".join(one for one in lacks if one is not None))
    assert root is not None
    if not os.path.isdir(root):
        raise MissingInputError(f"no such folder of weights: {root}")
    if index_of(root) is None:
        raise MissingInputError(f"no {INDEX} in the folder of weights: {root}")
    try:
        index = read_index(root)
    except CheckpointError as error:
        raise BadDataError(str(error)) from error
    if index.get("_class_name") not in model.pipelines:
        found = str(index.get("_class_name"))[:60]
        raise BadDataError(
            f"weights do not fit the model: {root} is a {found!r}, "
            f"{model.name} is a {' or '.join(model.pipelines)}"
        )
    parts = {_PARTS.get(part, part): root / part for part in parts_of(index)}
    for path in parts.values():
        if not path.is_dir():
            raise MissingInputError(f"a part of the weights is missing: {path}")
    try:
        sums = {
            part: folder_sum(path)
            if own_denoisers or not path.name.startswith(DENOISER)
            else sha256_file(path / CONFIG)
            for part, path in parts.items()
        }
        if isinstance(model, FoundModel) and model.settings is not None:
            sums["settings"] = sha256_file(model.settings)
        return parts, sums
    except OSError as error:
        raise BadDataError(f"cannot read {error.filename}: {error.strerror}") from error


def find_pipeline(name: str, folder: Path | None) -> FoundModel:
    """The pipeline in the folder, or in the downloaded repository, `name`; `folder` has it where it
    has moved.

    Raises MissingInputError (66), BadDataError (65: no pipeline, or none that makes a video in a
    way that lingen knows), NotAvailableError (69: packages, or the repository, are not here).
    """
    with plugin_parts.found():
        full, root = find_folder(name) if folder is None else (name, folder.absolute())
        if (lacking := _packages_lacking(name, OLDEST)) is not None:
            raise NotAvailableError(lacking)
        return describe(full, root)


def how_to_fetch(model: HubModel) -> str:
    """The command that downloads them."""
    return f"lingen models pull {model.name}"


def cached(model: HubModel) -> Path | None:
    """Its folder in the cache of `huggingface_hub`, or None."""
    if isinstance(model, FoundModel):
        return model.folder
    return cached_folder(model.repository, model.revision, INDEX)


def _packages_lacking(name: str, since: str) -> str | None:
    """Say which package is missing or too old, and how to get it; None where none is."""
    for package in PACKAGES:
        try:
            found = version(package)
        except PackageNotFoundError:
            return f"{name} needs the package {package}: pip install 'lingen[hub]'"
        if package == "diffusers" and _numbers(found) < _numbers(since):
            return (
                f"{name} needs diffusers {since}, {found} is installed: "
                "pip install --upgrade diffusers"
            )
    return None


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(found) for found in re.findall(r"\d+", text)[:3])
