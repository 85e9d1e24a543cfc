"""The hooks a plugin may implement. Each is called with no arguments and returns records.

A hook does no work: it must not import torch, touch the network or read weights.
"""

from __future__ import annotations

from collections.abc import Iterable

from pluggy import HookimplMarker, HookspecMarker

from lingen_plugins.contracts import (
    Autoencoder,
    Dataset,
    HubModel,
    ModelVariant,
    Sampler,
    ScanOrder,
    TextEncoder,
)

PROJECT = "lingen"
hookspec = HookspecMarker(PROJECT)
hookimpl = HookimplMarker(PROJECT)


@hookspec
def register_model_variants() -> Iterable[ModelVariant]:
    """Return model variants, selectable with `lingen generate --model NAME`."""
    return ()


@hookspec
def register_hub_models() -> Iterable[HubModel]:
    """Return open weights that `diffusers` runs, selectable as model variants are."""
    return ()


@hookspec
def register_scan_orders() -> Iterable[ScanOrder]:
    """Return token orders, which a model variant names."""
    return ()


@hookspec
def register_text_encoders() -> Iterable[TextEncoder]:
    """Return text encoders, which a model variant names."""
    return ()


@hookspec
def register_autoencoders() -> Iterable[Autoencoder]:
    """Return video autoencoders, which a model variant names."""
    return ()


@hookspec
def register_samplers() -> Iterable[Sampler]:
    """Return samplers, which a model variant names."""
    return ()


@hookspec
def register_datasets() -> Iterable[Dataset]:
    """Return datasets, which a training recipe names."""
    return ()
