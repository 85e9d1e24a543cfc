"""Weights on disk: safetensors only, checked before a number of them is used (reliability C9)."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lingen_models.checkpoints.whole_file import write_whole

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

HEADER_LIMIT = 8_000_000


class CheckpointError(ValueError):
    """A weights file that is not what it should be; the message is one line and names the file."""


def sha256_file(path: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_metadata(path: Path) -> dict[str, Any]:
    """The `lingen` JSON of a safetensors header: kind, config, training. No tensor is read.

    Raises CheckpointError for anything but a whole safetensors file that lingen wrote.
    """
    header = _read_header(path)
    try:
        metadata = json.loads(header["__metadata__"]["lingen"])
    except (KeyError, TypeError, ValueError, RecursionError):
        raise CheckpointError(
            f"foreign weights file: {path} has no lingen metadata; use a checkpoint that "
            "`lingen train` wrote"
        ) from None
    if not isinstance(metadata, dict):
        raise CheckpointError(f"damaged weights file: {path}: lingen metadata is not an object")
    return metadata


def _read_header(path: Path) -> dict[str, Any]:
    try:
        size = os.path.getsize(path)
        with open(path, "rb") as file:
            prefix = file.read(10)
            # The length of a header may look like the begin of a pickle.
            magic = prefix[:2] in (b"PK", b"\x80\x02", b"\x80\x04", b"\x80\x05")
            if magic and prefix[8:9] != b"{":
                raise CheckpointError(f"weights must be safetensors: {path} is a pickle or a zip")
            length = int.from_bytes(prefix[:8], "little")
            if size < 10 or prefix[8:9] != b"{" or length + 8 > size:
                raise CheckpointError(f"damaged weights file: {path} is not whole safetensors")
            if length > HEADER_LIMIT:
                raise CheckpointError(f"damaged weights file: {path} claims a {length} byte header")
            file.seek(8)
            header = json.loads(file.read(length))
            ends = [v["data_offsets"][1] for k, v in header.items() if k != "__metadata__"]
            if max(ends, default=0) + 8 + length != size:
                raise CheckpointError(f"damaged weights file: {path} is cut off or too long")
    except (OSError, CheckpointError):
        raise
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError):
        raise CheckpointError(f"damaged weights file: {path} has a broken header") from None
    return header  # type: ignore[no-any-return]


def save_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write a safetensors file that is whole or absent. Raises OSError."""
    from safetensors.torch import save

    data = save({k: v.detach().cpu().contiguous() for k, v in tensors.items()}, dict(metadata))
    write_whole(path, data)


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """All tensors of a safetensors file on the CPU, and its metadata strings."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    header = _read_header(path)
    try:
        return load_file(path), header.get("__metadata__", {})
    except SafetensorError as error:
        raise CheckpointError(f"damaged weights file: {path}: {error}") from None


def save_network(
    path: Path, network: nn.Module, metadata: Mapping[str, Any], dtype: torch.dtype | None = None
) -> None:
    """Write a network's state with `metadata` (kind, config, training) as the `lingen` JSON; its
    floating point tensors in `dtype`, where that is given."""
    state = network.state_dict()
    if dtype is not None:
        state = {
            name: tensor.to(dtype) if tensor.is_floating_point() else tensor
            for name, tensor in state.items()
        }
    save_tensors(path, state, {"lingen": json.dumps(metadata, sort_keys=True)})


def build_network(
    path: Path, metadata: Mapping[str, Any], build: Callable[[dict[str, Any]], nn.Module]
) -> nn.Module:
    """The network that the metadata of `path` describe, to be filled with all that is in it.

    Raises CheckpointError for a configuration that no network can have, and for one that asks for
    more than the file holds, before that takes memory.
    """
    import torch
    from torch import nn
    from torch.overrides import TorchFunctionMode

    drawn = (nn.init.normal_, nn.init.uniform_, nn.init.kaiming_uniform_)
    left = os.path.getsize(path)  # each number takes a byte at least

    class Bounded(TorchFunctionMode):
        def __torch_function__(
            self, function: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            nonlocal left
            if function in drawn:
                # The numbers are the file's.
                return kwargs["tensor"] if kwargs and "tensor" in kwargs else args[0]
            if function in (torch.empty, torch.zeros, torch.ones, torch.randn):
                size = args if args and isinstance(args[0], int) else args[0]
                left -= math.prod(size)
                if left < 0:
                    raise CheckpointError("its configuration asks for more than it holds")
            return function(*args, **(kwargs or {}))

    try:
        with Bounded():
            return build(dict(metadata["config"]))
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"damaged weights file: {path}: {error}") from None


def read_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Name -> shape of every tensor of a safetensors file; their numbers are not read.

    Raises CheckpointError as `load_tensors` does.
    """
    from safetensors import SafetensorError, safe_open

    _read_header(path)
    try:
        with safe_open(path, framework="numpy") as file:
            return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise CheckpointError(f"damaged weights file: {path}: {error}") from None


