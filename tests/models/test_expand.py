"""Prompts that a pipeline expands: deterministic, only with words that the text encoders know."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lingen_models.config import LinGenConfig, TAEConfig, WordsConfig
from lingen_models.networks.denoiser import LinGen
from lingen_models.networks.video_autoencoder import TemporalAutoencoder
from lingen_models.networks.word_encoder import WordEncoder
from lingen_models.pipelines.text_to_video import TextToVideo
from lingen_models.sampling.params import SamplingParams


class Recorder(WordEncoder):
    """A word encoder that remembers the prompts that it was given."""

    def tokens(self, prompts: Sequence[str]) -> Tensor:
        self.seen: list[str] = [*getattr(self, "seen", []), *prompts]
        return super().tokens(prompts)


def pipeline(*words: str) -> TextToVideo:
    torch.manual_seed(0)
    config = LinGenConfig(width=16, depth=1, head_dim=8, ssm_head_dim=8, text_dims=(8,))
    codec = TAEConfig(latent_channels=16, widths=(8, 8, 8), depths=(1, 1, 1))
    encoder = Recorder(WordsConfig(words=words, width=8, depth=1, head_dim=4))
    return TextToVideo(LinGen(config), TemporalAutoencoder(codec), [encoder])


def place(prompt: str, seed: int) -> str:
    return f"{prompt} x{seed}"


def sampled(pipe: TextToVideo, seed: int, image: bool = False) -> list[str]:
    """The prompts that were encoded for one sample."""
    first = torch.zeros(32, 32, 3, dtype=torch.uint8) if image else None
    params = SamplingParams(steps=1, seed=seed)
    pipe.sample("red ball", params, frames=9, height=32, width=32, first_frame=first)
    encoder = pipe.text_encoders[0]
    assert isinstance(encoder, Recorder)
    return encoder.seen


def test_a_new_video_is_made_from_the_expanded_prompt() -> None:
    pipe = pipeline("red", "ball", "x3")
    pipe.expander = place
    assert sampled(pipe, 3) == ["red ball x3", ""]


def test_words_that_the_encoder_does_not_know_are_not_added() -> None:
    pipe = pipeline("red", "ball", "x3")
    pipe.expander = place
    assert sampled(pipe, 4) == ["red ball", ""]


def test_a_given_image_says_where_things_are() -> None:
    pipe = pipeline("red", "ball", "x3")
    pipe.expander = place
    assert sampled(pipe, 3, image=True) == ["red ball", ""]


def test_prompts_stay_as_they_are_where_that_is_asked_for() -> None:
    pipe = pipeline("red", "ball", "x3")
    pipe.expander = place
    params = SamplingParams(steps=1, seed=3, expand_prompt=False)
    pipe.sample("red ball", params, frames=9, height=32, width=32)
    encoder = pipe.text_encoders[0]
    assert isinstance(encoder, Recorder)
    assert encoder.seen[0] == "red ball"


def test_without_an_expander_or_a_prompt_nothing_is_added() -> None:
    pipe = pipeline("red", "ball", "x3")
    assert sampled(pipe, 3) == ["red ball", ""]
    pipe.expander = place
    assert pipe.expand("", 3) == ""
