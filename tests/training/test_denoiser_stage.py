"""Batches and the flow-matching loss of a denoiser stage (paper.md 1.7, 3.2)."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lingen_models.network_config import LinGenConfig, WordsConfig
from lingen_models.networks.denoiser import LinGen
from lingen_models.networks.word_encoder import WordEncoder
from lingen_models.sampling.flow import REST
from lingen_playground import sample_scene
from lingen_playground.captions.lexicon import PLACE, plain_vocabulary, words
from lingen_training.datasets.clip_cache import LatentClips
from lingen_training.stages.denoising import Batch, draw_batch, flow_losses
from lingen_training.stages.pair import Pair
from lingen_training.training_recipe import DenoiserStage, Source


def stage(*sources: dict[str, Any], **changes: Any) -> DenoiserStage:
    """A stage of clips of four latent frames, or of these sources."""
    plain: dict[str, Any] = {"size": 64, "latent_frames": 4, "batch": 3, "clips": 5}
    values: dict[str, Any] = {"name": "x", "steps": 1, "learning_rate": 1e-3}
    return DenoiserStage(
        **values | changes, source=tuple(Source(**plain | given) for given in sources or ({},))
    )


class Recorder(nn.Module):
    """In the denoiser's place: remembers its inputs and answers with `velocity`."""

    def __init__(self, velocity: float | None) -> None:
        super().__init__()
        self.patch_in = nn.Linear(1, 1)
        self.velocity = velocity
        self.seen: list[tuple[Tensor, Tensor]] = []

    def forward(
        self,
        x: Tensor,
        t: Tensor,
        texts: list[Tensor],
        masks: list[Tensor],
        first: int,
    ) -> Tensor:
        self.seen.append((x, t))
        if self.velocity is None:  # what a perfect network says of data that are all zero
            scale = 1 - REST * t[:, None, :, None, None]
            return -REST * x / scale * (t < 1)[:, None, :, None, None]
        return torch.full_like(x, self.velocity)


def pair_with(denoiser: nn.Module) -> Pair:
    torch.manual_seed(0)
    words = WordEncoder(WordsConfig(words=("red",), width=8, depth=1, head_dim=4, max_tokens=8))
    pair = Pair(LinGen(LinGenConfig(width=16, depth=1, head_dim=8, ssm_head_dim=8)), words)
    pair.denoiser = denoiser  # type: ignore[assignment]
    return pair


@pytest.mark.parametrize("prefix", [0.0, 1.0])
def test_a_perfect_network_has_no_loss_on_the_noisy_frames(prefix: float) -> None:
    pair = pair_with(Recorder(None))
    batch = Batch(torch.zeros(4, 2, 6, 2, 2), ["red"] * 4, 0)
    assert float(flow_losses(pair, stage(prefix=prefix), batch, random.Random(1))["loss"]) < 1e-8


def test_clean_prefix_frames_are_clean_and_do_not_count() -> None:
    recorder = Recorder(0.0)
    data = torch.full(
        (8, 2, 6, 2, 2), 10.0
    )  # velocity about 10, so that each frame costs about 100
    loss = flow_losses(
        pair_with(recorder), stage(prefix=1.0), Batch(data, ["red"] * 8, 0), random.Random(3)
    )
    ((x, t),) = recorder.seen
    clean = t == 1
    lengths = clean.sum(1)
    assert (lengths >= 1).all()
    assert (lengths <= 3).all()
    assert len(set(lengths.tolist())) > 1
    for row, length in enumerate(lengths.tolist()):
        assert clean[row, :length].all()
        assert t[row, length:].eq(t[row, -1]).all()
        torch.testing.assert_close(x[row, :, :length], data[row, :, :length], atol=1e-3, rtol=0)
    # The mean over all frames would be the share of noisy frames times this.
    assert 90 < float(loss["loss"]) < 115


@pytest.mark.parametrize("frames", [1, 2, 3, 9])
def test_clean_ends_leave_something_to_do(frames: int) -> None:
    recorder = Recorder(0.0)
    batch = Batch(torch.zeros(40, 2, frames, 2, 2), ["red"] * 40, 0)
    flow_losses(pair_with(recorder), stage(prefix=0.5, suffix=0.5), batch, random.Random(3))
    ((_, t),) = recorder.seen
    clean = t == 1
    assert (~clean).any(1).all()
    assert clean[:, -1].any() == (frames > 2)
    for row in clean.int():
        assert row.diff().abs().sum() <= 2  # clean at the beginning and the end, nowhere between
    if frames == 9:
        assert {int(row.flip(0).cumprod(0).sum()) for row in clean.int()} == {0, 1, 2, 3}


def test_without_a_prefix_every_frame_has_the_row_s_time() -> None:
    recorder = Recorder(0.0)
    batch = Batch(torch.zeros(5, 2, 4, 2, 2), ["red"] * 5, 0)
    flow_losses(pair_with(recorder), stage(prefix=0.0), batch, random.Random(0))
    ((_, t),) = recorder.seen
    assert (t == t[:, :1]).all()
    assert ((t > 0) & (t < 1)).all()
    assert len(set(t[:, 0].tolist())) == 5


def test_the_loss_is_decided_by_the_random_source_alone() -> None:
    pair = pair_with(Recorder(0.0))
    batch = Batch(torch.randn(3, 2, 4, 2, 2), ["red"] * 3, 0)
    losses = [
        float(flow_losses(pair, stage(), batch, random.Random(seed))["loss"]) for seed in (1, 1, 2)
    ]
    assert losses[0] == losses[1] != losses[2]


