"""Records that a plugin hands over: frozen, and free to create.

A record names one component, says in a line what it is, and carries one callable, `build`, that
does the expensive work (importing torch included) when it is called, and not before.
Configurations are JSON-able mappings.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Literal

from lingen_models.network_config import is_scan
from lingen_plugins.hub_cache import snapshot_folder

if TYPE_CHECKING:
    from torch import Tensor, nn

    from lingen_models.pipelines.protocol import VideoPipeline
    from lingen_models.pipelines.text_to_video import LayoutPlanner, ObjectLocator
    from lingen_models.sampling.denoise import Sampler as SamplingLoop
    from lingen_models.sampling.denoise import SamplingMethod

Config = Mapping[str, Any]

_REPOSITORY = re.compile(r"(?!.*(?:--|\.\.))[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True)
class Component:
    """Fields that every record has. `name` is lower case with hyphens; `summary` is one line."""

    name: str
    summary: str

    def __post_init__(self) -> None:
        if not self.name or self.name != self.name.strip().lower() or " " in self.name:
            raise ValueError(
                f"{type(self).__name__} name {self.name!r} must be lower case, no spaces"
            )


@dataclass(frozen=True, kw_only=True)
class Weights:
    """Place of the three kinds of safetensors files of one model, and what they must be.

    `folder` is absolute, or relative to the installed `package`, which is located without being
    imported, or relative to the hub's `repository`, from which `lingen models pull` gets them.

    Raises ValueError where what is needed for a download is missing or is no such thing.
    """

    folder: str = ""
    package: str | None = None
    denoiser: str = "denoiser.safetensors"
    autoencoder: str = "autoencoder.safetensors"
    text_encoders: tuple[str, ...] = ("text_encoder.safetensors",)
    repository: str | None = None
    """A model repository of the Hugging Face hub, `owner/name`."""
    revision: str | None = None
    """Its commit, all 40 digits: what a branch or a tag stands for can change."""
    sha256: Mapping[str, str] = field(default_factory=dict)
    """Part -> SHA-256 of its file. A file with another one is never used."""
    sizes: Mapping[str, int] = field(default_factory=dict)
    """Part -> bytes of its file."""

    def __post_init__(self) -> None:
        parts = self.names()
        for name, given in (("sha256", self.sha256), ("sizes", self.sizes)):
            if unknown := sorted(set(given) - set(parts)):
                raise ValueError(f"{name} names {unknown[0]!r}; the parts are {', '.join(parts)}")
        for part, digest in self.sha256.items():
            if not _SHA256.fullmatch(digest):
                raise ValueError(f"the sha256 of {part} must be 64 digits of 0-9 and a-f")
        for part, size in self.sizes.items():
            if type(size) is not int or size <= 0:
                raise ValueError(f"the size of {part} must be a number of bytes")
        if self.repository is not None:
            self._check_download()

    def _check_download(self) -> None:
        if self.package is not None:
            raise ValueError("weights lie in a package or in a repository, not in both")
        if not _REPOSITORY.fullmatch(self.repository or ""):
            raise ValueError(f"the repository must be 'owner/name', not {self.repository!r}")
        if not _COMMIT.fullmatch(self.revision or ""):
            raise ValueError(
                f"the revision of {self.repository} must be a commit, 40 digits of 0-9 and a-f"
            )
        for part, name in self.names().items():
            path = PurePosixPath(self.folder, name)
            if path.is_absolute() or ".." in path.parts:
                raise ValueError(f"{str(path)!r} is outside {self.repository}")
            if part not in self.sha256 or part not in self.sizes:
                raise ValueError(f"a download needs the sha256 and the size of {part}")

    def names(self) -> dict[str, str]:
        """Part -> file name, in the order denoiser, autoencoder, text_encoder[_2, ...]."""
        names = {"denoiser": self.denoiser, "autoencoder": self.autoencoder}
        for number, name in enumerate(self.text_encoders, start=1):
            names["text_encoder" if number == 1 else f"text_encoder_{number}"] = name
        return names

    def root(self) -> Path:
        """The folder on disk. Raises ValueError when `package` is not installed as files."""
        if self.repository is not None:
            return snapshot_folder(self.repository, self.revision or "") / self.folder
        if self.package is None:
            return Path(self.folder)
        spec = find_spec(self.package)
        if spec is None or not spec.submodule_search_locations:
            raise ValueError(f"package {self.package!r}, which holds weights, is not installed")
        return Path(next(iter(spec.submodule_search_locations))) / self.folder

    def files(self) -> dict[str, Path]:
        """Part -> path, in the order of `names`; where nothing is, after a download."""
        root = self.root()
        return {part: root / name for part, name in self.names().items()}


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
    recipe: str | None = None
    """The recipe with which `lingen train RECIPE --model NAME` makes its weights."""
    license: str = "unknown"
    fps: int = 16
    size: int = 128
    """Pixels per side, as trained."""
    trained_seconds: float = 60.0
    steps: int = 20
    guidance: float = 3.0
    plan_layout: LayoutPlanner | None = None
    """Where the objects of a prompt are. Used where a video is made from a prompt alone, or goes on
    with one that was, with weights that take a layout."""
    plans: Callable[[str], bool] | None = None
    """Whether `plan_layout` has a plan for a prompt. It is asked before torch is imported."""
    planned_sampling: Mapping[str, Any] = field(default_factory=dict)
    """Defaults of fields of `SamplingParams`, such as fewer steps, for its own weights and prompts
    that it plans."""
    locate_objects: ObjectLocator | None = None
    """Where objects are in an image that a video begins with, from which the plan goes on."""
    windows: tuple[int, int] = (33, 9)
    """Beyond `trained_seconds`, and when a video is extended, it is sampled in windows: latent
    frames in one, and how many of them are its past."""


SUPPORTED = ("steps", "guidance_scale", "negative_prompt", "seed")
"""Fields of `SamplingParams` that every pipeline of `diffusers` follows."""


IMAGES = ("image", "last_image", "video")
"""What pipelines of `diffusers` make a video from beside a prompt, as options and arguments."""
DENOISER = "transformer"
"""Beginning of the names that pipelines of `diffusers` have for their denoisers."""
QUANTIZATIONS = ("int8", "fp8", "nf4")
"""Formats of eight and of four bits in which the linear layers of a network can be held."""


@dataclass(frozen=True, kw_only=True)
class WeightFormats:
    """Formats of weights in memory, where that is not the precision in which they compute."""

    quantize: str | None = None
    """One of `QUANTIZATIONS`, for denoisers and text encoders."""
    denoisers: tuple[Path, ...] = ()
    """GGUF files, one for each denoiser of the pipeline, in place of those in the folder."""


PLAIN = WeightFormats()
"""Weights in the precision in which they compute."""


@dataclass(frozen=True, kw_only=True)
class HubModel(Component):
    """Open weights that others published, run by a pipeline of the `diffusers` package.

    What it can do stands here, so that a wish beyond it is refused before anything is loaded.
    """

    build: Callable[..., VideoPipeline]
    """From its folder, a device and a torch dtype (None: the device's own) to the loaded model.
    Where `takes_formats`, also from `formats`, a `WeightFormats`. Raises `CheckpointError` where
    the folder does not hold it."""
    pipelines: tuple[str, ...]
    """Classes of `diffusers`: the first runs it, and its `model_index.json` names any of them."""
    since: str
    """The first version of `diffusers` that runs it, such as `0.33.0`."""
    repository: str
    """`owner/name` on huggingface.co."""
    revision: str = "main"
    license: str
    license_url: str
    parameters: Config
    """Part -> how many numbers it holds, counted from its published configuration."""
    fps: int
    size: str
    """WIDTHxHEIGHT, as it was trained."""
    side_step: int
    """Width and height are multiples of it, in pixels."""
    time_stride: int
    """Video frames per latent frame."""
    frames: int
    """The most video frames that it makes in one piece."""
    windows: tuple[int, int] | None = None
    """Latent frames of a window and of its past, with which it goes on; None: it cannot."""
    supports: tuple[str, ...] = SUPPORTED
    """Fields of `SamplingParams` that its pipeline follows; others are refused."""
    from_pixels: bool = True
    """Whether it goes on with any video, or only with latents of its own that are still there."""
    steps: int
    guidance: float
    negative_prompt: str = ""
    """Of its authors; `--negative ""` leaves it out."""
    shift: float = 0.0
    """Shift of its noise schedule; 0: what its scheduler's configuration says."""
    images: tuple[str, ...] = ()
    """Of `IMAGES`, those that its pipeline takes."""
    needs: tuple[str, ...] = ()
    """Of `images`, those without which it makes no video."""
    tiles: bool = False
    """Whether its images may be decoded in tiles, where a card is too small for more."""
    previews: bool = True
    """Whether its noisy latents can be decoded (`--preview`)."""
    sound: bool = False
    """Whether it makes sound together with the video."""
    takes_formats: bool = False
    """Whether `build` takes quantized weights, and denoisers from GGUF files."""

    @property
    def trained_seconds(self) -> float:
        """Seconds that it makes in one piece."""
        return self.frames / self.fps

    @property
    def denoisers(self) -> tuple[str, ...]:
        """Those of its parts that are denoisers: two where one is for much noise."""
        return tuple(sorted(part for part in self.parameters if part.startswith(DENOISER)))

    @property
    def weight_bytes(self) -> int:
        """Bytes that its numbers take in memory: two each, the autoencoder's four."""
        return sum(
            int(count) * (4 if part == "vae" else 2) for part, count in self.parameters.items()
        )


@dataclass(frozen=True, kw_only=True)
class FoundModel(HubModel):
    """A pipeline of `diffusers` in a folder that a user names, described from what lies there.

    Its name is the folder, absolute, or `owner/name@commit` of the hub.
    """

    folder: Path
    settings: Path | None = None
    """The file beside the pipeline that says what no signature says."""
    call: Config = field(default_factory=dict)
    """Further arguments of the pipeline's call."""

    def __post_init__(self) -> None:
        """Accept a path as a name."""


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
class Part(Component):
    """A network that the denoiser is trained with: it is frozen, and needs no recipe of its own.

    Where others trained it, it lies in a folder, and `build` gets that as `folder` in its config.
    """

    build: Callable[[Config], nn.Module]
    """Raises ValueError, or `CheckpointError`, for a config or a folder that it cannot use."""
    config: Config = field(default_factory=dict)
    folders: Callable[[Path], tuple[Path, ...]] | None = None
    """From the folder that a user names to those of which it reads, whose sums are kept. Raises
    `MissingFolderError` or `CheckpointError`. None: it reads no files, and what it holds is kept
    in the weights file."""
    repository: str | None = None
    """`owner/name` on huggingface.co, looked for in the cache where no folder is named."""
    packages: tuple[str, ...] = ()
    """What of the extra `lingen[hub]` it needs."""


@dataclass(frozen=True, kw_only=True)
class TextEncoder(Part):
    """`build(config)` -> module from prompts to features (B, L, feature_dim).

    Where it reads a folder, a `feature_dim` of the module comes first.
    """

    feature_dim: int


@dataclass(frozen=True, kw_only=True)
class Autoencoder(Part):
    """`build(config)` -> module with `encode(video) -> (B, C, T, H, W)` and `decode`.

    The strides are in frames and pixels. Where it reads a folder, numbers of the module with these
    names come first.
    """

    latent_channels: int
    time_stride: int
    space_stride: int


@dataclass(frozen=True, kw_only=True)
class Sampler(Component):
    """`build()` -> the loop `(velocity, noise, times, on_step) -> latents`, see `euler`."""

    build: Callable[[], SamplingLoop]
    schedule: str = "linear-quadratic"
    """Where its steps lie in time: a name in `lingen_models.sampling.flow.SCHEDULES`."""
    guided_after: float = 0.0
    """The time, from 0 (noise) to 1, before which there is no guidance."""
    restartable: bool = False
    """Each step first asks for the velocity of all that it goes on with, and tells `on_step` at
    its end. So from what step k asked about and `times[k:]`, the loop ends as the whole does: a
    stopped run goes on inside a clip. Else it does so between the windows of a long one."""
    remembers: bool = False
    """To go on so, it needs the step before as well: its loop takes `before=`, the estimate that
    it gave to `on_step` then, and the time at which that step began."""

    def method(self, loop: SamplingLoop | None = None) -> SamplingMethod:
        """The sampler as `TextToVideo.sample`, `extend` and `inpaint` take it, with `loop` in
        place of its own."""
        from lingen_models.sampling.denoise import SamplingMethod

        return SamplingMethod(loop or self.build(), self.schedule, self.guided_after)


@dataclass(frozen=True, kw_only=True)
class Dataset(Component):
    """`build(config)` -> the module or object that the trainer draws clips and captions from."""

    build: Callable[[Config], Any]
