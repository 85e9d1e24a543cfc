"""The loss on fixed clips: what it measures, and that it does not depend on the processes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lingen_models.network_config import LinGenConfig, TAEConfig, WordsConfig
from lingen_models.networks.denoiser import LinGen
from lingen_models.networks.video_autoencoder import TemporalAutoencoder
from lingen_models.networks.word_encoder import WordEncoder
from lingen_models.sampling.flow import REST
from lingen_training.optimization.parallel import Group
from lingen_training.stages.pair import Pair
from lingen_training.stages.validation import TIMES, FixedClips, fixed_clips, object_loss


@pytest.fixture(scope="module")
def autoencoder() -> TemporalAutoencoder:
    torch.manual_seed(0)
    config = TAEConfig(latent_channels=4, widths=(8, 8, 8), depths=(1, 1, 1))
    return TemporalAutoencoder(config).eval().requires_grad_(False)


class Shifted(nn.Module):
    """Answers with the true velocity of all-zero latents, plus 1 on the left half."""

    def __init__(self) -> None:
        super().__init__()
        self.patch_in = nn.Linear(1, 1)

    def forward(
        self,
        x: Tensor,
        t: Tensor,
        texts: list[Tensor],
        masks: list[Tensor],
        first: int,
    ) -> Tensor:
        right = -REST * x / (1 - REST * t[:, None, :, None, None])
        right[..., : x.shape[-1] // 2] += 1
        return right


def pair() -> Pair:
    words = WordEncoder(WordsConfig(words=("red",), width=8, depth=1, head_dim=4, max_tokens=32))
    made = Pair(LinGen(LinGenConfig(width=16, depth=1, head_dim=8, ssm_head_dim=8)), words)
    made.denoiser = Shifted()  # type: ignore[assignment]
    return made


def test_only_the_tokens_of_objects_count() -> None:
    objects = torch.zeros(2, 3, 4, 4)
    objects[0, :, :, 2:] = 1  # where the answer is right
    objects[1, 0, :, :2] = 1  # where it is off by one
    layouts: Any = ["red x1"] * 2
    clips = FixedClips([0, 1], torch.zeros(2, 4, 3, 4, 4), objects, ["red", "red"], layouts)
    marks = object_loss(pair(), clips)
    assert set(marks) == {"loss", *(f"t{time:g}" for time in TIMES)}
    assert marks["loss"] == pytest.approx(8 / (24 + 8), rel=1e-3)


def test_clips_and_noise_belong_to_their_numbers(autoencoder: TemporalAutoencoder) -> None:
    whole = fixed_clips(autoencoder, 3)
    shares = [fixed_clips(autoencoder, 3, Group(rank, 2)) for rank in range(2)]
    assert [share.numbers for share in shares] == [[0, 2], [1]]
    for share in shares:
        for row, number in enumerate(share.numbers):
            assert torch.allclose(share.latents[row], whole.latents[number], atol=1e-5)
            assert torch.equal(share.noise(0.15)[row], whole.noise(0.15)[number])
            assert share.captions[row] == whole.captions[number]
    assert not torch.equal(whole.noise(0.15), whole.noise(0.25))
    covered = whole.objects.mean((1, 2, 3))
    assert (covered > 0.02).all() and (covered < 0.9).all()
