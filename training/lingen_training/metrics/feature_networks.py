"""Networks whose features metrics compare, read from folders and files of the user's.

Nothing is downloaded, no code from a folder is run, and weights are read from safetensors alone. A
TorchScript file is a program: it is run as it is.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional as F

if TYPE_CHECKING:
    from transformers import PretrainedConfig

SIDE = 224
_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
_FLAGS = {"rescale": False, "resize": False, "return_features": True}
"""Arguments of the TorchScript files of I3D that are about; others need not have them."""


class NetworkError(ValueError):
    """A file or folder that is not the network that is needed; the message is one line."""


class MissingTransformersError(ImportError):
    """The package that reads DINO and CLIP is not installed."""


class DinoEncoder:
    """Features of images from a folder with DINO (`facebook/dino-vitb16`), or another vision
    transformer of transformers.

    Raises NetworkError and MissingTransformersError.
    """

    def __init__(self, folder: Path, device: str = "cpu") -> None:
        self._network, config = _transformer(folder, device, "image_size", ignored="pooler.")
        self._side = min(SIDE, int(config.image_size))
        self._device = device
        accepted = inspect.signature(self._network.forward).parameters
        self._more = {"interpolate_pos_encoding": True}
        if "interpolate_pos_encoding" not in accepted:
            self._more = {}

    def prepare(self, image: Tensor) -> Tensor:
        """An image (1, 3, h, w), 0..255, as the network takes it: not cut to a square (VBench)."""
        return _normal(_short_side(image, self._side, "bilinear"), _IMAGENET)

    @torch.inference_mode()
    def features(self, images: Tensor) -> Tensor:
        """Prepared images (B, 3, H, W) -> features (B, D) of length 1, those of the class token."""
        found = self._network(pixel_values=images.to(self._device), **self._more)
        return F.normalize(found.last_hidden_state[:, 0].float(), dim=-1).cpu()


class ClipEncoder:
    """Features of images and texts from a folder with CLIP (`openai/clip-vit-base-patch32`), whose
    tokenizer is needed for `texts` alone.

    Raises NetworkError and MissingTransformersError.
    """

    def __init__(self, folder: Path, device: str = "cpu", *, texts: bool = True) -> None:
        self._network, config = _transformer(folder, device, "vision_config")
        self._device = device
        self._side = int(config.vision_config.image_size)
        self._longest = int(config.text_config.max_position_embeddings)
        self._tokenizer = _tokenizer(folder) if texts else None

    def prepare(self, image: Tensor) -> Tensor:
        """An image (1, 3, h, w), 0..255, as the network takes it: the square in its middle."""
        scaled = _short_side(image, self._side, "bicubic")
        return _normal(_middle_square(scaled, self._side), _CLIP)

    @torch.inference_mode()
    def features(self, images: Tensor) -> Tensor:
        """Prepared images (B, 3, H, W) -> features (B, D) of length 1."""
        found = self._network.get_image_features(pixel_values=images.to(self._device))
        return F.normalize(found.pooler_output.float(), dim=-1).cpu()

    @torch.inference_mode()
    def text_features(self, prompt: str) -> Tensor:
        """Features (D,) of length 1; what is longer than CLIP reads is cut."""
        assert self._tokenizer is not None
        words = self._tokenizer(
            [prompt], truncation=True, max_length=self._longest, return_tensors="pt"
        )
        found = self._network.get_text_features(**{k: v.to(self._device) for k, v in words.items()})
        return F.normalize(found.pooler_output.float(), dim=-1)[0].cpu()


class VideoEncoder:
    """Features of clips of `frames` frames from a TorchScript file, such as I3D's, which is tried
    at once. Raises NetworkError."""

    def __init__(self, file: Path, frames: int, device: str = "cpu") -> None:
        self._file, self._device = file, device
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)
                load: Any = torch.jit.load
                network = load(str(file), map_location=device)
        except Exception as error:
            raise NetworkError(f"not a TorchScript file: {file}") from error
        self._network = network.eval()
        known = {one.name for one in network.forward.schema.arguments}
        self._flags = {name: value for name, value in _FLAGS.items() if name in known}
        self.features(torch.zeros(3, frames, SIDE, SIDE))

    def prepare(self, image: Tensor) -> Tensor:
        """An image (1, 3, h, w), 0..255, as (3, 224, 224) in [-1, 1]: the square in its middle."""
        square = _middle_square(_short_side(image, SIDE, "bilinear"), SIDE)
        return square[0] / 127.5 - 1

    @torch.inference_mode()
    def features(self, clip: Tensor) -> Tensor:
        """A clip (3, T, 224, 224) in [-1, 1] -> features (D,), float64. Raises NetworkError."""
        try:
            found = self._network(clip[None].to(self._device), **self._flags)
        except Exception as error:
            shape = "x".join(map(str, clip.shape))
            raise NetworkError(
                f"{self._file} takes no clip of 1x{shape}: {_line(error)}"
            ) from error
        if not isinstance(found, Tensor) or found.dim() != 2 or found.shape[0] != 1:
            raise NetworkError(f"{self._file} must return one row of features per clip")
        return found[0].double().cpu()


def _tokenizer(folder: Path) -> Any:
    if not any((folder / name).is_file() for name in ("tokenizer.json", "vocab.json")):
        raise NetworkError(f"no tokenizer in {folder}: neither tokenizer.json nor vocab.json")
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(
            str(folder), local_files_only=True, trust_remote_code=False
        )
    except Exception as error:
        raise NetworkError(f"no tokenizer can be read from {folder}: {_line(error)}") from error


def _transformer(
    folder: Path, device: str, mark: str, ignored: str = " "
) -> tuple[Any, PretrainedConfig]:
    """Network and configuration, which has a field `mark`; tensors whose names begin with `ignored`
    may be missing."""
    if find_spec("transformers") is None:
        raise MissingTransformersError("transformers")
    if not (folder / "config.json").is_file():
        raise NetworkError(f"no config.json in {folder}")
    if not any(folder.glob("*.safetensors")):
        raise NetworkError(f"no .safetensors in {folder}")
    from transformers import AutoConfig, AutoModel
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        config = AutoConfig.from_pretrained(str(folder), local_files_only=True)
    except Exception as error:
        raise NetworkError(f"config.json in {folder} cannot be used: {_line(error)}") from error
    if not hasattr(config, mark):
        kind = "CLIP" if mark == "vision_config" else "DINO or another vision transformer"
        raise NetworkError(f"{folder} has a {config.model_type}, not {kind}")
    try:
        network, report = AutoModel.from_pretrained(
            str(folder),
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            dtype=torch.float32,
            output_loading_info=True,
        )
    except Exception as error:
        raise NetworkError(f"no network can be read from {folder}: {_line(error)}") from error
    missing = sorted(one for one in report["missing_keys"] if not one.startswith(ignored))
    if missing:
        raise NetworkError(f"weights in {folder} lack {len(missing)} tensors, such as {missing[0]}")
    return network.eval().to(device), network.config


def _short_side(image: Tensor, side: int, mode: str) -> Tensor:
    """Scaled as torchvision's `Resize(side, antialias=False)` does it, which VBench uses."""
    height, width = image.shape[-2:]
    if height <= width:
        size = (side, max(side, int(side * width / height)))
    else:
        size = (max(side, int(side * height / width)), side)
    if (height, width) == size:
        return image
    return F.interpolate(image, size, mode=mode, align_corners=False)


def _middle_square(image: Tensor, side: int) -> Tensor:
    top, left = (round((length - side) / 2) for length in image.shape[-2:])
    return image[..., top : top + side, left : left + side]


def _normal(image: Tensor, statistics: tuple[Sequence[float], Sequence[float]]) -> Tensor:
    mean, deviation = (image.new_tensor(one)[:, None, None] for one in statistics)
    return (image / 255 - mean) / deviation


def _line(error: Exception) -> str:
    """First words of an error, on one line."""
    return " ".join(str(error).split())[:200] or type(error).__name__
