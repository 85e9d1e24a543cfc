"""Networks that a training begins with: frozen parts of plugins, and those in weights files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from lingen_models.checkpoints.load_networks import NETWORKS
from lingen_models.checkpoints.pretrained import FrozenAutoencoder, FrozenText, TextReader
from lingen_models.checkpoints.safetensors import (
    CheckpointError,
    build_network,
    load_network,
    load_tensors,
    read_metadata,
    sha256_file,
)
from lingen_models.network_config import LinGenConfig
from lingen_models.precision import compute_dtype
from lingen_plugins.contracts import Autoencoder, TextEncoder
from lingen_plugins.parts import PluginPart, digest_of, find_part
from lingen_plugins.plugin_errors import UnknownNameError
from lingen_plugins.registry import Registry, collect
from lingen_training.training_recipe import PartSection, Recipe, RecipeError

_Network = TypeVar("_Network", bound=nn.Module)


@dataclass(frozen=True)
class FoundParts:
    """Parts that a recipe names, before anything of it is built."""

    autoencoder: PluginPart | None
    texts: tuple[PluginPart, ...]


def find_parts(recipe: Recipe, path: Path, registry: Registry | None) -> FoundParts:
    """Look for the parts of the recipe in `path`; `registry` defaults to all plugins.

    Raises RecipeError, and as `lingen_plugins.parts.find_part`.
    """
    codec, texts = part_records(recipe, path, registry)

    def found(field: str, section: PartSection, record: TextEncoder | Autoencoder) -> PluginPart:
        given = section.weights
        folder = None if given is None else path.parent / Path(given).expanduser()
        try:
            return find_part(record, section.config, folder)
        except ValueError as error:
            raise RecipeError(f"{path}: {field}: {error}") from None

    own = recipe.autoencoder
    return FoundParts(
        found("autoencoder", own, codec) if isinstance(own, PartSection) and codec else None,
        tuple(found("text", *pair) for pair in zip(recipe.texts, texts, strict=True)),
    )


def part_records(
    recipe: Recipe, path: Path, registry: Registry | None
) -> tuple[Autoencoder | None, list[TextEncoder]]:
    """Look up the records of the parts that the recipe in `path` names, and none of their weights.

    Raises RecipeError for a name that no plugin registers.
    """
    codec = recipe.autoencoder
    if not recipe.texts and not isinstance(codec, PartSection):
        return None, []
    offered = collect() if registry is None else registry
    try:
        field = "text"
        texts = [offered.text_encoders[text.plugin] for text in recipe.texts]
        texts = [
            replace(record, config={**record.config, **text.config})
            for record, text in zip(texts, recipe.texts, strict=True)
        ]
        field = "autoencoder"
        named = offered.autoencoders[codec.plugin] if isinstance(codec, PartSection) else None
    except UnknownNameError as error:
        raise RecipeError(f"{path}: {field}.plugin: {error}") from None
    return named, texts


def load_whole(path: Path, kind: type[_Network]) -> _Network:
    """The network of a weights file. Raises CheckpointError, also for another kind of network."""
    metadata = read_metadata(path)
    build = NETWORKS.get(str(metadata.get("kind")))
    network = None if build is None else build_network(path, metadata, build)
    if not isinstance(network, kind):
        raise CheckpointError(f"weights do not fit the model: {path} is a {metadata.get('kind')}")
    load_network(path, network)
    return network


def frozen(network: _Network, device: str) -> _Network:
    """`network` on a device, in the dtype that this computes in, with nothing to be trained."""
    return network.to(device, compute_dtype(device)).eval().requires_grad_(False)


def settled(part: PluginPart, path: Path, kind: type[_Network]) -> _Network:
    """Build `part`, and write the weights file that names it.

    Where the file is there, tensors come from it. Raises RecipeError if it names something else.
    """
    if path.exists():
        check_same(part, path)
        if part.folder is None:
            part = replace(part, file=path)
    network = part.build()
    assert isinstance(network, kind)
    part.save(path, network)
    return network


def check_same(part: PluginPart, path: Path) -> None:
    """Raise RecipeError where the weights file `path` names something else than `part`."""
    kept = read_metadata(path)
    if (kept.get("plugin"), kept.get("sha256")) != (part.record.name, part.sha256):
        raise RecipeError(
            f"{path}: was trained with another {part.record.name} than that in {part.folder}; "
            "choose another folder"
        )


def content_hash(path: Path) -> str:
    """SHA-256 of a weights file, or of what it names: not of where that lies."""
    facts = read_metadata(path)
    if facts.get("sha256") is None:
        return sha256_file(path)
    return digest_of(facts["plugin"], facts["config"], facts["sha256"])


def encoder_hash(path: Path) -> str:
    """Hash of what makes the latents of the autoencoder in a weights file: one whose decoder was
    trained further has the same."""
    facts = read_metadata(path)
    if facts.get("sha256") is not None:
        return content_hash(path)
    return state_hash(load_tensors(path)[0], facts.get("config", {}))


def state_hash(state: Mapping[str, Tensor], config: Mapping[str, Any]) -> str:
    """Hash of the tensors of an autoencoder, but for a decoder's, and of its configuration."""
    digest = hashlib.sha256(json.dumps(config, sort_keys=True).encode())
    for name in sorted(state):
        if not name.startswith("decoder."):
            tensor = state[name].detach().cpu().contiguous()
            digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
            digest.update(tensor.flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def settle_texts(parts: FoundParts, out: Path) -> list[FrozenText]:
    """Build the text encoders, and write the weights files that name them."""
    pairs = zip(parts.texts, text_files(parts, out), strict=True)
    return [settled(part, path, FrozenText) for part, path in pairs]


def text_files(parts: FoundParts, folder: Path) -> list[Path]:
    """The weights files in `folder` that name the text encoders."""
    names = [f"text_encoder_{number}" for number in range(1, len(parts.texts) + 1)]
    return [folder / f"{name.removesuffix('_1')}.safetensors" for name in names]


def fitted(
    config: LinGenConfig,
    autoencoder: FrozenAutoencoder | Autoencoder | None,
    texts: Sequence[TextReader | TextEncoder],
) -> LinGenConfig:
    """`config` with the latent channels and the feature sizes of what it is trained on, or of the
    records of that."""
    if autoencoder is not None:
        config = replace(config, latent_channels=autoencoder.latent_channels)
    if texts:
        config = replace(config, text_dims=tuple(text.feature_dim for text in texts))
    return config


def check_sizes(recipe: Recipe, path: Path, config: LinGenConfig, stride: int) -> None:
    """Raise RecipeError for images that the autoencoder and the patch do not divide."""
    unit = stride * max(config.patch[1:])
    for index, stage in enumerate(recipe.stage):
        for number, source in enumerate(stage.source):
            several = [] if source.buckets is None else source.buckets.sides
            for side in chain([source.size], source.crop or (), *several):
                if side % unit:
                    raise RecipeError(
                        f"{path}: stage.{index}.source.{number}: {side} pixels are no multiple of "
                        f"{unit}, which the autoencoder and the patch need"
                    )
