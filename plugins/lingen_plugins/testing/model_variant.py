"""The check of model variants."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lingen_models.checkpoints.safetensors import CheckpointError, read_metadata
from lingen_models.network_config import ConfigError, LinGenConfig
from lingen_models.sampling.params import SamplingParams
from lingen_plugins.contracts import ModelVariant
from lingen_plugins.plugin_errors import UnknownNameError
from lingen_plugins.registry import Registry, collect
from lingen_plugins.testing.claims import Claims

if TYPE_CHECKING:
    from torch import Tensor, nn

    from lingen_models.networks.embeddings import LayoutFeatures

MOST_PARAMETERS = 20_000_000
TOKENS = 5


def check_model_variant(variant: ModelVariant, registry: Registry | None = None) -> None:
    """Its configuration agrees with its parts, and its denoiser of test size works.

    The denoiser is called with latents (B, C, T, H, W), times (B, T), features and masks per text
    encoder, and the number of the first latent frame; it returns the velocity, of the latents'
    shape. `registry` is where its parts are looked up: all that is installed, if not given.
    """
    claims = Claims.of(variant, ModelVariant)
    _check_numbers(claims, variant)
    for name in ("config", "tiny_config"):
        config: Mapping[str, Any] = getattr(variant, name)
        claims.config(name, config)
        for key in ("latent_channels", "text_dims"):
            claims.expect(key in config, f"{name} lacks {key!r}", "lingen makes the inputs by it")
    registry = collect() if registry is None else registry
    _check_parts(claims, variant, registry)
    _check_network(claims, variant)
    _check_weights(claims, variant)


def _check_numbers(claims: Claims, variant: ModelVariant) -> None:
    for name in ("fps", "size", "trained_seconds", "steps"):
        value = getattr(variant, name)
        claims.expect(value > 0, f"{name} is {value}", "it must be above 0")
    try:
        SamplingParams(**variant.planned_sampling)
    except (TypeError, ValueError) as error:
        raise claims.broken(
            f"planned_sampling is {dict(variant.planned_sampling)}: {error}",
            "give fields of SamplingParams within their limits",
        ) from error
    claims.expect(
        variant.plans is not None or not variant.planned_sampling,
        "planned_sampling without plans",
        "nothing tells which prompts it is for",
    )
    claims.expect(variant.text_encoders, "it names no text encoder", "name at least one")
    claims.windows(variant.windows)


def _check_parts(claims: Claims, variant: ModelVariant, registry: Registry) -> None:
    try:
        registry.check(variant)
    except UnknownNameError as error:
        raise claims.broken(str(error), "register it in the same plugin") from error
    codec = registry.autoencoders[variant.autoencoder]
    encoders = [registry.text_encoders[name] for name in variant.text_encoders]
    axes = list(registry.scan_orders[variant.scan_order].axes)
    wanted = (
        ("scan_axes", axes, f"the scan order {variant.scan_order!r}"),
        ("review", variant.review, "its field `review`"),
        ("latent_channels", codec.latent_channels, f"the autoencoder {codec.name!r}"),
    )
    for name, config in (("config", variant.config), ("tiny_config", variant.tiny_config)):
        for key, value, source in wanted:
            claims.expect(
                key not in config or config[key] == value,
                f"{name} has {key} {config.get(key)!r}, {source} says {value!r}",
                "make them agree",
            )
        claims.expect(
            len(config["text_dims"]) == len(encoders),
            f"{name} has {len(config['text_dims'])} text_dims for {len(encoders)} text encoders",
            "one for each",
        )
    widths = [encoder.feature_dim for encoder in encoders]
    claims.expect(
        list(variant.config["text_dims"]) == widths,
        f"config has text_dims {variant.config['text_dims']}",
        f"the features of its text encoders have {widths}",
    )
    _, tall, wide = _patch(variant.config)
    for side in (tall, wide):
        claims.expect(
            variant.size % (codec.space_stride * side) == 0,
            f"size {variant.size} is not a multiple of {codec.space_stride} (the autoencoder's "
            f"space_stride) x {side} (the patch)",
            "choose another size",
        )


def _patch(config: Mapping[str, Any]) -> tuple[int, int, int]:
    time, tall, wide = config.get("patch", (1, 1, 1))
    return time, tall, wide


def _check_network(claims: Claims, variant: ModelVariant) -> None:
    import torch

    torch.manual_seed(0)
    config = variant.tiny_config
    network = claims.network(variant.build, config)
    count = sum(one.numel() for one in network.parameters())
    claims.expect(
        count <= MOST_PARAMETERS,
        f"with tiny_config it has {count:,} parameters",
        f"{MOST_PARAMETERS:,} at most, so that a test is quick",
    )
    with torch.no_grad():  # a fresh network may have gates that are shut
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    _, tall, wide = _patch(config)
    for frames, high, across in ((1, 1, 1), (3, 3, 5), (4, 2, 3)):
        inputs = _inputs(config, (2, frames, high * tall, across * wide))
        with torch.inference_mode():
            out = network(*inputs, 7)
            what = f"the velocity of latents {tuple(inputs[0].shape)}"
            claims.tensor(what, out, tuple(inputs[0].shape))
            _check_rows(claims, network, inputs, out)
    layout = (_layout(config, 2, 3),) if config.get("layout") else ()
    _check_gradient(claims, network, _inputs(config, (2, 3, 4 * tall, 4 * wide)), *layout)


_Inputs = tuple["Tensor", "Tensor", tuple["Tensor", ...], tuple["Tensor", ...]]


def _inputs(config: Mapping[str, Any], size: tuple[int, int, int, int]) -> _Inputs:
    """Latents, times, features and masks of these sizes (B, T, H, W); the last token is padding."""
    import torch

    rows, frames, height, width = size
    latents = torch.randn(rows, config["latent_channels"], frames, height, width)
    features = tuple(torch.randn(rows, TOKENS, dim) for dim in config["text_dims"])
    masks = tuple(torch.arange(TOKENS).expand(rows, -1) < TOKENS - 1 for _ in features)
    return latents, torch.rand(rows, frames), features, masks


def _layout(config: Mapping[str, Any], rows: int, frames: int) -> LayoutFeatures:
    """Where two objects are on four by four tokens."""
    import torch

    from lingen_models.networks.embeddings import INSTANTS, LayoutFeatures

    discs = 1 + torch.rand(rows, frames, 2, INSTANTS, 5)
    discs[..., 4] = 1
    return LayoutFeatures(discs, torch.randn(rows, 2, config["text_dims"][0]))


def _check_rows(claims: Claims, network: nn.Module, inputs: _Inputs, out: Tensor) -> None:
    """The same again; each row by itself; whatever stands in the padding."""
    import torch

    latents, times, features, masks = inputs
    claims.expect(
        torch.equal(network(*inputs, 7), out),
        "the same inputs give another velocity the second time",
        "leave out chance (dropout, fresh noise) in evaluation mode",
    )
    alone = network(
        latents[:1], times[:1], tuple(f[:1] for f in features), tuple(m[:1] for m in masks), 7
    )
    claims.expect(
        torch.allclose(alone, out[:1], atol=1e-3, rtol=1e-3),
        "a row of a batch has another velocity by itself",
        "rows must not see each other: no norm over the batch",
    )
    other = tuple(torch.where(m[..., None], f, 9.0) for f, m in zip(features, masks, strict=True))
    claims.expect(
        torch.allclose(network(latents, times, other, masks, 7), out, atol=1e-3, rtol=1e-3),
        "the velocity depends on text tokens that the mask leaves out",
        "give the mask to the attention: prompts are padded to one length",
    )


def _check_gradient(
    claims: Claims, network: nn.Module, inputs: _Inputs, *layout: LayoutFeatures
) -> None:
    import torch

    network.train()
    out: Tensor = network(*inputs, 0, *layout)
    (out * torch.randn_like(out)).sum().backward()  # type: ignore[no-untyped-call]
    lost = [
        name
        for name, parameter in network.named_parameters()
        if parameter.requires_grad and (parameter.grad is None or not parameter.grad.any())
    ]
    claims.expect(
        not lost,
        f"no gradient reaches {', '.join(lost[:5])}",
        "use every parameter in forward, or freeze it with requires_grad_(False)",
    )
    claims.expect(
        all(
            torch.isfinite(parameter.grad).all()
            for parameter in network.parameters()
            if parameter.grad is not None
        ),
        "a gradient is infinite or not a number",
        "look for roots and divisions of what may be zero",
    )


def _check_weights(claims: Claims, variant: ModelVariant) -> None:
    """Where the file of the denoiser is on this machine, it is one of this configuration."""
    if variant.weights is None or not variant.weights.files()["denoiser"].is_file():
        return

    path = variant.weights.files()["denoiser"]
    try:
        metadata = read_metadata(path)
        found = metadata.get("config")
        if metadata.get("kind") == "lingen":  # a field that it was written before has its default
            found = LinGenConfig.from_dict(found or {}).to_dict()
    except (CheckpointError, ConfigError, TypeError) as error:
        raise claims.broken(str(error), "write it with `lingen train`") from error
    claims.expect(
        found == dict(variant.config),
        f"{path} holds another configuration than `config`",
        "copy the one in the file's metadata",
    )