def test_captions_are_dropped_at_their_rate() -> None:
    pair = pair_with(Recorder(0.0))
    prompts: list[str] = []
    assert pair.text_encoder is not None
    tokens = pair.text_encoder.tokens
    pair.text_encoder.tokens = lambda given: prompts.extend(given) or tokens(given)  # type: ignore
    batch = Batch(torch.zeros(200, 2, 1, 2, 2), ["red"] * 200, 0)
    flow_losses(pair, stage(caption_dropout=0.25), batch, random.Random(0))
    assert set(prompts) == {"red", ""}
    assert 30 < prompts.count("") < 70


def clips(latent_frames: int, base: float) -> LatentClips:
    """Five clips whose values are `base` and the number of their frame."""
    frames = base + torch.arange(latent_frames).float()
    latents = frames[None, None, :, None, None].expand(5, 2, -1, 2, 2)
    return LatentClips(latents, [sample_scene(seed) for seed in range(5)], [0.0] * 5)


IMAGES = {"latent_frames": 1, "batch": 6}


def test_batches_are_images_clips_and_windows() -> None:
    mixed = stage({"share": 1.4, "time_shift": 3.0}, {"share": 0.6} | IMAGES)
    starts = []
    kinds = {"image": 0, "clip": 0, "window": 0}
    for seed in range(300):
        batch = draw_batch(mixed, (clips(5, 0), clips(1, 100)), 20, random.Random(seed))
        assert all(isinstance(text, str) and text for text in batch.captions)
        assert len(batch.captions) == len(batch.latents)
        values = batch.latents[0, 0, :, 0, 0].tolist()
        if values == [100]:
            kinds["image"] += 1
            assert (len(batch.latents), batch.first_frame, batch.time_shift) == (6, 0, 1.0)
        elif values == [0, 1, 2, 3]:
            kinds["clip"] += 1
            assert (len(batch.latents), batch.first_frame, batch.time_shift) == (3, 0, 3.0)
        else:
            kinds["window"] += 1
            assert values == [1, 2, 3, 4]
            starts.append(batch.first_frame)
    assert 60 < kinds["image"] < 120
    assert 70 < kinds["clip"] < 140
    assert kinds["window"] > 70
    assert (min(starts), max(starts)) == (1, 16)  # the last window ends at position 20


def test_windows_are_cut_from_anywhere_in_longer_clips() -> None:
    begins = set()
    for seed in range(100):
        batch = draw_batch(stage(), (clips(9, 0),), 20, random.Random(seed))
        for window in batch.latents[:, 0, :, 0, 0]:
            begin = int(window[0])
            assert window.tolist() == [begin, begin + 1, begin + 2, begin + 3]
            # A clip's first latent frame holds one frame, and only ever stands first.
            assert (begin == 0) == (batch.first_frame == 0)
            begins.add(begin)
    assert begins == {0, 1, 2, 3, 4, 5}


def test_clips_as_long_as_the_tables_are_taken_whole() -> None:
    for seed in range(20):
        batch = draw_batch(stage(), (clips(5, 0),), 4, random.Random(seed))
        assert batch.first_frame == 0
        assert batch.latents.shape[2] == 4


def test_an_image_stage_draws_only_images_in_its_own_batch_size() -> None:
    batch = draw_batch(stage(IMAGES), (clips(1, 0),), 20, random.Random(0))
    assert batch.latents.shape == (6, 2, 1, 2, 2)
    assert batch.first_frame == 0


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_a_share_of_the_captions_does_not_say_where(share: float) -> None:
    latents = torch.zeros(5, 2, 1, 8, 8)
    scenes = [sample_scene(seed, background="green grass") for seed in range(5)]
    drawn = stage(IMAGES | {"batch": 200}, place_dropout=share)
    cached = LatentClips(latents, scenes, [0.0] * 5)
    batch = draw_batch(drawn, (cached,), 20, random.Random(0))
    ground = {word for phrase in PLACE["green grass"] for word in words(phrase)} - {
        "a",
        "on",
        "the",
    }
    said = sum(bool(ground & set(words(text))) for text in batch.captions) / len(batch.captions)
    assert said == 1 - share if share in (0, 1) else 0.4 < said < 0.6


def test_cropped_sources_give_windows_about_the_objects() -> None:
    latents = torch.zeros(5, 2, 1, 8, 8)
    close = LatentClips(latents, [sample_scene(seed, objects=1) for seed in range(5)], [0.0] * 5)
    batch = draw_batch(stage({"crop": (48, 32)} | IMAGES), (close,), 20, random.Random(0))
    assert batch.latents.shape == (6, 2, 1, 4, 6)


def test_a_share_of_the_captions_is_natural() -> None:
    scenes = [sample_scene(seed, objects=2, alike=1.0) for seed in range(5)]
    cached = LatentClips(torch.zeros(5, 2, 1, 8, 8), scenes, [0.0] * 5)
    plain = stage(IMAGES | {"batch": 200})
    before = draw_batch(plain, (cached,), 20, random.Random(0)).captions
    assert not any(set(words(text)) - set(plain_vocabulary()) for text in before)
    mixed = stage(IMAGES | {"batch": 200}, natural=0.5)
    after = draw_batch(mixed, (cached,), 20, random.Random(0)).captions
    assert 40 < sum(bool(set(words(text)) - set(plain_vocabulary())) for text in after) < 120
