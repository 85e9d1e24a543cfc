"""Plugins: what they are made of, and those that ship with lingen. Nothing imports torch when
imported.

from lingen_plugins import ScanOrder, hookimpl

@hookimpl
def register_scan_orders():
    return [ScanOrder(name="columns", summary="columns first", axes=("wth",))]
"""

from lingen_plugins.contracts import (
    Autoencoder,
    Component,
    Dataset,
    HubModel,
    ModelVariant,
    Sampler,
    ScanOrder,
    TextEncoder,
    Weights,
)
from lingen_plugins.hookspecs import hookimpl
from lingen_plugins.plugin_errors import DuplicateNameError, PluginError, UnknownNameError

__all__ = [
    "Autoencoder",
    "Component",
    "Dataset",
    "DuplicateNameError",
    "HubModel",
    "ModelVariant",
    "PluginError",
    "Sampler",
    "ScanOrder",
    "TextEncoder",
    "UnknownNameError",
    "Weights",
    "hookimpl",
]
