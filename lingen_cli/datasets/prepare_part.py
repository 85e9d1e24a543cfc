"""One part of a preparation: footage decoded, cut and encoded into one file."""

from __future__ import annotations

import functools
import gc
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from lingen_cli.datasets.footage_windows import LeftOut, Window, windows_of
from lingen_cli.datasets.prepare_plan import Options, Stretch, frames_of
from lingen_models.checkpoints.safetensors import read_metadata, save_tensors

if TYPE_CHECKING:
    from torch import Tensor

    from lingen_models.checkpoints.load_networks import VideoAutoencoder

AUTOENCODER = "autoencoder.safetensors"


@dataclass(frozen=True)
class Part:
    """Part `number` of a preparation, whose clips go into the file `path`."""

    number: int
    path: Path
    stretches: tuple[Stretch, ...]
    footage: Path
    options: Options
    plan: str
    """Hash of the plan that it is of."""
    device: str
    skipped: tuple[LeftOut, ...] = ()
    """Files of it that no process survives."""


@dataclass(frozen=True)
class Run:
    """Windows of one shot, in the rows from `row` on of a tensor. Times are in seconds of the
    footage: `shot` is when the shot begins."""

    file: str
    caption: str
    shot: float
    begin: float
    seconds: float
    tensor: str
    row: int
    count: int


def prepare_part(part: Part, begins: Callable[[str], None]) -> None:
    """Decode, cut and encode a part, and write its file, whole or not at all. `begins` is told the
    name of each file before it is opened. Raises OSError."""
    folder = part.path.parent.parent
    encoder = _Encoder(load_autoencoder_of(folder, part.device))
    left_out = list(part.skipped)
    skipped = {one.file for one in part.skipped}
    for stretch in part.stretches:
        file = stretch.clip.name_in(part.footage)
        if file in skipped:
            continue
        begins(file)
        found = windows_of(stretch, file, part.options, encoder.time_stride, left_out)
        for window in found:
            encoder.add(window, file, stretch.clip.caption)
    tensors = encoder.finish()
    facts = {
        "plan": part.plan,
        "runs": [asdict(one) for one in encoder.runs],
        "left_out": [asdict(one) for one in left_out],
    }
    save_tensors(part.path, tensors, {"lingen": json.dumps(facts)})


@functools.lru_cache(maxsize=1)
def load_autoencoder_of(folder: Path, device: str) -> VideoAutoencoder:
    """Load the autoencoder that a prepared folder names. Raises as `read_part`."""
    from lingen_models.checkpoints.pretrained import FrozenAutoencoder
    from lingen_plugins.parts import KIND, read_part
    from lingen_plugins.registry import collect
    from lingen_training.trainer import load_autoencoder

    path = folder / AUTOENCODER
    metadata = read_metadata(path)
    network: VideoAutoencoder
    if metadata.get("kind") != KIND:
        network = load_autoencoder(path, device)
    else:
        built = read_part(collect(), path, metadata).build()
        assert isinstance(built, FrozenAutoencoder)
        network = built.to(device)
    gc.freeze()  # every video that is opened has garbage collected, but not torch looked through
    return network


class _Encoder:
    """Latents of windows. On a processor each is encoded by itself, so that it does not depend on
    what is beside it; on a GPU as many together as fill it."""

    def __init__(self, network: VideoAutoencoder) -> None:
        self.runs: list[Run] = []
        self.time_stride = network.time_stride
        self._network = network
        self._device = next(network.parameters()).device
        self._waiting: dict[str, list[Window]] = {}
        self._latents: dict[str, list[Tensor]] = {}
        self._rows: dict[str, int] = {}
        self._last: dict[str, int] = {}
        """Number of the last run of each tensor."""

    def add(self, window: Window, file: str, caption: str) -> None:
        """Take the next window of a file."""
        from lingen_training.datasets.clip_cache import clips_at_once

        width, height = window.size
        name = f"{window.target}/{width}x{height}/{window.kept}"  # read by `prepared_folder`
        row = self._rows.get(name, 0)
        self._rows[name] = row + 1
        last = self._last.get(name)
        if last is not None and (self.runs[last].file, self.runs[last].shot) == (file, window.shot):
            run = self.runs[last]
            seconds = round(run.seconds + window.seconds, 4)
            self.runs[last] = replace(run, seconds=seconds, count=run.count + 1)
        else:
            self._last[name] = len(self.runs)
            begin, seconds = window.begin, window.seconds
            self.runs.append(Run(file, caption, window.shot, begin, seconds, name, row, 1))
        waiting = self._waiting.setdefault(name, [])
        waiting.append(window)
        frames = frames_of(window.kept, self.time_stride)
        most = 1 if self._device.type == "cpu" else clips_at_once(frames, window.size)
        if len(waiting) >= most:
            self._encode(name)

    def finish(self) -> dict[str, Tensor]:
        """Encode what waits; returns the tensors (clips, C, T, h, w) in bf16, by their names."""
        import torch

        for name in [*self._waiting]:
            self._encode(name)
        return {name: torch.cat(parts) for name, parts in sorted(self._latents.items())}

    def _encode(self, name: str) -> None:
        import numpy as np
        import torch

        windows, self._waiting[name] = self._waiting.get(name, []), []
        if not windows:
            return
        frames = np.stack([np.stack(one.frames) for one in windows])
        pixels = torch.from_numpy(frames).permute(0, 4, 1, 2, 3)
        with torch.no_grad():
            video = (pixels.float() / 127.5 - 1).to(self._device)
            latents = self._network.encode(video).to(torch.bfloat16).cpu()
        self._latents.setdefault(name, []).append(latents)
