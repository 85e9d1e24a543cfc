"""Configurations of networks. Nothing here imports torch."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self, get_args, get_origin, get_type_hints

SCAN_ORDERS: dict[str, tuple[str, ...]] = {
    "rms": ("thw", "twh", "hwt", "wht"),
    "row-major": ("thw",),
    "column-major": ("twh",),
    "temporal": ("hwt",),
    "zigzag": ("zigzag-thw", "zigzag-twh", "zigzag-hwt", "zigzag-wht"),
    "hilbert": ("hilbert-thw", "hilbert-twh", "hilbert-hwt", "hilbert-wht"),
}
"""Flatten orders, outer axis to inner; layer i uses entry i modulo the length (paper.md 2.3). The
name of a curve (`lingen_models.networks.space_filling_curves`) may stand before the axes."""


MOST_LAYERS = 1000
MOST = 1 << 16
"""Of any other number: a file that asks for more is damaged, not large."""


class ConfigError(ValueError):
    """A configuration that names unknown fields, or values that do not fit them or each other."""


def _is_a(value: Any, kind: Any) -> bool:
    """Whether a JSON value is what an annotation of the dataclasses below says."""
    arguments = get_args(kind)
    if get_origin(kind) is Literal:
        return value in arguments
    if get_origin(kind) is tuple:
        if not isinstance(value, list | tuple):
            return False
        kinds = arguments[:1] * len(value) if arguments[-1] is ... else arguments
        return len(value) == len(kinds) and all(map(_is_a, value, kinds))
    if kind is float and type(value) in (int, float):
        return math.isfinite(value)
    return type(value) is kind


class _Config:
    """JSON-able round trip for the frozen dataclasses below."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types; tuples become lists."""
        fields = dataclasses.asdict(self)  # type: ignore[call-overload]
        return {k: list(v) if isinstance(v, tuple) else v for k, v in fields.items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Build from JSON types. Raises ConfigError for unknown keys, values of another type, and
        sizes below 1 or beyond all measure."""
        known = get_type_hints(cls)
        unknown = sorted(set(values) - set(known))
        if unknown:
            raise ConfigError(f"{cls.__name__} has no field {', '.join(unknown)}")
        for key, value in values.items():
            if not _is_a(value, known[key]):
                raise ConfigError(f"{key} cannot be {str(value)[:40]!r}")
            least, most = (0, MOST_LAYERS) if key.startswith("depth") else (1, MOST)
            for number in value if isinstance(value, list | tuple) else [value]:
                if type(number) in (int, float) and not least <= number <= most:
                    raise ConfigError(f"{key} {value} must be at least {least}, at most {most}")
        return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})


def is_scan(entry: str) -> bool:
    """Tell whether it has the form of an entry of `SCAN_ORDERS`: `thw`, or `hilbert-thw`."""
    curve, sign, axes = entry.rpartition("-")
    return sorted(axes) == ["h", "t", "w"] and bool(curve) == bool(sign)


@dataclass(frozen=True)
class LinGenConfig(_Config):
    """One denoiser. paper.md 1 and 2; fields marked D there are our defaults."""

    width: int = 256
    depth: int = 8
    head_dim: int = 64
    ffn_ratio: float = 4.0
    mixer: Literal["mate", "attention"] = "mate"
    """`attention` is the DiT twin: full attention in place of MATE, all else the same."""
    mamba_branch: bool = True
    tesa_branch: bool = True
    scan_axes: tuple[str, ...] = SCAN_ORDERS["rms"]
    review: Literal["front", "both", "none"] = "both"
    review_pool: tuple[int, int, int] = (2, 2, 2)
    expand: int = 2
    ssm_head_dim: int = 64
    state_size: int = 128
    conv_width: int = 3
    merge: Literal["sum", "quasiseparable"] = "sum"
    chunk: int = 64
    window: tuple[int, int, int] = (16, 4, 4)
    latent_channels: int = 16
    patch: tuple[int, int, int] = (1, 2, 2)
    text_dims: tuple[int, ...] = (256,)
    """Feature size of each text encoder; one Linear + LayerNorm each (paper.md 1.3)."""
    layout: bool = False
    """The denoiser takes a layout of objects (`networks.embeddings.LayoutEmbedding`)."""
    position_grid: tuple[int, int, int] = (128, 16, 16)
    """Learned table sizes in tokens; beyond them the tables are interpolated (paper.md 1.2)."""

    def __post_init__(self) -> None:
        if self.width % self.head_dim:
            raise ConfigError(f"width {self.width} is not a multiple of head_dim {self.head_dim}")
        if (self.expand * self.width) % self.ssm_head_dim:
            raise ConfigError(
                f"expand*width {self.expand * self.width} is not a multiple of "
                f"ssm_head_dim {self.ssm_head_dim}"
            )
        if self.conv_width % 2 == 0:
            raise ConfigError(
                f"conv_width {self.conv_width} must be odd: the convolution is centred"
            )
        if not (self.mamba_branch or self.tesa_branch):
            raise ConfigError("a MATE block needs mamba_branch or tesa_branch")
        if not self.scan_axes or not all(map(is_scan, self.scan_axes)):
            raise ConfigError(
                f"scan_axes {self.scan_axes} must be permutations of 'thw', or CURVE-thw"
            )
        if self.patch[0] != 1:
            raise ConfigError(f"patch {self.patch}: the time patch must be 1, frames keep own t")


@dataclass(frozen=True)
class TAEConfig(_Config):
    """The temporal autoencoder: 8x8x8 compression, 16 channels (paper.md 1.4)."""

    latent_channels: int = 16
    widths: tuple[int, int, int] = (64, 128, 256)
    depths: tuple[int, int, int] = (1, 2, 2)
    """Residual blocks at each width, from fine to coarse."""
    patch: int = 4
    """Pixels folded into channels before the first convolution, per side."""


@dataclass(frozen=True)
class WordsConfig(_Config):
    """A small text encoder over a closed list of words."""

    words: tuple[str, ...] = ()
    width: int = 256
    depth: int = 2
    head_dim: int = 64
    max_tokens: int = 64


PRESETS: dict[str, LinGenConfig] = {
    "mini": LinGenConfig(width=256, depth=8, expand=1, state_size=32, layout=True),
    "small": LinGenConfig(width=512, depth=12, state_size=64, position_grid=(128, 32, 32)),
    "base": LinGenConfig(width=1024, depth=20, text_dims=(1024,), position_grid=(128, 48, 48)),
    "1b": LinGenConfig(
        width=1536, depth=24, head_dim=128, text_dims=(4096,), position_grid=(136, 64, 64)
    ),
    "4b": LinGenConfig(
        width=2560,
        depth=28,
        head_dim=128,
        text_dims=(4096, 1472, 1280),
        position_grid=(136, 64, 64),
    ),
}
"""Sizes that are known to build. `4b` follows paper.md 1.8, with UL2, ByT5 and MetaCLIP widths."""
