"""A model variant and its weight files, checked as far as that goes without torch."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lingen_cli.errors import BadDataError, MissingInputError, NotAvailableError
from lingen_cli.fit import check_fit, check_hash, file_hash
from lingen_cli.weights import not_here
from lingen_models.curves import CURVES
from lingen_plugins.contracts import HubModel, ModelVariant, Weights
from lingen_plugins.manager import DISABLE_VARIABLE, PluginManager, load_plugins
from lingen_plugins.registry import Registry, collect


@dataclass(frozen=True)
class LocatedModel:
    """A variant with the files of its weights and their SHA-256 sums, by part."""

    variant: ModelVariant | HubModel
    files: dict[str, Path]
    """Of open weights from elsewhere: the folders of their parts."""
    hashes: dict[str, str]
    folder: Path | None
    """Where the weights lie when they are not the variant's own."""
    time_stride: int = 8
    """Video frames per latent frame."""

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
    here), MissingInputError (66: nothing in `folder`), BadDataError (65: not safetensors, another
    hash than the variant's, or made for something else).
    """
    from lingen_models.checkpoint import CheckpointError, read_metadata

    variant = registry.model(name)
    if isinstance(variant, HubModel):
        return _locate_hub(variant, folder)
    weights = variant.weights
    if folder is not None:
        others = (f"text_encoder_{n}.safetensors" for n in range(2, len(variant.text_encoders) + 1))
        names = ("text_encoder.safetensors", *others)
        weights = Weights(folder=str(folder.absolute()), text_encoders=names)
        if not os.path.isdir(folder):  # unlike Path.is_dir, no error for a name that is too long
            raise MissingInputError(f"no such folder of weights: {folder}")
    if weights is None:
        raise NotAvailableError(not_here(variant))
    files = weights.files()
    for part, path in files.items():
        if not path.is_file():
            if folder is not None:
                raise MissingInputError(f"no {part} weights: {path}")
            raise NotAvailableError(not_here(variant))
    try:
        facts = {part: read_metadata(path) for part, path in files.items()}
        hashes = {part: file_hash(path) for part, path in files.items()}
    except CheckpointError as error:
        raise BadDataError(str(error)) from error
    for part, digest in weights.sha256.items():
        check_hash(variant, part, files[part], hashes[part], digest)
    check_fit(registry, variant, files, facts, own=folder is None)
    return LocatedModel(
        variant=variant,
        files=files,
        hashes=hashes,
        folder=folder.absolute() if folder else None,
        time_stride=registry.autoencoders[variant.autoencoder].time_stride,
    )


def _locate_hub(model: HubModel, folder: Path | None) -> LocatedModel:
    from lingen_cli.hub_weights import find_weights

    parts, hashes = find_weights(model, folder)
    return LocatedModel(
        variant=model,
        files=parts,
        hashes=hashes,
        folder=folder.absolute() if folder else None,
        time_stride=model.time_stride,
    )


def side_step(registry: Registry, variant: ModelVariant | HubModel) -> int:
    """The number that the width and the height of a video must be a multiple of, in pixels."""
    if isinstance(variant, HubModel):
        return variant.side_step
    patch: tuple[int, ...] = tuple(variant.config.get("patch", (1, 1, 1)))
    return registry.autoencoders[variant.autoencoder].space_stride * max(patch[1:])
