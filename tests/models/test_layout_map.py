"""Numbers of layout words, and the map of them, against plain loops."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from lingen_models.checkpoints.load import load_networks
from lingen_models.checkpoints.safetensors import CheckpointError, save_network
from lingen_models.config import LinGenConfig, TAEConfig, WordsConfig
from lingen_models.networks.denoiser import LinGen
from lingen_models.networks.embeddings import LAYOUT_CHANNELS, LAYOUT_MAPS, layout_map
from lingen_models.networks.video_autoencoder import TemporalAutoencoder
from lingen_models.networks.word_encoder import WordEncoder

WORDS = ("a", "ball", "p0", "p3", "red", "x15", "x3", "y0", "y9")


def encoder(layout: bool = True) -> WordEncoder:
    torch.manual_seed(0)
    return WordEncoder(WordsConfig(words=WORDS, width=8, depth=1, head_dim=4, layout=layout))


def numbers(prompt: str) -> torch.Tensor:
    words = encoder()
    features, mask = words(words.tokens([prompt, "a " * 12]))
    assert features.shape[-1] == 8 + LAYOUT_CHANNELS == words.feature_dim + LAYOUT_CHANNELS
    assert mask[0].sum() == len(prompt.split()) + 1
    return features[0, :, -LAYOUT_CHANNELS:]


def test_numbers_stand_where_the_layout_of_an_object_begins() -> None:
    found = numbers("a red ball x3 y9 p3 x15 y0")
    assert found[:4].abs().sum() == 0 and found[5:7].abs().sum() == 0 and found[8:].sum() == 0
    angle = 3.5 * math.pi / 2
    first = torch.tensor([1, 0, 3.5, 9.5, math.sin(angle), math.cos(angle)])
    torch.testing.assert_close(found[4], first)
    torch.testing.assert_close(found[7], torch.tensor([0, 1, 15.5, 0.5, 0, 0]))


@pytest.mark.parametrize("prompt", ["", "a red ball", "x3", "a x3 red y9", "y9 p0", "x3 p0 y9"])
def test_half_a_layout_is_none(prompt: str) -> None:
    assert numbers(prompt).abs().sum() == 0


def test_words_mean_the_same_without_the_numbers() -> None:
    with_, without = encoder(), encoder(layout=False)
    without.load_state_dict(with_.state_dict())
    tokens = with_.tokens(["a red ball x3 y9"])
    torch.testing.assert_close(with_(tokens)[0][..., :-LAYOUT_CHANNELS], without(tokens)[0])


def test_the_map_is_that_of_a_loop() -> None:
    places = torch.zeros(2, 4, LAYOUT_CHANNELS)
    places[0, 1] = torch.tensor([1, 0, 3.5, 9.5, 0.6, -0.8])
    places[0, 3] = torch.tensor([0, 1, 14.5, 0.5, 0, 0])
    found = layout_map(places, (3, 8, 6))
    assert found.shape == (2, 3, 8, 6, LAYOUT_MAPS)
    assert found[1].abs().sum() == 0
    half = LAYOUT_MAPS // 2
    assert found[0, 1:, ..., half:].abs().sum() == 0
    torch.testing.assert_close(found[0, 0, ..., :half], found[0, 0, ..., half:])
    torch.testing.assert_close(found[0, 2, ..., :half], found[0, 0, ..., :half])
    for line in range(8):
        for column in range(6):
            expected: list[list[float]] = []
            for x, y, sine, cosine in ((3.5, 9.5, 0.6, -0.8), (14.5, 0.5, 0, 0)):
                across, down = x / 2 - column - 0.5, y / 2 - line - 0.5
                square = across**2 + down**2
                narrow, wide = (math.exp(-square / (2 * width**2)) for width in (0.7, 1.5))
                expected.append(
                    [
                        *(narrow, narrow * across, narrow * down),
                        *(narrow * sine, narrow * cosine),
                        *(wide, wide * across, wide * down),
                    ]
                )
            both = torch.tensor(expected).T.flatten()
            torch.testing.assert_close(found[0, 0, line, column, :half], both, rtol=1e-5, atol=1e-6)


def denoiser(layout: bool = True) -> LinGen:
    torch.manual_seed(1)
    config = LinGenConfig(width=16, depth=1, head_dim=8, ssm_head_dim=8, text_dims=(8,))
    return LinGen(LinGenConfig.from_dict({**config.to_dict(), "layout": layout}))


def test_a_denoiser_begins_without_its_layout_and_learns_from_it() -> None:
    network, plain = denoiser(), denoiser(layout=False)
    plain.load_state_dict(network.state_dict(), strict=False)
    torch.nn.init.normal_(network.patch_out.weight)
    plain.patch_out.load_state_dict(network.patch_out.state_dict())
    words = encoder()
    latents, t = torch.randn(1, 16, 2, 8, 8), torch.rand(1, 2)

    def answer(prompt: str) -> torch.Tensor:
        features, mask = words(words.tokens([prompt]))
        return network(latents, t, [features], [mask])  # type: ignore[no-any-return]

    features, mask = words(words.tokens(["red ball x3 y9"]))
    found = answer("red ball x3 y9")
    torch.testing.assert_close(found, plain(latents, t, [features[..., :-LAYOUT_CHANNELS]], [mask]))
    found.square().sum().backward()
    assert network.layout_in is not None
    gradient = network.layout_in.weight.grad
    assert gradient is not None and gradient.abs().sum() > 0


def test_only_one_of_both_with_layouts_is_refused(tmp_path: Path) -> None:
    codec = TemporalAutoencoder(TAEConfig(widths=(8, 8, 8), depths=(1, 1, 1)))
    paths = [tmp_path / f"{name}.safetensors" for name in ("denoiser", "autoencoder", "words")]
    for layouts in ((True, True), (False, False), (True, False), (False, True)):
        networks = (denoiser(layouts[0]), codec, encoder(layouts[1]))
        for path, kind, network in zip(paths, ("lingen", "tae", "words"), networks, strict=True):
            save_network(path, network, {"kind": kind, "config": network.config.to_dict()})
        load = (paths[0], paths[1], paths[2:], "cpu", torch.float32, {})
        if layouts[0] == layouts[1]:
            assert load_networks(*load)[0].config.layout is layouts[0]
        else:
            with pytest.raises(CheckpointError, match="only one of "):
                load_networks(*load)
