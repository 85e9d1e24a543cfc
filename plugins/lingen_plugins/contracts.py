"""What a plugin hands over: frozen records that cost nothing to create.

A record names one component, says in a line what it is, and carries one callable, `build`, that
does the expensive work (importing torch included) when it is called, and not before.
Configurations are JSON-able mappings.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lingen_models.config import is_scan

if TYPE_CHECKING:
    from torch import Tensor, nn

    from lingen_models.sampling import Sampler as SamplingLoop

Config = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Component:
    """What every record has. `name` is lower case with hyphens; `summary` is one line."""

    name: str
    summary: str

    def __post_init__(self) -> None:
        if not self.name or self.name != self.name.strip().lower() or " " in self.name:
            raise ValueError(
                f"{type(self).__name__} name {self.name!r} must be lower case, no spaces"
            )


@dataclass(frozen=True, kw_only=True)
class Weights:
    """Where the three kinds of safetensors files of one model lie.

    `folder` is absolute, or relative to the installed `package`, which is located without being
    imported.
    """

    folder: str
    package: str | None = None
    denoiser: str = "denoiser.safetensors"
    autoencoder: str = "autoencoder.safetensors"
    text_encoders: tuple[str, ...] = ("text_encoder.safetensors",)

    def root(self) -> Path:
        """The folder on disk. Raises ValueError when `package` is not installed as files."""
        if self.package is None:
            return Path(self.folder)
        spec = find_spec(self.package)
        if spec is None or not spec.submodule_search_locations:
            raise ValueError(f"package {self.package!r}, which holds weights, is not installed")
        return Path(next(iter(spec.submodule_search_locations))) / self.folder

    def files(self) -> dict[str, Path]:
        """Part name -> path, in the order denoiser, autoencoder, text_encoder[_2, ...]."""
        root = self.root()
        files = {"denoiser": root / self.denoiser, "autoencoder": root / self.autoencoder}
        for number, name in enumerate(self.text_encoders, start=1):
            files["text_encoder" if number == 1 else f"text_encoder_{number}"] = root / name
        return files


@dataclass(frozen=True, kw_only=True)
class ModelVariant(Component):
    """One entry of the model zoo: an architecture, what it runs with, what it was trained for."""

    build: Callable[[Config], nn.Module]
    config: Config
    tiny_config: Config
    """The same architecture at test size; the conformance tests build this one."""
    autoencoder: str
    text_encoders: tuple[str, ...]
    scan_order: str
    review: Literal["front", "both", "none"]
    sampler: str
    weights: Weights | None = None
    """None: no weights exist; `generate` says so and how to get there."""
    licence: str = "unknown"
    fps: int = 16
    size: int = 128
    """Pixels per side, as trained."""
    trained_seconds: float = 60.0
    steps: int = 20
    guidance: float = 3.0
    windows: tuple[int, int] = (33, 9)
    """Beyond `trained_seconds`, and when a video is extended, it is sampled in windows: latent
    frames in one, and how many of them are its past."""


@dataclass(frozen=True, kw_only=True)
class ScanOrder(Component):
    """Flatten orders of the token grid, outer axis to inner (paper.md 2.3).

    Layer i uses `axes[i % len(axes)]`: a permutation of `thw`, which is a mere transpose, or the
    name of a curve before it, as in `hilbert-thw`, which costs a gather.
    """

    axes: tuple[str, ...]
    curve: Callable[[tuple[int, int, int]], Tensor] | None = None
    """A curve of its own, under the name of the record: from a grid (A, B, C), outer axis to inner,
    to the A*B*C row-major numbers of its cells in the order of the curve."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.axes or not all(map(is_scan, self.axes)):
            raise ValueError(
                f"scan order {self.name!r}: axes {self.axes} must be permutations of 'thw', "
                "or CURVE-thw"
            )


@dataclass(frozen=True, kw_only=True)
class TextEncoder(Component):
    """`build(config)` -> module from prompts to features (B, L, feature_dim)."""

    build: Callable[[Config], nn.Module]
    feature_dim: int
    config: Config = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Autoencoder(Component):
    """`build(config)` -> module with `encode(video) -> (B, C, T, H, W)` and `decode`.

    The strides are in frames and pixels.
    """

    build: Callable[[Config], nn.Module]
    latent_channels: int
    time_stride: int
    space_stride: int
    config: Config = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Sampler(Component):
    """`build()` -> the loop `(velocity, noise, times, on_step) -> latents`, see `euler`."""

    build: Callable[[], SamplingLoop]
    schedule: str = "linear-quadratic"
    """Where its steps lie in time: a name in `lingen_models.pipeline.SCHEDULES`."""
    guided_after: float = 0.0
    """The time, from 0 (noise) to 1, before which there is no guidance."""
    restartable: bool = False
    """Each step first asks for the velocity of all that it goes on with, and tells `on_step` at
    its end. So from what step k asked about and `times[k:]`, the loop ends as the whole does: a
    stopped run goes on inside a clip. Else it does so between the windows of a long one."""
    remembers: bool = False
    """To go on so, it needs the step before as well: its loop takes `before=`, the estimate that
    it gave to `on_step` then, and the time at which that step began."""

    def choices(self, guidance: float) -> dict[str, Any]:
        """What it decides of the arguments of `TextToVideo.sample`, `go_on` and `retake`."""
        from lingen_models.sampling import guided_from

        return {
            "sampler": self.build(),
            "schedule": self.schedule,
            "guidance": guided_from(self.guided_after, guidance),
        }


@dataclass(frozen=True, kw_only=True)
class Dataset(Component):
    """`build(config)` -> the module or object that the trainer draws clips and captions from."""

    build: Callable[[Config], Any]
