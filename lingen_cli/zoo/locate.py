"""A model variant and its weight files, checked as far as that goes without torch."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lingen_cli.errors import BadDataError, MissingInputError, NotAvailableError
from lingen_cli.installation import plugin_parts
from lingen_cli.zoo.availability import how_to_mend, not_here, state_of
from lingen_cli.zoo.compatibility import check_fit, file_hash
from lingen_cli.zoo.locate_hub import find_pipeline, find_weights
from lingen_models.checkpoints.safetensors import CheckpointError, read_metadata
from lingen_plugins import parts
from lingen_plugins.contracts import HubModel, ModelVariant, Weights
from lingen_plugins.hub.found import is_place
from lingen_plugins.manager import DISABLE_VARIABLE, PluginManager, load_plugins
from lingen_plugins.registry import Registry, collect

MOST_ENCODERS = 8


@dataclass(frozen=True)
class LocatedModel:
    """A variant with the files of its weights and their SHA-256 sums, by part."""

    variant: ModelVariant | HubModel
    files: dict[str, Path] = field(default_factory=dict)
    """Of open weights from elsewhere: the folders of their parts."""
    hashes: dict[str, str] = field(default_factory=dict)
    folder: Path | None = None
    """Where the weights lie when they are not the variant's own."""
    time_stride: int = 8
    """Video frames per latent frame."""
    foreign: Mapping[str, parts.PluginPart] = field(default_factory=dict)
    """Of those parts that a plugin builds: where they are."""

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


def find_model(
    registry: Registry, name: str, folder: Path | None = None
) -> ModelVariant | HubModel:
    """Return what `--model NAME` selects: a record, or the pipeline in a folder or in a repository
    of the hub that was downloaded. `folder` has its weights where they have moved.

    Raises UnknownNameError (2), and what `zoo.locate_hub.find_pipeline` raises.
    """
    if name in registry.model_variants or name in registry.hub_models or not is_place(name):
        return registry.model(name)
    return find_pipeline(name, folder)


def locate(
    registry: Registry,
    name: str,
    folder: Path | None = None,
    *,
    needs_weights: bool = True,
    own_denoisers: bool = True,
) -> LocatedModel:
    """Find the variant `name` and its weights, or those in `folder`.

    Without `needs_weights`, a model whose weights are not here has no files. Without
    `own_denoisers`, only the configurations of a hub model's denoisers count.

    Raises UnknownNameError (2), NotAvailableError (69: no weights exist, or they are not
    here), MissingInputError (66: nothing in `folder`), BadDataError (65: not safetensors, another
    hash than the variant's, or made for something else).
    """
    variant = find_model(registry, name, folder)
    given = folder.absolute() if folder else None
    if isinstance(variant, HubModel):
        if not needs_weights:
            return LocatedModel(variant, time_stride=variant.time_stride)
        files, hashes = find_weights(variant, folder, own_denoisers=own_denoisers)
        return LocatedModel(variant, files, hashes, given, variant.time_stride)
    weights = variant.weights
    if folder is None and not needs_weights and state_of(variant) != "ready":
        stride = registry.autoencoders[variant.autoencoder].time_stride
        return LocatedModel(variant, time_stride=stride)
    if folder is not None:
        if not os.path.isdir(folder):  # unlike Path.is_dir, no error for a name that is too long
            raise MissingInputError(f"no such folder of weights: {folder}")
        count = _count_encoders(folder / "denoiser.safetensors", variant)
        others = (f"text_encoder_{n}.safetensors" for n in range(2, count + 1))
        names = ("text_encoder.safetensors", *others)
        weights = Weights(folder=str(folder.absolute()), text_encoders=names)
    if weights is None:
        raise NotAvailableError(not_here(variant))
    files = weights.files()
    for part, path in files.items():
        if not path.is_file():
            if folder is not None:
                raise MissingInputError(f"no {part} weights: {path}")
            raise NotAvailableError(not_here(variant))
    with plugin_parts.found():
        facts = {part: read_metadata(path) for part, path in files.items()}
        hashes = {part: file_hash(path) for part, path in files.items()}
    for part, digest in weights.sha256.items():
        if hashes[part] != digest:
            raise BadDataError(
                f"wrong hash: {files[part]} ({part}) has the SHA-256 {hashes[part]}, that of "
                f"{variant.name} is {digest}; {how_to_mend(variant)}"
            )
    check_fit(registry, variant, files, facts, own=folder is None)
    with plugin_parts.found():
        foreign = {
            part: parts.read_part(registry, files[part], one)
            for part, one in facts.items()
            if one["kind"] == parts.KIND
        }
    hashes |= {part: one.digest for part, one in foreign.items() if one.digest is not None}
    return LocatedModel(
        variant=variant,
        files=files,
        hashes=hashes,
        folder=given,
        time_stride=_strides(registry, variant, files["autoencoder"])[0],
        foreign=foreign,
    )


def side_step(
    registry: Registry, variant: ModelVariant | HubModel, folder: Path | None = None
) -> int:
    """The number that the width and the height of a video must be a multiple of, in pixels.

    `folder` has weights of the user's own, whose autoencoder may be another one.
    """
    if isinstance(variant, HubModel):
        return variant.side_step
    patch: tuple[int, ...] = tuple(variant.config.get("patch", (1, 1, 1)))
    file = None if folder is None else folder / "autoencoder.safetensors"
    return _strides(registry, variant, file)[1] * max(patch[1:])


def _strides(registry: Registry, variant: ModelVariant, file: Path | None) -> tuple[int, int]:
    """Frames and pixels for a latent of the autoencoder in `file`, else of that of the variant."""
    gives = _peek(file).get("gives") if file is not None else None
    if isinstance(gives, dict):
        time, space = gives.get("time_stride"), gives.get("space_stride")
        if isinstance(time, int) and isinstance(space, int) and min(time, space) > 0:
            return time, space
    own = registry.autoencoders[variant.autoencoder]
    return own.time_stride, own.space_stride


def _count_encoders(denoiser: Path, variant: ModelVariant) -> int:
    """How many text encoders a denoiser was trained with."""
    config = _peek(denoiser).get("config")
    sizes = config.get("text_dims") if isinstance(config, dict) else None
    if isinstance(sizes, list) and 1 <= len(sizes) <= MOST_ENCODERS:
        return len(sizes)
    return len(variant.text_encoders)


def _peek(file: Path) -> dict[str, Any]:
    """The metadata of a weights file; empty where it has none that can be read, which others
    complain about."""
    try:
        return read_metadata(file)
    except (CheckpointError, OSError):
        return {}
