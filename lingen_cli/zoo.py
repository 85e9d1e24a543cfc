"""A model variant and its weight files, checked as far as that goes without torch."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from lingen_cli.errors import BadDataError, MissingInputError, NotAvailableError
from lingen_models.curves import CURVES
from lingen_plugins.contracts import ModelVariant, Weights
from lingen_plugins.manager import DISABLE_VARIABLE, PluginManager, load_plugins
from lingen_plugins.registry import Registry, collect

_KINDS = {"denoiser": "lingen", "autoencoder": "tae"}
"""Part -> kind in the metadata of its file; a text encoder is `words`."""


@dataclass(frozen=True)
class LocatedModel:
    """A variant with the files of its weights and their SHA-256 sums, by part."""

    variant: ModelVariant
    files: dict[str, Path]
    hashes: dict[str, str]
    folder: Path | None
    """Where the weights lie when they are not the variant's own."""

    @property
    def text_encoders(self) -> tuple[Path, ...]:
        """The files of the text encoders, in the variant's order."""
        return tuple(path for part, path in self.files.items() if part.startswith("text_encoder"))


def open_registry(warn: Callable[[str], None]) -> Registry:
    """Everything that plugins offer; `warn` is told about each plugin that was skipped."""
    manager = load_plugins()
    registry = collect(manager)
    tell_skipped(manager, warn)
    tell_slow(manager, warn)
    CURVES.update({one.name: one.curve for one in registry.scan_orders.values() if one.curve})
    return registry


def tell_skipped(manager: PluginManager, warn: Callable[[str], None]) -> None:
    """Say which plugins failed, why, and how to be rid of the message."""
    for plugin in manager.failed:
        warn(
            f"plugin {plugin.name!r} of {plugin.distribution} was skipped: {plugin.reason} "
            f"(leave it out with {DISABLE_VARIABLE}={shlex.quote(plugin.name)})"
        )


def tell_slow(manager: PluginManager, warn: Callable[[str], None]) -> None:
    """Say which plugins every command waits for."""
    for slow in manager.slow():
        warn(
            f"plugin {slow.name!r} of {slow.distribution} makes every command wait for "
            f"{slow.seconds:.1f} s: it should import what is slow inside `build`"
        )


def locate(registry: Registry, name: str, folder: Path | None = None) -> LocatedModel:
    """Find the variant `name` and its weights, or those in `folder`.

    Raises UnknownNameError (2), NotAvailableError (69: no weights exist, or they are not
    installed), MissingInputError (66: nothing in `folder`), BadDataError (65: not safetensors, or
    made for something else).
    """
    from lingen_models.checkpoint import CheckpointError, read_metadata

    variant = registry.model_variants[name]
    weights = variant.weights
    if folder is not None:
        others = (f"text_encoder_{n}.safetensors" for n in range(2, len(variant.text_encoders) + 1))
        names = ("text_encoder.safetensors", *others)
        weights = Weights(folder=str(folder.absolute()), text_encoders=names)
        if not os.path.isdir(folder):  # unlike Path.is_dir, no error for a name that is too long
            raise MissingInputError(f"no such folder of weights: {folder}")
    if weights is None:
        raise NotAvailableError(
            f"no weights of {name!r} exist: train some with `lingen train RECIPE.toml`, "
            "then name their folder with --weights"
        )
    files = weights.files()
    for part, path in files.items():
        if not path.is_file():
            if folder is not None:
                raise MissingInputError(f"no {part} weights: {path}")
            raise NotAvailableError(f"the weights of {name!r} are not installed: {path} is missing")
    try:
        facts = {part: read_metadata(path) for part, path in files.items()}
        _check_fit(variant, files, facts)
        hashes = {part: _sha256(path, *_state(path)) for part, path in files.items()}
    except CheckpointError as error:
        raise BadDataError(str(error)) from error
    return LocatedModel(
        variant=variant,
        files=files,
        hashes=hashes,
        folder=folder.absolute() if folder else None,
    )


def _state(path: Path) -> tuple[int, int, int]:
    """What changes when a file is written: device-wide number, size and time."""
    status = path.stat()
    return status.st_ino, status.st_size, status.st_mtime_ns


@lru_cache(maxsize=64)
def _sha256(path: Path, number: int, size: int, time: int) -> str:
    """SHA-256 of a file in that state: the lines of a batch ask again and again."""
    from lingen_models.checkpoint import sha256_file

    return sha256_file(path)


def _check_fit(
    variant: ModelVariant, files: dict[str, Path], facts: dict[str, dict[str, Any]]
) -> None:
    """Raise BadDataError (65) for files that were not made for each other, or for `variant`."""
    configs: dict[str, dict[str, Any]] = {}
    for part, path in files.items():
        kind, config = facts[part].get("kind"), facts[part].get("config")
        wanted = _KINDS.get(part, "words")
        if kind != wanted:
            raise BadDataError(f"weights do not fit the model: {path} is a {kind}, not a {wanted}")
        if not isinstance(config, dict):
            raise BadDataError(f"damaged weights file: {path}: its config is not an object")
        configs[part] = config
    denoiser, codec = configs.pop("denoiser"), configs.pop("autoencoder")
    widths = [config.get("width") for config in configs.values()]
    pairs = (
        ("patch", variant.config.get("patch"), f"that of {variant.name}"),
        ("latent_channels", codec.get("latent_channels"), "that of the autoencoder beside it"),
        ("text_dims", widths, "that of the text encoders beside it"),
    )
    for name, needed, whose in pairs:
        found = denoiser.get(name)
        if found is not None and needed is not None and _plain(found) != _plain(needed):
            raise BadDataError(
                f"weights do not fit the model: {files['denoiser']}: "
                f"its {name} is {found}, {whose} is {needed}"
            )


def _plain(value: Any) -> Any:
    """JSON has no tuples."""
    return list(value) if isinstance(value, tuple) else value


def side_step(registry: Registry, variant: ModelVariant) -> int:
    """The number that the width and the height of a video must be a multiple of, in pixels."""
    patch: tuple[int, ...] = tuple(variant.config.get("patch", (1, 1, 1)))
    return registry.autoencoders[variant.autoencoder].space_stride * max(patch[1:])
