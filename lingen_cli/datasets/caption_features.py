"""Features of captions by frozen text encoders, a file for some hundred captions."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lingen_models.checkpoints.safetensors import save_tensors

if TYPE_CHECKING:
    from torch import Tensor

    from lingen_models.checkpoints.pretrained import FrozenText

_IN_A_FILE = 256
_AT_ONCE = 16


def captions_of(captions: Iterable[str]) -> tuple[str, ...]:
    """Captions, each once, in the order of the files; one that is left out in training is empty."""
    return tuple(sorted({"", *captions}))


def caption_files(folder: Path, captions: Sequence[str]) -> Iterator[tuple[Path, Sequence[str]]]:
    """Yield the files of these captions, and those that are in each."""
    for first in range(0, len(captions), _IN_A_FILE):
        yield folder / f"{first // _IN_A_FILE:05}.safetensors", captions[first : first + _IN_A_FILE]


def write_features(
    folder: Path,
    captions: Sequence[str],
    encoders: Callable[[], Sequence[FrozenText]],
    on_captions: Callable[[float, float], None],
) -> None:
    """Write the files that are not there. In each, tensor `0` has the features of all captions by
    the first encoder, one after the other, and so on, and `lengths` says how many each has.

    `encoders` builds them when they are needed; `on_captions` is told how many of how many captions
    are done. Raises OSError.
    """
    networks: Sequence[FrozenText] | None = None
    done = 0
    for path, some in caption_files(folder, captions):
        if not path.exists():
            networks = encoders() if networks is None else networks
            tensors, lengths = _features(networks, some)
            save_tensors(path, tensors, {"lingen": json.dumps({"lengths": lengths})})
        done += len(some)
        on_captions(done, len(captions))


def _features(
    encoders: Sequence[FrozenText], captions: Sequence[str]
) -> tuple[dict[str, Tensor], list[list[int]]]:
    import torch

    tensors, lengths = {}, []
    for number, encoder in enumerate(encoders):
        rows: list[Tensor] = []
        for first in range(0, len(captions), _AT_ONCE):
            features, masks = encoder.read(captions[first : first + _AT_ONCE])
            rows += [row[mask].cpu() for row, mask in zip(features, masks, strict=True)]
        tensors[str(number)] = torch.cat(rows)
        lengths.append([len(row) for row in rows])
    return tensors, lengths
