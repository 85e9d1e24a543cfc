"""Protocol of a loaded model: `TextToVideo`, and pipelines from elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from lingen_models.sampling.conditioning import Conditioning
    from lingen_models.sampling.denoise import OnStep, SamplingMethod
    from lingen_models.sampling.layout import Layout
    from lingen_models.sampling.params import SamplingParams


class VideoPipeline(Protocol):
    """Prompt in, latents (1, C, T, h, w) out, frames from latents.

    Where a method says nothing else, it is as `TextToVideo` has it. A subclass inherits what has a
    body here: it is that of a model without layouts, sound, and a closed list of words.
    """

    @property
    def time_stride(self) -> int:
        """Video frames per latent frame."""

    @property
    def positions(self) -> int:
        """The most latent frames that are made in one piece."""

    @property
    def reach(self) -> int:
        """Latent frames before its own that a frame of the video depends on."""

    @property
    def causal(self) -> bool:
        """Tell whether frames stay what they are when more latents follow."""

    @property
    def frugal(self) -> bool:
        """Tell whether the networks get as little at a time as they can."""

    @property
    def takes_layout(self) -> bool:
        """Tell whether it takes a layout."""
        return False

    @property
    def device(self) -> torch.device:
        """Device of the networks."""

    @property
    def dtype(self) -> torch.dtype:
        """Type of the denoiser's weights."""

    def latent_frames(self, frames: int) -> int:
        """The fewest latent frames that give `frames` video frames: the first stands alone, then a
        stride each."""
        return 1 + -(-(frames - 1) // self.time_stride)

    def passes(self, have: int, new: int, windows: tuple[int, int] | None, cut: bool) -> int:
        """Count how often all steps are gone through for `new` latent frames after `have`
        others."""

    def entry(self, frame: int) -> tuple[int, int]:
        """Find where decoding begins so that video frame `frame` is that of decoding everything:
        the latent frame, and the first video frame that comes out."""

    def empty_latents(self, height: int, width: int) -> Tensor:
        """The latents (1, C, 0, h, w) of a video that has not begun."""

    def plan_layout(
        self,
        prompt: str,
        seed: int,
        latent_frames: int,
        begin: int = 0,
        before: Layout | None = None,
    ) -> Layout | None:
        """Plan where the objects of a video of a prompt are; None for a model that plans
        nothing."""
        return None

    def unknown_words(self, prompt: str) -> list[str]:
        """Words that mean nothing to the model."""
        return []

    def synonyms(self, prompt: str) -> dict[str, str]:
        """Words that the model reads as another one, each with that."""
        return {}

    def similar_word(self, word: str) -> str | None:
        """Return a known word that is spelt like an unknown one; None where there is none."""
        return None

    def encode_image(self, image: Tensor) -> Tensor:
        """uint8 (H, W, 3) -> one clean latent frame."""
        return self.encode_video(image[None])

    def encode_video(self, frames: Tensor) -> Tensor:
        """uint8 (1 + time_stride k, H, W, 3) -> 1 + k clean latent frames."""

    def sample(
        self,
        conditioning: Conditioning,
        params: SamplingParams,
        *,
        frames: int,
        height: int,
        width: int,
        method: SamplingMethod,
        on_step: OnStep | None = None,
    ) -> Tensor:
        """The latents of a new video, in one piece."""

    def extend(
        self,
        history: Tensor,
        frames: int,
        conditioning: Conditioning,
        params: SamplingParams,
        *,
        windows: tuple[int, int],
        method: SamplingMethod,
        on_step: OnStep | None = None,
    ) -> Iterator[Tensor]:
        """`frames` latent frames that follow `history`, window by window."""

    def inpaint(
        self,
        latents: Tensor,
        span: tuple[int, int],
        conditioning: Conditioning,
        params: SamplingParams,
        *,
        past: int,
        method: SamplingMethod,
        on_step: OnStep | None = None,
    ) -> Tensor:
        """`latents` with those of `span`, from its first to before its second, made anew."""

    def decode(self, latents: Tensor, frames: int, start: int = 0) -> Iterator[Tensor]:
        """uint8 (t, H, W, 3) pieces, `frames` in all, from latent frame `start` on."""

    def sound(self, latents: Tensor) -> tuple[Tensor, int] | None:
        """The sound of a video whose latents these are, from its beginning on: float32 (channels,
        samples) from -1 to 1 on the CPU, and samples per second; None where the model makes
        none."""
        return None

    @property
    def tiles(self) -> bool:
        """Tell whether images are decoded in tiles that are blended, which is not exact."""
        return False

    def place(
        self, device: str, *, frames: int, height: int, width: int, offload: str, tiles: bool
    ) -> str | None:
        """Bring the networks to where they compute a video of this size, as `--offload` says it.
        Return what is not as usual about that. Once is enough: later calls change nothing.

        Raises what torch raises where memory runs out.
        """

    def add_loras(self, loras: Sequence[tuple[Path, float]]) -> None:
        """Put LoRAs, each with its scale, on the networks. Raises CheckpointError for those of
        another model."""

    def save_memory(self) -> None:
        """Be `frugal` from now on."""

    def offload(self) -> None:
        """Keep on the GPU only what computes there."""

    def less(self) -> str | None:
        """Need less memory from now on, after it ran out. Return what was done; None where nothing
        more can be."""


def first_frames(pieces: Iterator[Tensor], count: int) -> Iterator[Tensor]:
    """Yield `count` frames in all of pieces (t, H, W, 3)."""
    for piece in pieces:
        if count <= 0:
            return
        yield piece[:count]
        count -= piece.shape[0]
