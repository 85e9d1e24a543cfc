"""Counts how often a job asks its denoiser, and about what, by going through its sampling loops
with networks that answer nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from lingen_cli.generation.journal import NoJournal
from lingen_cli.generation.sample import latents_of
from lingen_cli.planning.peak_memory import WORDS
from lingen_cli.requests.edits import Sampled
from lingen_cli.requests.job import Job
from lingen_cli.terminal.events import Events
from lingen_cli.terminal.progress import Progress
from lingen_models.checkpoints.load_networks import TextEncoder, VideoAutoencoder
from lingen_models.network_config import LinGenConfig
from lingen_models.networks.denoiser import LinGen
from lingen_models.pipelines.text_to_video import TextToVideo

Pass = tuple[int, int]
"""Rows of the batch, and latent frames."""


class _NoDenoiser(nn.Module):
    """In the place of a denoiser."""

    def __init__(self, config: LinGenConfig) -> None:
        super().__init__()
        self.config = config
        self.patch_in = nn.Linear(1, 1)
        self.passes: Counter[Pass] = Counter()

    def forward(self, latents: Tensor, *_: Any) -> Tensor:
        self.passes[latents.shape[0], latents.shape[2]] += 1
        return torch.zeros_like(latents)


class _NoCodec(nn.Module):
    """In the place of an autoencoder: latents of the right shape."""

    causal, reach = True, 0

    def __init__(self, channels: int, time_stride: int, space_stride: int) -> None:
        super().__init__()
        self.channels, self.time_stride, self.space_stride = channels, time_stride, space_stride
        self.place = nn.Parameter(torch.zeros(()))

    def encode(self, video: Tensor) -> Tensor:
        rows, _, frames, high, wide = video.shape
        space = (high // self.space_stride, wide // self.space_stride)
        return torch.zeros(rows, self.channels, 1 + (frames - 1) // self.time_stride, *space)


class _NoText(nn.Module):
    """In the place of a text encoder."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def tokens(self, prompts: Sequence[str]) -> Tensor:
        return torch.zeros(len(prompts), WORDS)

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        return tokens.new_zeros(*tokens.shape, self.width), tokens.bool()


def count_passes(
    job: Job, config: LinGenConfig, space_stride: int, *, frugal: bool
) -> Counter[Pass]:
    """Count how often the denoiser is asked about so many rows of so many latent frames.

    `frugal` asks about one row at a time. What a step cache saves depends on the video, so it is
    not counted. Raises as `latents_of` does.
    """
    edits = tuple(
        edit.sampled_with(step_cache=0.0) if isinstance(edit, Sampled) else edit
        for edit in job.timeline.edits
    )
    denoiser = _NoDenoiser(config)
    texts = [cast(TextEncoder, _NoText(width)) for width in config.text_dims]
    codec = _NoCodec(config.latent_channels, job.model.time_stride, space_stride)
    pipe = TextToVideo(cast(LinGen, denoiser), cast(VideoAutoencoder, codec), texts)
    pipe.frugal = frugal
    with Progress(Events(None), quiet=True) as progress:
        latents_of(job.with_edits(edits), pipe, NoJournal(), progress)
    return denoiser.passes
