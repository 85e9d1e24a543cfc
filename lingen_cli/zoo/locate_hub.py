"""Finds the weights of a model from elsewhere, all parts of them, and their sums.

Nothing is imported, downloaded or loaded here. Weights lie in the folder that the user names, or in
the cache of `huggingface_hub`, whose layout is documented.
"""

from __future__ import annotations

import os
import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from lingen_cli.errors import BadDataError, MissingInputError, NotAvailableError
from lingen_cli.zoo import licenses
from lingen_plugins.hub.loading import INDEX, parts_of, read_index
from lingen_plugins.hub_cache import cached_folder
from lingen_plugins.sums import folder_sum

if TYPE_CHECKING:
    from lingen_plugins.contracts import HubModel

PACKAGES = ("diffusers", "transformers", "accelerate", "sentencepiece", "ftfy")
"""What the extra `lingen[hub]` brings, and every pipeline may call."""
_PARTS = {"transformer": "denoiser", "vae": "autoencoder"}
"""What the parts of a pipeline are called in a recipe; others keep their names."""


def find_weights(model: HubModel, folder: Path | None) -> tuple[dict[str, Path], dict[str, str]]:
    """The folders of the parts of `model`, and their SHA-256 sums, by part.

    Raises NotAvailableError (69: packages or weights are not here, or the licence is not
    accepted), MissingInputError (66: nothing in `folder`), BadDataError (65).
    """
    from lingen_models.checkpoints.safetensors import CheckpointError

    root = cached(model) if folder is None else folder
    _check_available(model, root)
    assert root is not None
    if not os.path.isdir(root):
        raise MissingInputError(f"no such folder of weights: {root}")
    if not (root / INDEX).is_file():
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
        return parts, {part: folder_sum(path) for part, path in parts.items()}
    except OSError as error:
        raise BadDataError(f"cannot read {error.filename}: {error.strerror}") from error


def _check_available(model: HubModel, root: Path | None) -> None:
    """Raise NotAvailableError (69) with everything that is missing at once."""
    missing = []
    for check in (licenses.require, _check_packages):
        try:
            check(model)
        except NotAvailableError as error:
            missing.append(str(error))
    if root is None:
        missing.append(
            f"the weights of {model.name!r} are not here: `{how_to_fetch(model)}` fetches them "
            f"({model.weight_bytes / 1e9:.1f} GB, which also is the memory that they need), "
            "or name their folder with --weights"
        )
    if missing:
        raise NotAvailableError("; ".join(missing))


def how_to_fetch(model: HubModel) -> str:
    """The command that downloads them."""
    return f"hf download {model.repository} --revision {model.revision}"


def cached(model: HubModel) -> Path | None:
    """Its folder in the cache of `huggingface_hub`, or None."""
    return cached_folder(model.repository, model.revision, INDEX)


def _check_packages(model: HubModel) -> None:
    for package in PACKAGES:
        try:
            found = version(package)
        except PackageNotFoundError:
            raise NotAvailableError(
                f"{model.name} needs the package {package}: pip install 'lingen[hub]'"
            ) from None
        if package == "diffusers" and _numbers(found) < _numbers(model.since):
            raise NotAvailableError(
                f"{model.name} needs diffusers {model.since}, {found} is installed: "
                "pip install --upgrade diffusers"
            )


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(found) for found in re.findall(r"\d+", text)[:3])
