"""Weights in fewer bits: linear layers that are quantized while they are read, folders that were
saved so, and denoisers from GGUF files. What `diffusers` does with each stands here."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lingen_plugins.contracts import DENOISER, WeightFormats
from lingen_plugins.hub.folders import CONFIG
from lingen_plugins.plugin_errors import NotHereError

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

SUFFIX = ".gguf"
MAGIC = b"GGUF"
QUANTIZED = (DENOISER, "text_encoder")
"""Beginnings of the names of parts that are quantized; the others are small."""
_BACKENDS = {"int8": "torchao", "fp8": "torchao", "nf4": "bitsandbytes"}
_LINEAR = {"int8": 1.0, "fp8": 1.0, "nf4": 0.5 + 4 / 64}
"""Bytes of a number of a linear layer; of nf4 64 numbers share a scale of four bytes."""
_DISTRIBUTIONS = {
    "torchao": "torchao",
    "bitsandbytes": "bitsandbytes",
    "gguf": "gguf",
    "quanto": "optimum-quanto",
}
"""`quant_method` -> the package that reads it, as pip knows it."""
_MODULES = {"optimum-quanto": "optimum.quanto"}
_UNMOVABLE = {"torchao": ("disk",), "bitsandbytes": ("block", "leaf", "disk")}
"""Backend -> places of the fit ladder where its tensors cannot wait: `diffusers` writes those of
torchao to no disk, and moves the numbers of bitsandbytes block by block without their scales."""
_NOISY = ("torchao", "bitsandbytes", "torch.utils._pytree", "diffusers.quantizers")
_UNUSED = "diffusers.loaders.single_file_model"


@dataclass(frozen=True)
class Held:
    """Bytes that a number of a part takes: in linear layers, and elsewhere."""

    linear: float
    other: float
    spared: bool = False
    """Layers that an encoder of transformers wants in float32 are not quantized: by bitsandbytes.
    Those of a denoiser never are."""


def lacking(formats: WeightFormats) -> str | None:
    """Say which package is missing for these formats, and how to get it; None where none is."""
    backend = None if formats.quantize is None else _BACKENDS[formats.quantize]
    if backend is not None and not _installed(backend):
        return _needs(f"--quantize {formats.quantize}", backend)
    if formats.denoisers and not _installed("gguf"):
        return _needs("a GGUF file", "gguf")
    return None


def check_here(formats: WeightFormats, folder: Path, parts: Mapping[str, Any]) -> None:
    """Raise NotHereError where this machine cannot read weights in these formats, or those that the
    parts in a folder were saved in."""
    if (missing := lacking(formats)) is not None:
        raise NotHereError(missing)
    if formats.quantize is not None and _BACKENDS[formats.quantize] == "bitsandbytes":
        _check_card(f"--quantize {formats.quantize}")
    for part in parts:
        method = saved_in(folder / part)
        if method is None:
            continue
        backend = _DISTRIBUTIONS.get(method, method)
        if not _installed(backend):
            raise NotHereError(_needs(f"{folder / part}, which is quantized,", backend))
        if backend == "bitsandbytes":
            _check_card(f"{folder / part}, which is quantized,")


def saved_in(folder: Path) -> str | None:
    """Name of the backend with which the weights in the folder of a part were quantized; None where
    they were not, or where nothing can be read."""
    try:
        found = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    config = found.get("quantization_config") if isinstance(found, dict) else None
    return str(config.get("quant_method")) if isinstance(config, dict) else None


def no_places(quantize: str | None) -> tuple[str, ...]:
    """Places of the fit ladder where weights of a format cannot wait."""
    return () if quantize is None else _UNMOVABLE[_BACKENDS[quantize]]


def no_places_of(networks: Mapping[str, nn.Module]) -> set[str]:
    """Places where one of these networks cannot wait."""
    methods = {_method(one) for one in networks.values()}
    return {place for method in methods for place in _UNMOVABLE.get(method, ())}


def _method(network: nn.Module) -> str:
    config = getattr(getattr(network, "config", None), "quantization_config", None)
    if config is None:
        return ""
    method = config.get("quant_method") if isinstance(config, Mapping) else config.quant_method
    return str(getattr(method, "value", method))


def config_of(quantize: str, library: str, dtype: torch.dtype) -> Any:
    """The configuration with which a class of `library` quantizes what it reads: the same as
    `PipelineQuantizationConfig` hands to each part."""
    classes = import_module(library)
    if quantize == "nf4":
        return classes.BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype
        )
    torchao = import_module("torchao.quantization")
    eight = {"int8": torchao.Int8WeightOnlyConfig, "fp8": torchao.Float8WeightOnlyConfig}
    return classes.TorchAoConfig(eight[quantize]())


def read_gguf(kind: Any, file: Path, folder: Path, dtype: torch.dtype) -> Any:
    """A network of the class `kind`, with the numbers of a GGUF file and the configuration in a
    folder.

    Raises ValueError where the file lacks a tensor or has one too many, NotHereError for a class
    that reads no such files, and else what `diffusers` raises.
    """
    diffusers = import_module("diffusers")
    if not hasattr(kind, "from_single_file"):
        raise NotHereError(f"diffusers reads no GGUF for a {kind.__name__}: leave out --denoiser")
    config = diffusers.GGUFQuantizationConfig(compute_dtype=dtype)
    try:
        with _unused() as unused:
            network = kind.from_single_file(
                str(file),
                config=str(folder),
                quantization_config=config,
                torch_dtype=dtype,
                local_files_only=True,
            )
    except NotImplementedError as error:  # of a tensor without numbers, which is to be moved
        raise ValueError("it lacks tensors that the configuration names") from error
    if any(one.is_meta for one in network.state_dict().values()):
        raise ValueError("it lacks tensors that the configuration names")
    if unused:
        raise ValueError("it has tensors that the configuration knows nothing of")
    return network.eval().requires_grad_(False)


def held_in(folder: Path, formats: WeightFormats, parts: Mapping[str, tuple[int, int]]) -> Any:
    """Bytes of a number of those parts that are not held in their own precision.

    `parts` has the numbers of each, and the bytes of one in its own precision. Files count where
    they are there. Raises OSError.
    """
    found: dict[str, Held] = {}
    for part, (numbers, size) in parts.items():
        files = sorted((folder / part).glob("*.safetensors"))
        if saved_in(folder / part) is not None and files:
            mean = sum(one.stat().st_size for one in files) / numbers
            found[part] = Held(mean, mean)
        elif formats.quantize is not None and part.startswith(QUANTIZED):
            spared = _BACKENDS[formats.quantize] == "bitsandbytes"
            found[part] = Held(_LINEAR[formats.quantize], size, spared)
    denoisers = sorted(part for part in parts if part.startswith(DENOISER))
    for part, file in zip(denoisers, formats.denoisers, strict=False):
        mean = file.stat().st_size / parts[part][0]
        found[part] = Held(mean, mean)
    return found


def counter(network: nn.Module, held: Held | None, size: int | None) -> Callable[[Any], int]:
    """A function from some parameters of a network to the bytes that they take.

    A number takes what `held` says, else `size`; without both, what it takes as it is loaded.
    """
    from torch import nn

    linear = {id(one.weight) for one in network.modules() if isinstance(one, nn.Linear)}
    kept = set(getattr(network, "_keep_in_fp32_modules", None) or ())
    exact = {id(one) for name, one in network.named_parameters() if kept & set(name.split("."))}
    of_diffusers = type(network).__module__.startswith("diffusers.")

    def each(tensor: Tensor) -> float:
        if held is None:
            return stored_bytes(tensor) if size is None else tensor.numel() * size
        if held.linear < held.other and id(tensor) in exact and (of_diffusers or held.spared):
            return tensor.numel() * (4 if of_diffusers else held.other)
        return tensor.numel() * (held.linear if id(tensor) in linear else held.other)

    return lambda numbers: int(sum(map(each, numbers)))


def stored_bytes(tensor: Any) -> int:
    """Bytes of a tensor, whose numbers may lie in tensors inside it."""
    if hasattr(tensor, "__tensor_flatten__"):
        names, _ = tensor.__tensor_flatten__()
        return sum(stored_bytes(getattr(tensor, one)) for one in names)
    scales = getattr(getattr(tensor, "quant_state", None), "absmax", None)
    return int(tensor.numel() * tensor.element_size()) + (
        0 if scales is None else stored_bytes(scales)
    )


def silence_backends() -> None:
    """Let no backend tell of kernels for other machines."""
    for name in _NOISY:
        logging.getLogger(name).setLevel(logging.ERROR)


@contextmanager
def _unused() -> Iterator[list[str]]:
    """Inside, what `diffusers` says of tensors that it made no use of is collected, not shown."""
    logger, found = logging.getLogger(_UNUSED), list[str]()

    def collected(record: logging.LogRecord) -> bool:
        if "were not used" in record.getMessage():
            found.append(record.getMessage())
        return False

    level = logger.level
    logger.addFilter(collected)
    logger.setLevel(logging.WARNING)
    try:
        yield found
    finally:
        logger.removeFilter(collected)
        logger.setLevel(level)


def _installed(package: str) -> bool:
    name = _MODULES.get(package, package)
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:  # of the package around it
        return False


def _needs(what: str, package: str) -> str:
    known = package in ("torchao", "bitsandbytes", "gguf")
    return f"{what} needs the package {package}: pip install " + (
        "'lingen[quantize]'" if known else package
    )


def _check_card(what: str) -> None:
    if not has_card():
        raise NotHereError(
            f"{what} needs a GPU, on which bitsandbytes quantizes: use --quantize int8 or fp8"
        )


def has_card() -> bool:
    """Tell whether this machine has a GPU."""
    import torch

    return torch.cuda.is_available()