def check_shapes(
    path: Path, found: Mapping[str, tuple[int, ...]], network: nn.Module, kept: Iterable[str] = ()
) -> None:
    """Raise CheckpointError unless `found` are exactly the tensors of `network`, which may be on
    meta. Those in `kept` may be missing."""
    wanted = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    missing = sorted(wanted.keys() - found.keys() - set(kept))
    foreign = sorted(found.keys() - wanted.keys())
    if missing or foreign:
        what = f"lacks {missing[0]}" if missing else f"has the foreign tensor {foreign[0]}"
        raise CheckpointError(f"weights do not fit the model: {path} {what}")
    for name, shape in found.items():
        if shape != wanted[name]:
            raise CheckpointError(
                f"weights do not fit the model: {path}: {name} is {list(shape)}, "
                f"not {list(wanted[name])}"
            )


def check_finite(path: Path, name: str, tensor: Tensor) -> None:
    """Raise CheckpointError for NaN or infinity."""
    import torch

    if not torch.isfinite(tensor).all():
        raise CheckpointError(f"weights contain NaN or infinity: {path}: {name}")


def check_network(path: Path, network: nn.Module) -> None:
    """Check the file as `load_network` does, with one tensor in memory at a time; `network` may be
    on meta, and stays as it is. Raises CheckpointError."""
    from safetensors import safe_open

    check_shapes(path, read_shapes(path), network)
    with safe_open(path, framework="pt") as file:
        for name in network.state_dict():
            check_finite(path, name, file.get_tensor(name))


def load_network(
    path: Path,
    network: nn.Module,
    *,
    anew: Sequence[str] = (),
    fit: Callable[[str, Tensor, Tensor], Tensor] | None = None,
) -> list[str]:
    """Fill `network` (built on any device but meta), keeping its dtype.

    Tensors with one of `anew` in their names may be missing, and stay as they are: those are
    returned. Foreign ones with it are passed over. `fit` takes a name, a tensor of the file and the
    network's, and returns what is loaded. Raises CheckpointError for any other missing or foreign
    tensors, other shapes, NaN or infinity.
    """
    tensors, _ = load_tensors(path)
    wanted = network.state_dict()

    def free(name: str) -> bool:
        return any(part in name for part in anew)

    kept = sorted(name for name in wanted.keys() - tensors.keys() if free(name))
    tensors = {name: tensors[name] for name in tensors if name in wanted or not free(name)}
    if fit is not None:
        tensors |= {
            name: fit(name, tensors[name], wanted[name]) for name in tensors.keys() & wanted
        }
    check_shapes(path, {name: tuple(one.shape) for name, one in tensors.items()}, network, kept)
    for name, tensor in tensors.items():
        check_finite(path, name, tensor)
    network.load_state_dict(tensors, strict=not kept)
    return kept
