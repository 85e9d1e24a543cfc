"""Does a window of a long video gain from review tokens of all that came before it?

    python benchmarks/history.py
    python benchmarks/history.py --clips 2 --begins 40 --cells 4

A window sees its past as clean latent frames. Review tokens pooled from the whole history could be
read before its own at a constant cost: the network is asked about the history once, clean, and what
each layer pools there is pooled again to a few cells of time. Measured is the loss on the new
frames of windows of held-out clips: without it, with it, and with the whole history in front as
clean frames, which is the most that memory could give. Writes history.json and history.md.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import torch
from torch import Tensor, nn

from lingen_models.networks.mate import MambaBranch, review_tokens
from lingen_models.pipelines.text_to_video import TextToVideo
from lingen_training.evaluation.position_losses import HeldoutClip
from lingen_training.markdown_table import table_of
from measuring import circumstances, options_parser, write_result


class Remembering(nn.Module):
    """In place of a `MambaBranch`: keeps what it pools, or reads what was kept before its own."""

    def __init__(self, branch: MambaBranch) -> None:
        super().__init__()
        self.branch = branch
        self.kept: list[Tensor] = []
        self.memory: Tensor | None = None
        self.listens = False

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, H, W, D) -> the same shape."""
        branch = self.branch
        assert branch.review_pool is not None
        pooled = review_tokens(x, branch.review_pool)
        if self.listens:
            self.kept.append(pooled)
        if self.memory is not None:
            pooled = torch.cat((self.memory.expand(x.shape[0], -1, -1, -1, -1), pooled), 1)
        y = branch.mamba(branch.scan.flatten(x), branch.scan.flatten(pooled))
        return branch.scan.restore(y, (x.shape[1], x.shape[2], x.shape[3]))


def remembering(pipe: TextToVideo) -> list[Remembering]:
    """Put them into a network with review tokens."""
    found = []
    for block in pipe.denoiser.blocks:
        mixer: Any = block.mixer
        mixer.mamba_branch = Remembering(mixer.mamba_branch)
        found.append(mixer.mamba_branch)
    return found


@contextmanager
def memory_of(branches: Sequence[Remembering], cells: int) -> Iterator[None]:
    """While inside, what was kept is read, pooled to at most `cells` in time."""
    for branch in branches:
        whole = torch.cat(branch.kept, 1)
        step = max(1, math.ceil(whole.shape[1] / cells))
        branch.memory = review_tokens(whole, (step, 1, 1))
    yield
    for branch in branches:
        branch.memory = None


class Window(HeldoutClip):
    """A clip, and the loss on the new frames of windows of it."""

    def loss(self, begin: int, new: tuple[int, int]) -> float:
        """Of the latent frames from `new[0]` up to `new[1]`, those from `begin` on being clean."""
        return float(self.losses(begin, new[1], clean=new[0] - begin).mean())

    def look_at(self, end: int, frames: int) -> None:
        """Show the network all before `end`, clean, in pieces of so many latent frames."""
        for begin in range(0, end, frames):
            piece = self.latents[:, :, begin : min(end, begin + frames)]
            self.velocity(piece, torch.ones(1, piece.shape[2], device=piece.device), begin)


def measure(
    pipe: TextToVideo,
    *,
    clips: int,
    begins: Sequence[int],
    cells: Sequence[int],
    windows: tuple[int, int],
    size: int,
) -> dict[str, list[float]]:
    """Losses of every window: `plain`, `memory of N` for each of `cells`, `whole history`."""
    branches = remembering(pipe)
    frames, past = windows
    found: dict[str, list[float]] = {}
    for number in range(clips):
        seconds = (max(begins) + frames - past) * pipe.time_stride / 16
        window = Window(pipe, number + 900_000_000, number, seconds, size)
        for begin in begins:
            new = (begin, begin + frames - past)
            found.setdefault("plain", []).append(window.loss(begin - past, new))
            for branch in branches:
                branch.kept, branch.listens = [], True
            window.look_at(begin, frames)
            for branch in branches:
                branch.listens = False
            for count in cells:
                with memory_of(branches, count):
                    loss = window.loss(begin - past, new)
                found.setdefault(f"memory of {count}", []).append(loss)
            found.setdefault("whole history", []).append(window.loss(0, new))
        print(f"{number + 1}/{clips}: {table(found)}", file=sys.stderr)
    return found


def table(found: dict[str, list[float]]) -> str:
    """Means, and how far each is from plain windows, window by window, with 95% intervals."""
    rows = []
    for name, losses in found.items():
        apart = [mine / plain - 1 for mine, plain in zip(losses, found["plain"], strict=True)]
        half = 1.96 * stdev(apart) / math.sqrt(len(apart)) if len(apart) > 1 else math.nan
        rows.append((name, f"{fmean(losses):.4f}", f"{fmean(apart):+.2%} ± {half:.2%}"))
    return table_of(("windows", "loss", "against plain"), rows)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, write, and print the table."""
    parser = options_parser(__doc__)
    parser.add_argument("--model", default="lingen-mini")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--clips", type=int, default=12)
    parser.add_argument("--begins", default="40,80", help="latent frames before the new part")
    parser.add_argument("--cells", default="4,16", help="cells of time in the memory")
    parser.add_argument("--size", type=int, default=128)
    options = parser.parse_args(arguments)
    from lingen_cli.zoo.load_model import load_model
    from lingen_cli.zoo.locate import locate, open_registry

    registry = open_registry(lambda text: print(text, file=sys.stderr))
    located = locate(registry, options.model, options.weights)
    windows = located.variant.windows
    if windows is None:
        parser.error(f"{options.model} makes videos in one piece; choose a model with windows")
    pipe = load_model(located, "auto")
    with torch.inference_mode():
        found = measure(
            pipe,
            clips=options.clips,
            begins=[int(one) for one in options.begins.split(",")],
            cells=[int(one) for one in options.cells.split(",")],
            windows=windows,
            size=options.size,
        )
    whole = {**circumstances(options, pipe.device.type), "losses": found}
    write_result(options.output, "history", whole, table(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
