"""What every registered component must keep, built in or not; built at test size."""

import json

import pytest
import torch

from lingen_models.pipeline import SCHEDULES
from lingen_plugins.manager import load_plugins
from lingen_plugins.registry import collect

REGISTRY = collect(load_plugins())


def each(table):
    return pytest.mark.parametrize("component", table.values(), ids=lambda c: c.name)


@each(REGISTRY.model_variants)
def test_the_configuration_of_a_variant_agrees_with_its_parts(component):
    for config in (component.config, component.tiny_config):
        assert json.loads(json.dumps(dict(config))) == dict(config)
        assert tuple(config["scan_axes"]) == REGISTRY.scan_orders[component.scan_order].axes
        assert config["review"] == component.review
    encoders = [REGISTRY.text_encoders[name] for name in component.text_encoders]
    assert component.config["text_dims"] == [encoder.feature_dim for encoder in encoders]
    codec = REGISTRY.autoencoders[component.autoencoder]
    assert component.config["latent_channels"] == codec.latent_channels
    assert component.size % (codec.space_stride * component.config["patch"][1]) == 0


@each(REGISTRY.model_variants)
def test_a_variant_of_test_size_keeps_shapes_and_repeats_itself(component):
    torch.manual_seed(0)
    network = component.build(component.tiny_config).eval()
    channels = component.tiny_config["latent_channels"]
    latents = torch.randn(1, channels, 3, 4, 4)
    texts = [torch.randn(1, 5, width) for width in component.tiny_config["text_dims"]]
    masks = [torch.ones(1, 5, dtype=torch.bool) for _ in texts]
    with torch.inference_mode():
        first = network(latents, torch.full((1, 3), 0.5), texts, masks)
        second = network(latents, torch.full((1, 3), 0.5), texts, masks)
    assert first.shape == latents.shape
    assert torch.isfinite(first).all()
    assert torch.equal(first, second)


@each(REGISTRY.text_encoders)
def test_a_text_encoder_has_the_width_it_claims(component):
    encoder = component.build(component.config)
    features, mask = encoder(encoder.tokens(["a red ball", ""]))
    assert features.shape[-1] == component.feature_dim
    assert features.shape[:2] == mask.shape


@each(REGISTRY.autoencoders)
def test_an_autoencoder_has_the_strides_it_claims(component):
    codec = component.build({**component.config, "widths": [8, 8, 8]})
    frames, side = 1 + component.time_stride, 2 * component.space_stride
    with torch.inference_mode():
        latents = codec.encode(torch.zeros(1, 3, frames, side, side))
        video = codec.decode(latents)
    assert latents.shape == (1, component.latent_channels, 2, 2, 2)
    assert video.shape == (1, 3, frames, side, side)


@each(REGISTRY.samplers)
def test_a_sampler_reports_every_step_and_arrives(component):
    sample = component.build()
    target, noise = torch.ones(1, 2, 1, 2, 2), torch.zeros(1, 2, 1, 2, 2)
    seen = []
    times = SCHEDULES[component.schedule](4)

    def velocity(x, t):
        return (target - x) / (1 - t)

    result = sample(velocity, noise, times, lambda done, total, x: seen.append((done, total)))
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    torch.testing.assert_close(result, target)


@each({name: one for name, one in REGISTRY.samplers.items() if one.restartable})
def test_a_restartable_sampler_ends_as_the_whole_from_any_step(component):
    times = SCHEDULES[component.schedule](5)
    torch.manual_seed(0)
    noise = torch.randn(1, 2, 3)
    begins, asked = [], []

    def velocity(x, t):
        asked.append(x)
        return torch.sin(3 * x) + t

    def on_step(*_):
        begins.append(len(asked))  # where in `asked` the next step begins

    whole = component.build()(velocity, noise, times, on_step)
    states = [asked[0], *(asked[at] for at in begins[:-1])]
    for step, state in enumerate(states):
        rest = component.build()(velocity, state, times[step:], lambda *_: None)
        assert torch.equal(rest, whole)


@each(REGISTRY.datasets)
def test_a_dataset_can_be_built(component):
    assert component.build({}) is not None
    with pytest.raises(ValueError, match="no settings"):
        component.build({"colour": "red"})


@pytest.mark.weights
@each(REGISTRY.model_variants)
def test_shipped_weights_are_those_of_the_configuration(component):
    from lingen_models.checkpoint import read_metadata

    if component.weights is None:
        pytest.skip("no weights exist")
    files = component.weights.files()
    if not files["denoiser"].is_file():
        pytest.skip("the weights are not in this checkout")
    assert read_metadata(files["denoiser"])["config"] == dict(component.config)
    assert sum(path.stat().st_size for path in files.values()) <= 40 * 2**20
