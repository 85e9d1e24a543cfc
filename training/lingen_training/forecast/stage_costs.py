"""Operations and bytes of the stages of a recipe, from networks on the meta device."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from lingen_models.flops import PARTS, Shape, step_flops
from lingen_models.network_config import LinGenConfig, TAEConfig
from lingen_models.networks.denoiser import LinGen
from lingen_models.networks.video_autoencoder import TemporalAutoencoder
from lingen_training.optimization.optimizer import is_hidden_matrix
from lingen_training.training_recipe import AutoencoderStage, DenoiserStage

_MIXER = ("ma", "scan", "review", "rms", "tesa", "attention")
_BACKWARD = 3
"""A forward and a backward pass, in forward passes."""


@dataclass(frozen=True)
class Parameters:
    """Parameters of a network, and those of them that a stage trains, by their optimizer."""

    all: int
    muon: int
    adamw: int

    @property
    def trained(self) -> int:
        """Those that the stage changes."""
        return self.muon + self.adamw

    @property
    def moments(self) -> int:
        """Numbers that the optimizers keep: one for each of Muon's, two for each of AdamW's."""
        return self.muon + 2 * self.adamw

    @property
    def state_bytes(self) -> int:
        """Size of the file that a stage goes on from."""
        return 4 * (2 * self.trained + self.moments)


@cache
def meta_denoiser(config: LinGenConfig, dtype: torch.dtype = torch.float32) -> LinGen:
    """Build a denoiser on the meta device, once: drawing weights takes time even there."""
    with torch.device("meta"):
        return LinGen(config).to(dtype)


@cache
def meta_autoencoder(config: TAEConfig, dtype: torch.dtype = torch.float32) -> TemporalAutoencoder:
    """Build an autoencoder on the meta device, once."""
    with torch.device("meta"):
        return TemporalAutoencoder(config).to(dtype)


def parameters_of(network: nn.Module) -> Parameters:
    """Count the parameters of `network`; those that are frozen are not trained."""
    counts = {True: 0, False: 0}
    for name, part in network.named_parameters():
        if part.requires_grad:
            counts[is_hidden_matrix(name, part.shape)] += part.numel()
    whole = sum(part.numel() for part in network.parameters())
    return Parameters(whole, muon=counts[True], adamw=counts[False])


def batch_flops(
    stage: DenoiserStage,
    config: LinGenConfig,
    teacher: LinGenConfig | None,
    rows: int,
    shape: Shape,
    text_tokens: Sequence[int],
    *,
    frozen: bool = False,
) -> int:
    """Count the operations of one batch: of the denoiser, and of the teacher of a stage that
    distils. Weights that are `frozen` under a LoRA have no gradients. Text encoders, alignment,
    validation and the LoRA itself are not counted."""

    def forward(network: LinGenConfig, parts: Iterable[str] = PARTS) -> int:
        found = step_flops(network, shape, text_tokens=text_tokens, batch=rows)
        return sum(found[part] for part in parts)

    if stage.distil is None:
        return (_BACKWARD - frozen + stage.checkpoint_blocks) * forward(config)
    assert teacher is not None
    if stage.few_steps is None:
        return _BACKWARD * forward(config, _MIXER) + forward(teacher)
    few = stage.few_steps
    before = few.own_path * (few.steps - 1) / 2
    student = (_BACKWARD + stage.checkpoint_blocks + before) * forward(config)
    return int(student) + 2 * few.substeps * forward(teacher)


def autoencoder_flops(stage: AutoencoderStage) -> int:
    """Count the operations of the autoencoder's whole training."""

    def step(clips: int, frames: int, size: int, trained: int) -> int:
        coded, decoded = _coding_flops(stage.config(), frames, size)
        return clips * (trained * coded + _BACKWARD * decoded)

    def pair(frames: int, share: int, trained: int) -> float:
        small = step(max(1, stage.batch // share), frames, stage.size, trained)
        full = step(max(1, stage.full_batch // share), frames, stage.full_size, trained)
        return (small + full) / 2

    found = stage.steps * pair(stage.frames, 1, _BACKWARD)
    if stage.decoder_steps:
        found += stage.decoder_steps * pair(stage.decoder_frames, 2, 1)
    return int(found)


@cache
def _coding_flops(config: TAEConfig, frames: int, size: int) -> tuple[int, int]:
    """Count the operations of encoding and of decoding one clip of `frames` square frames."""
    network = meta_autoencoder(config)
    video = torch.zeros(1, 3, frames, size, size, device="meta")
    with torch.inference_mode():
        with FlopCounterMode(display=False) as coding:
            mean, _ = network.posterior(video)
        with FlopCounterMode(display=False) as decoding:
            network.decoder(mean)
    return int(coding.get_total_flops()), int(decoding.get_total_flops())
