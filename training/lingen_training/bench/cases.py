"""Cases that are measured: lengths and sizes of one's own, or the rows of the paper."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from lingen_models.flops import Shape, token_grid
from lingen_models.network_config import PRESETS, SCAN_ORDERS, LinGenConfig

FPS = 16
STRIDE = 8
"""Pixels per latent position, and frames per latent frame (paper.md 1.4)."""
PAPER = "paper"
"""In place of a preset."""
LINGEN, TWIN = "LinGen", "DiT twin"
WORDS = 12
"""Text tokens, as a prompt of the playground has them."""
PAPER_WORDS = 256
"""Text tokens of each encoder; the paper does not say how many."""
PAPER_SIZES = {"256p": (352, 192), "512p": (704, 384), "768p": (1056, 576)}
PAPER_ROWS = (
    ("256p", 17, 29.0, 26.0, 2.0),
    ("512p", 17, 210.0, 102.0, 5.0),
    ("768p", 17, 834.0, 228.0, None),
    ("512p", 34, 830.0, 212.0, 8.0),
    ("512p", 68, 4930.0, 428.0, 15.0),
)
"""Size, seconds of video; seconds of 50 steps on an H100 of DiT-4B and of LinGen-4B, FLOPs of
DiT-4B over those of LinGen-4B (paper.md 4.2, 4.3)."""
PAPER_WITHOUT = {
    "without TESA": (94.0, {"tesa_branch": False}),
    "without RMS": (99.0, {"scan_axes": SCAN_ORDERS["row-major"]}),
    "zigzag": (144.0, {"scan_axes": SCAN_ORDERS["zigzag"]}),
    "without the MA-branch": (65.0, {"mamba_branch": False}),
    "without review tokens": (98.0, {"review": "none"}),
}
"""Seconds at 512p, 17 s, and what is different (paper.md 4.4; Mamba-1 is not in this package)."""
PAPER_STEPS = 50


@dataclass(frozen=True)
class Case:
    """One row: networks that are measured in turn on latents of one shape."""

    name: str
    size: tuple[int, int]
    """Pixels, wide and high."""
    video_seconds: float
    latent_shape: Shape
    networks: Mapping[str, LinGenConfig]
    text_tokens: int = WORDS
    together: bool = True
    """Both rows of guidance in one batch; else one after the other, with half the memory."""
    paper_seconds: Mapping[str, float] = field(default_factory=dict)
    """Of 50 steps, on an H100, by the name of the network."""
    paper_flops_ratio: float | None = None

    @property
    def first(self) -> LinGenConfig:
        """The network that the others are compared with."""
        return next(iter(self.networks.values()))

    @property
    def tokens(self) -> int:
        """Tokens of the video."""
        return math.prod(token_grid(self.first, self.latent_shape))


def latent_frames(video_seconds: float) -> int:
    """The first frame alone, then groups of eight, as our autoencoder has it."""
    return 1 + math.ceil((round(video_seconds * FPS) - 1) / STRIDE)


def chosen(preset: str, lengths: Sequence[float], size: tuple[int, int]) -> list[Case]:
    """The rows of the paper for `PAPER`, else those of `lengths` in seconds and of `size`."""
    return list(paper_cases()) if preset == PAPER else cases(preset, lengths, size)


def cases(preset: str, lengths: Sequence[float], size: tuple[int, int]) -> list[Case]:
    """A case for each length in seconds."""
    wide, high = size
    return [
        Case(
            name=f"{length:g} s",
            size=size,
            video_seconds=length,
            latent_shape=(latent_frames(length), high // STRIDE, wide // STRIDE),
            networks=with_twin(PRESETS[preset]),
        )
        for length in lengths
    ]


def with_twin(config: LinGenConfig) -> dict[str, LinGenConfig]:
    """The network, and the same with full attention in place of MATE (paper.md 1.8)."""
    return {LINGEN: config, TWIN: replace(config, mixer="attention")}


def paper_cases(preset: str = "4b") -> Iterator[Case]:
    """The rows of paper.md 4.2 to 4.4, with and without the 2x2 patch.

    Videos have eight frames for each latent frame, as the token counts of paper.md 1.5 have it.
    """
    for patch in ((1, 2, 2), (1, 1, 1)):
        config = replace(PRESETS[preset], patch=patch)
        for name, seconds, twin, ours, ratio in PAPER_ROWS:
            published = {LINGEN: ours, TWIN: twin}
            yield _of_paper(name, seconds, with_twin(config), published, ratio)
    networks, published = {LINGEN: PRESETS[preset]}, {LINGEN: 102.0}
    for name, (took, changes) in PAPER_WITHOUT.items():
        networks[name] = replace(PRESETS[preset], **changes)  # type: ignore[arg-type]
        published[name] = took
    yield _of_paper("512p", 17, networks, published, None)


def _of_paper(
    name: str,
    seconds: int,
    networks: Mapping[str, LinGenConfig],
    paper_seconds: Mapping[str, float],
    ratio: float | None,
) -> Case:
    wide, high = PAPER_SIZES[name]
    patched = next(iter(networks.values())).patch[1] > 1
    return Case(
        name=f"{name} {seconds} s" + ("" if patched else ", no patch"),
        size=(wide, high),
        video_seconds=seconds,
        latent_shape=(seconds * FPS // STRIDE, high // STRIDE, wide // STRIDE),
        networks=networks,
        text_tokens=PAPER_WORDS,
        together=False,
        paper_seconds=paper_seconds,
        paper_flops_ratio=ratio,
    )
