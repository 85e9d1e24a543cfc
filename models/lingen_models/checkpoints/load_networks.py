"""The networks of a model from their files, which must fit together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lingen_models.checkpoints.pretrained import FrozenAutoencoder, FrozenText
from lingen_models.checkpoints.safetensors import (
    CheckpointError,
    build_network,
    load_network,
    read_metadata,
)
from lingen_models.network_config import LinGenConfig, TAEConfig, WordsConfig
from lingen_models.networks.denoiser import LinGen
from lingen_models.networks.video_autoencoder import TemporalAutoencoder
from lingen_models.networks.word_encoder import WordEncoder

VideoAutoencoder = TemporalAutoencoder | FrozenAutoencoder
TextEncoder = WordEncoder | FrozenText
NETWORKS: dict[str, Callable[[dict[str, Any]], nn.Module]] = {
    "lingen": lambda config: LinGen(LinGenConfig.from_dict(config)),
    "tae": lambda config: TemporalAutoencoder(TAEConfig.from_dict(config)),
    "words": lambda config: WordEncoder(WordsConfig.from_dict(config)),
}
"""The kind in the metadata of a file -> how its network is built from the config beside it."""


def load_networks(
    denoiser: Path,
    autoencoder: Path,
    text_encoders: Sequence[Path],
    device: str,
    dtype: torch.dtype,
    given: Mapping[Path, nn.Module],
) -> tuple[LinGen, VideoAutoencoder, list[TextEncoder]]:
    """Denoiser, autoencoder and text encoders; those in `given` by their files are taken as they
    are. Raises CheckpointError for files that are damaged, foreign or do not fit together."""

    def load(path: Path, kind: str) -> nn.Module:
        if path in given:
            return given[path]
        metadata = read_metadata(path)
        if metadata.get("kind") != kind:
            raise CheckpointError(
                f"weights do not fit the model: {path} is a {metadata.get('kind')}, not a {kind}"
            )
        network = build_network(path, metadata, NETWORKS[kind])
        load_network(path, network)
        return network.to(device, dtype)

    main = load(denoiser, "lingen")
    codec = load(autoencoder, "tae")
    texts = [load(path, "words") for path in text_encoders]
    assert isinstance(main, LinGen)
    assert isinstance(codec, VideoAutoencoder)
    encoders = [text for text in texts if isinstance(text, TextEncoder)]
    widths = tuple(text.feature_dim for text in encoders)
    if main.config.text_dims != widths:
        raise CheckpointError(
            f"weights do not fit together: {denoiser} needs text features of "
            f"{list(main.config.text_dims)}, the text encoders give {list(widths)}"
        )
    if main.config.latent_channels != codec.latent_channels:
        raise CheckpointError(
            f"weights do not fit together: {denoiser} has {main.config.latent_channels} latent "
            f"channels, {autoencoder} has {codec.latent_channels}"
        )
    return main, codec, encoders
