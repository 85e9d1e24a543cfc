"""Open weights that others published, through `diffusers` (the extra `lingen[hub]`): whole models,
and text encoders and autoencoders to train a LinGen on.

Each family has a module: its record, and how its pipeline is called. Nothing of `diffusers` is
imported before a model is loaded.
"""

from __future__ import annotations

from lingen_plugins.contracts import Autoencoder, HubModel, TextEncoder
from lingen_plugins.hookspecs import hookimpl
from lingen_plugins.hub.codecs import AUTOENCODERS
from lingen_plugins.hub.families.helios import HELIOS
from lingen_plugins.hub.families.ltx import LTX
from lingen_plugins.hub.families.sana import SANA
from lingen_plugins.hub.families.skyreels import SKYREELS
from lingen_plugins.hub.families.wan import WAN
from lingen_plugins.hub.text import TEXT_ENCODERS


@hookimpl
def register_hub_models() -> list[HubModel]:
    """All families."""
    return [WAN, SKYREELS, LTX, SANA, HELIOS]


@hookimpl
def register_text_encoders() -> list[TextEncoder]:
    """Those of `transformers`."""
    return TEXT_ENCODERS


@hookimpl
def register_autoencoders() -> list[Autoencoder]:
    """Those of `diffusers`."""
    return AUTOENCODERS
