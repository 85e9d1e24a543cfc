"""From a folder as `save_pretrained` writes it to a `diffusers` pipeline, checked on the way."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from logging import CRITICAL
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lingen_models.checkpoints.safetensors import CheckpointError
from lingen_plugins.contracts import DENOISER, PLAIN, FoundModel, HubModel, WeightFormats
from lingen_plugins.hub import weight_formats as held
from lingen_plugins.hub.folders import read_object
from lingen_plugins.hub.modular.blocks import INDEX as MODULAR
from lingen_plugins.hub.modular.blocks import assemble
from lingen_plugins.plugin_errors import NotHereError

if TYPE_CHECKING:
    import torch

INDEX = "model_index.json"
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.msgpack", "*.h5")
LIBRARIES = {
    "diffusers": "diffusers",
    "transformers": "transformers",
    "ltx2": "diffusers.pipelines.ltx2",
}
"""Names in an index -> modules that the classes of a pipeline may come from: an index is a file
that anybody can write."""
WAN_AUTOENCODER = "AutoencoderKLWan"
"""Its pipelines take it in float32, whatever the denoiser's precision."""


def index_of(folder: Path) -> Path | None:
    """The index of the pipeline in a folder, a modular one where there is no other; None where
    there is none."""
    return next((folder / one for one in (INDEX, MODULAR) if (folder / one).is_file()), None)


def read_index(folder: Path) -> dict[str, Any]:
    """The index of a folder. Raises `CheckpointError` where it is damaged or names strangers."""
    path = index_of(folder) or folder / INDEX
    index = read_object(path, "index")
    for part, value in parts_of(index).items():
        if value[0] not in LIBRARIES or not value[1].isidentifier() or not part.isidentifier():
            raise CheckpointError(
                f"{path}: {part!r} is of {value[0]!r}; lingen loads parts of "
                "diffusers and transformers alone"
            )
    return index


