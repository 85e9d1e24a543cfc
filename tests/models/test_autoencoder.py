"""The temporal autoencoder: sizes, causality, chunks (paper.md 1.4)."""

from __future__ import annotations

import pytest
import torch

from lingen_models.network_config import TAEConfig
from lingen_models.networks.video_autoencoder import (
    Decoder,
    SpatialConv,
    TemporalAutoencoder,
    TemporalConv,
)


@pytest.fixture(scope="module")
def network() -> TemporalAutoencoder:
    """A tiny one, with every weight at work."""
    torch.manual_seed(5)
    built = TemporalAutoencoder(TAEConfig(latent_channels=4, widths=(8, 8, 12), depths=(1, 1, 1)))
    with torch.no_grad():
        for parameter in built.parameters():
            if not parameter.any():
                parameter.normal_(std=0.1)
        built.latent_mean.normal_()
        built.latent_std.uniform_(0.5, 2)
    return built.requires_grad_(False)


@pytest.mark.parametrize(("frames", "latent_frames"), [(1, 1), (9, 2), (25, 4)])
@torch.no_grad()
def test_eight_to_one_in_time_and_space(
    network: TemporalAutoencoder, frames: int, latent_frames: int
) -> None:
    video = torch.rand(2, 3, frames, 16, 24) * 2 - 1
    latents = network.encode(video)
    assert latents.shape == (2, 4, latent_frames, 2, 3)
    assert latents.dtype is torch.float32
    assert network.decode(latents).shape == video.shape


@torch.no_grad()
def test_later_frames_do_not_change_earlier_latents(network: TemporalAutoencoder) -> None:
    video = torch.rand(1, 3, 25, 16, 16)
    whole = network.encode(video)
    torch.testing.assert_close(network.encode(video[:, :, :1]), whole[:, :, :1])
    torch.testing.assert_close(network.encode(video[:, :, :9]), whole[:, :, :2])
    other = video.clone()
    other[:, :, 9] += 1  # the first frame of the third latent frame
    moved = (network.encode(other) - whole).abs().amax((0, 1, 3, 4)) > 1e-6
    assert moved.tolist() == [False, False, True, True]


@torch.no_grad()
def test_later_latents_do_not_change_earlier_frames(network: TemporalAutoencoder) -> None:
    latents = torch.randn(1, 4, 4, 2, 2)
    other = latents.clone()
    other[:, :, 2] += 1
    moved = (network.decode(other) - network.decode(latents)).abs().amax((0, 1, 3, 4)) > 1e-6
    assert not moved[:9].any()
    assert moved[9:17].all()


@pytest.mark.parametrize("depths", [(1, 1, 1), (1, 2, 2), (0, 3, 1)])
def test_a_late_start_gives_the_same_frames_beyond_its_reach(depths: tuple[int, int, int]) -> None:
    network = TemporalAutoencoder(TAEConfig(widths=(8, 8, 8), depths=depths)).double()
    for part in network.parameters():
        torch.nn.init.normal_(part, std=0.3)
    latents = torch.randn(1, 16, 20, 2, 2, dtype=torch.float64)
    whole = torch.cat(list(network.decode_in_chunks(latents)), 2)
    start = 4
    late = torch.cat(list(network.decode_in_chunks(latents, start=start)), 2)
    same = (late == whole[:, :, 1 + 8 * (start - 1) :]).flatten(3).all(-1)[0].all(0)
    latent_frames = same.view(-1, 8).all(1)
    assert latent_frames[network.reach :].all()
    assert not latent_frames[0]
    assert not latent_frames[network.reach - 2]  # no longer than it need be


@pytest.mark.parametrize("chunk", [1, 2, 3, 5, 9])
@torch.no_grad()
def test_chunks_are_the_whole(network: TemporalAutoencoder, chunk: int) -> None:
    latents = torch.randn(2, 4, 5, 2, 2)
    pieces = list(network.decode_in_chunks(latents, chunk))
    assert len(pieces) == -(-5 // chunk)
    assert pieces[0].shape[2] == 1 + 8 * (min(chunk, 5) - 1)
    torch.testing.assert_close(torch.cat(pieces, 2), network.decode(latents))


@torch.no_grad()
def test_latents_are_scaled_by_the_measured_statistics(network: TemporalAutoencoder) -> None:
    video = torch.rand(1, 3, 1, 16, 16)
    mean, log_variance = network.posterior(video)
    assert log_variance.shape == mean.shape == (1, 1, 2, 2, 4)
    scaled = network.encode(video).movedim(1, -1)
    torch.testing.assert_close(scaled * network.latent_std + network.latent_mean, mean)
    assert isinstance(network.decoder, Decoder)
    torch.testing.assert_close(network.decode(scaled.movedim(-1, 1)), network.decoder(mean))


def test_sizes_that_the_strides_do_not_divide(network: TemporalAutoencoder) -> None:
    with pytest.raises(ValueError, match="8 frames are not 1 more than a multiple of 8"):
        network.encode(torch.zeros(1, 3, 8, 16, 16))
    with pytest.raises(ValueError, match="20x16 pixels are not multiples of 8"):
        network.encode(torch.zeros(1, 3, 1, 16, 20))


@pytest.mark.parametrize("stride", [1, 2])
def test_the_training_product_is_the_convolution(stride: int) -> None:
    conv = SpatialConv(5, 7, stride).double()
    torch.nn.init.normal_(conv.weight)
    assert conv.bias is not None
    torch.nn.init.normal_(conv.bias)
    x = torch.randn(2, 3, 6, 8, 5, dtype=torch.float64, requires_grad=True)
    trained = conv(x)
    reference = torch.nn.functional.conv2d(
        x.flatten(0, 1).permute(0, 3, 1, 2), conv.weight, conv.bias, stride, 1
    )
    expected = torch.unflatten(reference.permute(0, 2, 3, 1), 0, (2, 3))
    torch.testing.assert_close(trained, expected)
    with torch.no_grad():
        torch.testing.assert_close(conv(x), expected)
    weight = torch.randn_like(trained)
    leaves = [x, conv.weight, conv.bias]
    for one, other in zip(
        torch.autograd.grad((trained * weight).sum(), leaves),
        torch.autograd.grad((expected * weight).sum(), leaves),
        strict=True,
    ):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("stride", [1, 2])
@torch.no_grad()
def test_temporal_convolution_is_causal_and_repeats_the_first_frame(stride: int) -> None:
    conv = TemporalConv(3, 4, stride).double()
    torch.nn.init.normal_(conv.linear.weight)
    x = torch.randn(2, 7, 1, 2, 3, dtype=torch.float64)
    padded = torch.cat((x[:, :1], x[:, :1], x), 1).permute(0, 2, 3, 4, 1).flatten(0, 2)
    taps = conv.linear.weight.view(4, 3, 3).transpose(1, 2)
    expected = torch.nn.functional.conv1d(padded, taps, conv.linear.bias, stride)
    found = conv(x).permute(0, 2, 3, 4, 1).flatten(0, 2)
    torch.testing.assert_close(found, expected)


@torch.no_grad()
def test_a_fresh_network_keeps_a_flat_color_apart_from_another() -> None:
    """The trunk begins as an average, so images differ in the latents from the first step on."""
    fresh = TemporalAutoencoder(TAEConfig(widths=(16, 16, 16), depths=(1, 1, 1)))
    dark, bright = (fresh.encode(torch.full((1, 3, 1, 16, 16), value)) for value in (-0.5, 0.5))
    assert (dark - bright).abs().max() > 0.05
