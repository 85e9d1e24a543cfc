"""Checks that weights files are what a variant needs, as far as hashes and headers tell."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from lingen_cli.errors import BadDataError
from lingen_models.checkpoints.safetensors import sha256_file
from lingen_plugins.contracts import Config, ModelVariant
from lingen_plugins.parts import KIND as PLUGIN
from lingen_plugins.registry import Registry

_KINDS = {"denoiser": "lingen", "autoencoder": "tae"}
"""Part -> kind in the metadata of its file; a text encoder is `words`."""


def file_hash(path: Path) -> str:
    """SHA-256 of a file. The lines of a batch ask again and again, and it is read once."""
    status = path.stat()
    return _sha256(path, status.st_ino, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=64)
def _sha256(path: Path, number: int, size: int, time: int) -> str:
    return sha256_file(path)


def check_fit(
    registry: Registry,
    variant: ModelVariant,
    files: Mapping[str, Path],
    facts: Mapping[str, Mapping[str, Any]],
    *,
    own: bool,
) -> None:
    """Raise BadDataError (65) for files that were not made for each other, or for `variant`.

    `facts` are their metadata. Files that are the variant's `own` have its configuration. Those of
    a folder may have other sizes, but not be another variant.
    """
    configs: dict[str, dict[str, Any]] = {}
    for part, path in files.items():
        kind, config = facts[part].get("kind"), facts[part].get("config")
        wanted = _KINDS.get(part, "words")
        if kind == PLUGIN and part != "denoiser":
            _check_role(path, part, facts[part])
            config = facts[part].get("gives")
        elif kind != wanted:
            raise BadDataError(f"weights do not fit the model: {path} is a {kind}, not a {wanted}")
        if not isinstance(config, dict):
            raise BadDataError(f"damaged weights file: {path}: its config is not an object")
        configs[part] = config
    denoiser, codec = configs.pop("denoiser"), configs.pop("autoencoder")
    widths = [config.get("width") for config in configs.values()]
    path, whose = files["denoiser"], f"that of {variant.name}"
    _check_field(path, denoiser, "patch", variant.config.get("patch"), whose)
    beside = "that of the autoencoder beside it"
    _check_field(path, denoiser, "latent_channels", codec.get("latent_channels"), beside)
    _check_field(path, denoiser, "text_dims", widths, "that of the text encoders beside it")
    if own:
        for name, value in variant.config.items():
            _check_field(path, denoiser, name, value, whose)
    else:
        _check_no_other(registry, variant, path, denoiser)


def _check_role(path: Path, part: str, facts: Mapping[str, Any]) -> None:
    wanted = "autoencoder" if part == "autoencoder" else "text_encoder"
    if (found := facts.get("part")) != wanted:
        raise BadDataError(f"weights do not fit the model: {path} is a {found}, not a {wanted}")


def _check_field(path: Path, config: Config, name: str, needed: Any, whose: str) -> None:
    found = config.get(name)
    if found is not None and needed is not None and _plain(found) != _plain(needed):
        raise BadDataError(
            f"weights do not fit the model: {path}: its {name} is {str(found)[:60]}, "
            f"{whose} is {needed}"
        )


def _check_no_other(registry: Registry, variant: ModelVariant, path: Path, config: Config) -> None:
    """Variants can have the same tensors: one's weights would be loaded as another's unnoticed."""
    wrong = _other_choice(variant, config)
    if wrong is None:
        return
    for name, other in registry.model_variants.items():
        if _choices(other.config).keys() <= config.keys() and _other_choice(other, config) is None:
            raise BadDataError(
                f"weights do not fit the model: {path}: its {wrong} is {str(config[wrong])[:60]}, "
                f"that of {variant.name} is {variant.config[wrong]}; it was made as {name}"
            )


def _other_choice(variant: ModelVariant, config: Config) -> str | None:
    """The first field that says what kind of network it is in which `config` is not `variant`."""
    choices = _choices(variant.config)
    return next((k for k, v in choices.items() if k in config and _plain(config[k]) != v), None)


def _choices(config: Config) -> dict[str, Any]:
    """The fields of words and truth values; numbers are sizes."""
    fields = {name: _plain(value) for name, value in config.items()}
    return {
        name: value
        for name, value in fields.items()
        if isinstance(value, str | bool)
        or (isinstance(value, list) and all(isinstance(one, str) for one in value))
    }


def _plain(value: Any) -> Any:
    """JSON has no tuples."""
    return list(value) if isinstance(value, tuple) else value
