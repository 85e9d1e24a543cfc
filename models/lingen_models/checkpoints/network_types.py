"""The networks that a weights file can hold."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from lingen_models.network_config import LinGenConfig, TAEConfig, WordsConfig
from lingen_models.networks.denoiser import LinGen
from lingen_models.networks.video_autoencoder import TemporalAutoencoder
from lingen_models.networks.word_encoder import WordEncoder

NETWORKS: dict[str, Callable[[dict[str, Any]], nn.Module]] = {
    "lingen": lambda config: LinGen(LinGenConfig.from_dict(config)),
    "tae": lambda config: TemporalAutoencoder(TAEConfig.from_dict(config)),
    "words": lambda config: WordEncoder(WordsConfig.from_dict(config)),
}
"""The kind in the metadata of a file -> how its network is built from the config beside it."""
