"""Text encoders and autoencoders of plugins, frozen: found, built, and named in weights files.

A weights file of such a part says the record's name, its config, and where its folder lies, with
the SHA-256 of what that holds. A part that reads no folder has its tensors in the file.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lingen_models.checkpoints.safetensors import CheckpointError, load_network, save_tensors
from lingen_plugins.contracts import Autoencoder, Config, TextEncoder
from lingen_plugins.guard import describe
from lingen_plugins.hub_cache import cached_folder
from lingen_plugins.plugin_errors import MissingFolderError, NotHereError
from lingen_plugins.sums import folder_sum

if TYPE_CHECKING:
    from torch import nn

    from lingen_models.checkpoints.pretrained import FrozenAutoencoder, FrozenText
    from lingen_plugins.registry import Registry

KIND = "plugin"
"""What the metadata of such a weights file has as its kind."""
INDEX = "model_index.json"
SIZES = ("latent_channels", "time_stride", "space_stride")
"""Fields of an autoencoder that a denoiser must agree with."""


@dataclass(frozen=True)
class PluginPart:
    """A record with the config and the folder that a recipe or a weights file names."""

    record: TextEncoder | Autoencoder
    config: Config
    folder: Path | None
    sha256: str | None
    """Of what it reads of `folder`."""
    file: Path | None = None
    """The weights file that has its tensors; None: `build` decides what they are."""

    @property
    def digest(self) -> str | None:
        """Hash what it is: its name, its config and its files. None: its weights file tells."""
        if self.sha256 is None:
            return None
        return digest_of(self.record.name, self.config, self.sha256)

    def build(self) -> FrozenText | FrozenAutoencoder:
        """The frozen network, on the CPU. Raises `CheckpointError`."""
        network = self._built(dict(self.config))
        if self.folder is None and self.file is not None:
            load_network(self.file, network)
        try:
            return _frozen(network, self.record)
        except (AttributeError, TypeError) as error:
            raise CheckpointError(f"{self.record.name} cannot be used: {error}") from error

    def _built(self, config: dict[str, Any]) -> nn.Module:
        from torch import nn

        if self.folder is not None:
            config["folder"] = str(self.folder)
        try:
            network = self.record.build(config)
        except CheckpointError:
            raise
        except Exception as error:  # it may be anybody's
            raise CheckpointError(
                f"{self.record.name} cannot be built: {describe(error)}"
            ) from error
        if not isinstance(network, nn.Module):
            raise CheckpointError(f"{self.record.name} is no network")
        return network

    def save(self, path: Path, network: FrozenText | FrozenAutoencoder) -> None:
        """Write the weights file that names it."""
        metadata = {
            "kind": KIND,
            "part": "autoencoder" if isinstance(self.record, Autoencoder) else "text_encoder",
            "plugin": self.record.name,
            "config": dict(self.config),
            "gives": gives(network),
            "folder": None if self.folder is None else str(self.folder.absolute()),
            "sha256": self.sha256,
        }
        held = {} if self.folder is not None else network.network.state_dict()
        tensors = {name: value.clone() for name, value in held.items()}
        save_tensors(path, tensors, {"lingen": json.dumps(metadata, sort_keys=True)})


def find_part(
    record: TextEncoder | Autoencoder, config: Config, folder: Path | None = None
) -> PluginPart:
    """`record` with its own config and what `config` says otherwise, from `folder` or the cache.

    Raises MissingFolderError, NotHereError, `CheckpointError`, ValueError for a folder that it
    does not read.
    """
    _check_packages(record)
    merged = {**record.config, **config}
    if record.folders is None:
        if folder is not None:
            raise ValueError(f"{record.name} reads no weights: leave them out")
        return PluginPart(record, merged, None, None)
    folder = _cached(record) if folder is None else folder
    if folder is None:
        raise NotHereError(_how_to_get(record))
    return PluginPart(record, merged, folder, _sum(record, folder))


def read_part(registry: Registry, path: Path, metadata: Mapping[str, Any]) -> PluginPart:
    """Read what the weights file `path` names, here and unchanged.

    Its folder is the one beside the file and of its name, or the one that it was trained with, or
    in the cache. Raises MissingFolderError, NotHereError, `CheckpointError`.
    """
    name, config, place, digest = (
        metadata.get(key) for key in ("plugin", "config", "folder", "sha256")
    )
    kinds = (str, dict, str | None, str | None)
    found = (name, config, place, digest)
    if not all(isinstance(one, kind) for one, kind in zip(found, kinds, strict=True)):
        raise CheckpointError(f"damaged weights file: {path}: it names no part of a plugin")
    record = _record(registry, path, str(metadata.get("part")), str(name))
    _check_packages(record)
    assert isinstance(config, dict)
    if record.folders is None:
        return PluginPart(record, config, None, None, file=path)
    given = Path(place) if place else None
    candidates = [path.with_suffix(""), given, _cached(record)]
    folder = next((one for one in candidates if one is not None and one.is_dir()), None)
    if folder is None:
        where = given or record.repository
        raise MissingFolderError(
            f"the {record.name} that {path} was trained with is missing: {where}; put it there, or "
            f"at {path.with_suffix('')}"
        )
    found_sum = _sum(record, folder)
    if found_sum != digest:
        raise CheckpointError(
            f"wrong hash: {folder} is not the {record.name} that {path} was trained with: its "
            f"SHA-256 is {found_sum[:16]}..., not {str(digest)[:16]}..."
        )
    return PluginPart(record, config, folder, found_sum)


def digest_of(name: str, config: Config, sha256: str) -> str:
    """One SHA-256 for a part and all that decides what it gives; not where its files lie."""
    text = json.dumps([name, dict(config), sha256], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def number_of(network: object, record: TextEncoder | Autoencoder, name: str) -> int:
    """A size or a stride: where the record reads a folder, that of the module comes first."""
    own: int = getattr(record, name)
    return own if record.folders is None else int(getattr(network, name, own))


def gives(network: FrozenText | FrozenAutoencoder) -> dict[str, int]:
    """The numbers that a denoiser must agree with."""
    from lingen_models.checkpoints.pretrained import FrozenText

    if isinstance(network, FrozenText):
        return {"width": network.feature_dim}
    return {name: getattr(network, name) for name in SIZES}


def _frozen(network: Any, record: TextEncoder | Autoencoder) -> FrozenText | FrozenAutoencoder:
    from lingen_models.checkpoints.pretrained import FrozenAutoencoder, FrozenText

    if isinstance(network, FrozenAutoencoder | FrozenText):
        return network
    if isinstance(record, TextEncoder):
        return FrozenText(network, number_of(network, record, "feature_dim"))

    def pieces(latents: Any, chunk: int, start: int) -> Any:
        if not hasattr(network, "decode_in_chunks"):
            return iter((network.decode(latents),))
        since = {"start": start} if start else {}
        return network.decode_in_chunks(latents, chunk, **since)

    numbers = {name: number_of(network, record, name) for name in SIZES}
    reach = getattr(network, "reach", None) if hasattr(network, "decode_in_chunks") else None
    return FrozenAutoencoder(network, encode=network.encode, pieces=pieces, reach=reach, **numbers)


def _record(registry: Registry, path: Path, part: str, name: str) -> TextEncoder | Autoencoder:
    is_codec = part == "autoencoder"
    table: Mapping[str, TextEncoder | Autoencoder]
    table = registry.autoencoders if is_codec else registry.text_encoders
    if name not in table:
        kind = part.replace("_", " ")
        raise NotHereError(
            f"{path} was trained with the {kind} {name!r}, which no plugin here registers: "
            "install the plugin that does"
        )
    return table[name]


def _check_packages(record: TextEncoder | Autoencoder) -> None:
    for package in record.packages:
        if find_spec(package) is None:
            raise NotHereError(
                f"{record.name} needs the package {package}: pip install 'lingen[hub]'"
            )


def _cached(record: TextEncoder | Autoencoder) -> Path | None:
    if record.repository is None:
        return None
    holds = (cached_folder(record.repository, "main", name) for name in (INDEX, "config.json"))
    return next((folder for folder in holds if folder is not None), None)


def _how_to_get(record: TextEncoder | Autoencoder) -> str:
    if record.repository is None:
        return f"{record.name} needs a folder: say with `weights` where it lies"
    return (
        f"the weights of {record.name!r} are not here: `hf download {record.repository}` fetches "
        "them, or say with `weights` where they lie"
    )


def _sum(record: TextEncoder | Autoencoder, folder: Path) -> str:
    assert record.folders is not None
    if not folder.is_dir():
        raise MissingFolderError(f"no such folder of weights: {folder}")
    try:
        return folder_sum(*record.folders(folder))
    except OSError as error:
        raise CheckpointError(f"cannot read {error.filename}: {error.strerror}") from error