def parts_of(index: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """Part -> library and class, of the parts that are there."""
    found = {}
    for part, value in index.items():
        if not isinstance(value, list):
            continue
        names: Any = value[:2]
        if len(value) == 3 and value[0] is None and isinstance(value[2], dict):
            elsewhere = value[2].get("pretrained_model_name_or_path") is not None
            names = value[2].get("type_hint") if elsewhere else None  # else it is left out
        if isinstance(names, list) and len(names) == 2 and names[0] is not None:
            found[str(part)] = (str(names[0]), str(names[1]))
    return found


def is_modular(index: Mapping[str, Any]) -> bool:
    """Tell whether an index is that of a modular pipeline."""
    return str(index.get("_class_name", "")).endswith("ModularPipeline")


def networks_of(index: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """Part -> library and class, of those parts that are networks. Raises as `class_of`."""
    from torch import nn

    return {
        part: (library, name)
        for part, (library, name) in parts_of(index).items()
        if issubclass(class_of(library, name), nn.Module)
    }


def load_pipeline(
    model: HubModel,
    folder: Path,
    device: str,
    dtype: torch.dtype | None,
    formats: WeightFormats = PLAIN,
) -> Any:
    """The pipeline in `folder`, with every tensor that its networks have and no other.

    An autoencoder whose pipelines allow it computes in float32, the others in `dtype`. Nothing is
    downloaded, nothing is unpickled. Raises `CheckpointError`, and NotHereError where diffusers
    cannot be used.
    """
    import torch

    from lingen_models.precision import compute_dtype

    index, loaded = read_index(folder), {}
    kind = class_of("diffusers", model.pipelines[0])
    parts = networks_of(index)
    denoisers = sorted(one for one in parts if one.startswith(DENOISER))
    files = dict(zip(denoisers, formats.denoisers, strict=False))
    held.check_here(formats, folder, parts)
    for part in sorted(parts, key=lambda one: one not in files):  # what may be refused, first
        library, name = parts[part]
        exact = part == "vae" and (name == WAN_AUTOENCODER or not isinstance(model, FoundModel))
        precision = torch.float32 if exact else dtype or compute_dtype(device)
        if part in files:
            loaded[part] = load_denoiser(files[part], folder / part, library, name, precision)
            continue
        beside = ("",) if library == "transformers" and isinstance(model, FoundModel) else ()
        small = formats.quantize if part.startswith(held.QUANTIZED) else None
        loaded[part] = load_network(folder / part, library, name, precision, beside, small)
    if missing := [part for part in model.parameters if part not in loaded]:
        raise CheckpointError(f"{folder / INDEX} names no {missing[0]}")
    try:
        if is_modular(index):
            others = {part: one for part, one in parts_of(index).items() if part not in loaded}
            for part, (library, name) in others.items():
                reader = class_of(library, name)
                loaded[part] = reader.from_pretrained(str(folder / part), local_files_only=True)
            pipe = assemble(folder, loaded)
        else:
            pipe = kind.from_pretrained(str(folder), local_files_only=True, **loaded)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, ImportError) as error:
        raise CheckpointError(f"cannot load {folder}: {one_line(error)}") from error
    pipe.set_progress_bar_config(disable=True)
    return pipe.to(device)


def check_strides(model: HubModel, folder: Path, time: int, space: int) -> None:
    """Raise `CheckpointError` where an autoencoder has other strides than the model's record."""
    if time != model.time_stride or model.side_step % space:
        raise CheckpointError(
            f"weights do not fit the model: the autoencoder in {folder} has the strides "
            f"{time}x{space}x{space}, which are not those of {model.name}"
        )


def awake(network: Any) -> Any:
    """`network`, brought to where it computes if it waits on the CPU (`enable_model_cpu_offload`).

    `diffusers` does so in the methods that it knows; here parts of a network are called.
    """
    hook = getattr(network, "_hf_hook", None)
    if hook is not None:
        hook.pre_forward(network)
    return network


@contextmanager
def in_tiles(vae: Any, *, wanted: bool) -> Iterator[None]:
    """Inside, `vae` decodes in tiles that are blended, if that is wanted."""
    if wanted:
        vae.enable_tiling()
    try:
        yield
    finally:
        if wanted:
            vae.disable_tiling()


def load_network(
    folder: Path,
    library: str,
    name: str,
    dtype: torch.dtype | str,
    beside: tuple[str, ...] = (),
    quantize: str | None = None,
) -> Any:
    """The network of the class `name` in a folder, in `dtype`; `auto` is that of the file. Its
    linear layers are quantized, if that is asked for and they were not saved so.

    It has every tensor that it needs; others are refused but for those whose names begin as one of
    `beside`, which belong to a larger model that it is a part of. Raises `CheckpointError`.
    """
    kind = class_of(library, name)
    given: dict[str, Any] = {"dtype" if library == "transformers" else "torch_dtype": dtype}
    if quantize is not None and not isinstance(dtype, str) and held.saved_in(folder) is None:
        given["quantization_config"] = held.config_of(quantize, library, dtype)
    try:
        network, info = kind.from_pretrained(
            str(folder),
            output_loading_info=True,
            use_safetensors=True,
            local_files_only=True,
            **given,
        )
    except Exception as error:  # both libraries raise nearly anything for a damaged file
        raise CheckpointError(
            f"cannot load {folder}: {_missing(folder) or one_line(error)}"
        ) from error
    for what in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        passed = beside if what == "unexpected_keys" else ()
        named = map(str, info.get(what) or ())
        if wrong := sorted(one for one in named if not one.startswith(passed)):
            raise CheckpointError(
                f"weights do not fit the model: {folder}: {what.replace('_', ' ')}: {wrong[0]}"
                + (f" and {len(wrong) - 1} more" if len(wrong) > 1 else "")
            )
    return network.eval().requires_grad_(False)


def _missing(folder: Path) -> str | None:
    """Say which files of a network are not in its folder, and what to do; None where all are."""
    if not any(folder.glob("*.safetensors")):
        others = sorted(one.name for kind in _PICKLES for one in folder.glob(kind))
        if not others:
            return "it holds no weights: download them again"
        return (
            f"only safetensors are read, not {others[0]}: load it with from_pretrained of its "
            "class, and write it with save_pretrained"
        )
    for index in folder.glob("*.safetensors.index.json"):
        try:
            names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
            continue
        if lacking := sorted(str(one) for one in names if not (folder / str(one)).is_file()):
            return (
                f"{len(lacking)} of {len(names)} files are missing ({lacking[0]}): download it "
                "again"
            )
    return None


def load_denoiser(file: Path, folder: Path, library: str, name: str, dtype: torch.dtype) -> Any:
    """The denoiser of the class `name` in a GGUF file, as its configuration in a folder has it.

    Raises `CheckpointError`, and NotHereError for a class that reads no such files.
    """
    kind = class_of(library, name)
    try:
        return held.read_gguf(kind, file, folder, dtype)
    except NotHereError:
        raise
    except Exception as error:  # nearly anything, for a damaged file or another architecture
        raise CheckpointError(
            f"{file} is no GGUF of the {name} of {folder}: {one_line(error)}"
        ) from error


def class_of(library: str, name: str) -> Any:
    """The class `name` of one of `LIBRARIES`, which from then on draws no bars and logs
    nothing.

    Raises NotHereError where the library cannot be imported, `CheckpointError` where it has no such
    class.
    """
    held.silence_backends()
    place = LIBRARIES[library]
    package = place.partition(".")[0]
    try:
        module = import_module(place)
        logging = import_module(f"{package}.utils.logging")
        kind = getattr(module, name, None)
    except (ImportError, RuntimeError) as error:  # diffusers imports its classes when asked
        raise NotHereError(
            f"{name} of {package} cannot be imported ({one_line(error)}): "
            "pip install --upgrade 'lingen[hub]'"
        ) from error
    logging.set_verbosity(CRITICAL)  # errors are raised as well
    logging.disable_progress_bar()
    if not isinstance(kind, type):
        raise CheckpointError(
            f"{package} {import_module(package).__version__} has no class {name[:60]}: "
            f"pip install --upgrade {package}"
        )
    return kind


def one_line(error: BaseException) -> str:
    """The message of an error of a library, on one line and not too long."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 300 else f"{text[:297]}..."
