"""Models side by side: their losses on the same held-out clips, with the same noise, by position in
time (the paper's ablation in miniature; paper.md 4)."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import torch
from torch import Tensor

from lingen_models.pipelines.text_to_video import TextToVideo
from lingen_models.sampling.flow import interpolate, velocity
from lingen_playground import canonical_caption, render, sample_scene
from lingen_training.evaluation.quality_table import share_and_interval, whole_groups
from lingen_training.markdown_table import table_of

SECONDS = (4.0, 17.0, 60.0)
TIMES = (0.125, 0.375, 0.625, 0.875)
Losses = dict[str, list[list[float]]]
"""By seconds: for each clip, the loss at each latent frame."""


@torch.inference_mode()
def validation_losses(
    pipe: TextToVideo,
    *,
    clips: int,
    seconds: Sequence[float] = SECONDS,
    size: int = 128,
    seed: int = 0,
    report: Callable[[str], None] = print,
) -> Losses:
    """Mean squared error of the velocity at `TIMES`, on held-out scenes.

    There are `clips` of 4 s, and fewer of the longer, by the square root. Two models with one
    autoencoder are asked the very same, so that their differences say more than their losses.
    """
    found: Losses = {}
    for length in seconds:
        count = max(2, round(clips * math.sqrt(4.0 / length)))
        rows = []
        for number in range(count):
            drawn = seed * 1_000_003 + number
            clip = HeldoutClip(pipe, drawn + 800_000_000, drawn, length, size)
            rows.append(clip.losses().tolist())
        found[f"{length:g}"] = rows
        report(f"{count} clips of {length:g} s: loss {fmean(map(fmean, rows)):.4f}")
    return found


class HeldoutClip:
    """The latents of a held-out scene, by its number, with noise and a prompt that are always the
    same, and what a model loses on them."""

    def __init__(
        self, pipe: TextToVideo, scene_number: int, seed: int, seconds: float, size: int
    ) -> None:
        scene = sample_scene(scene_number, split="heldout")
        video = render([scene], whole_groups(seconds), size).to(pipe.device)
        self.pipe = pipe
        self.latents = pipe.autoencoder.encode(video).float()
        generator = torch.Generator().manual_seed(seed)
        self.noise = torch.randn(self.latents.shape, generator=generator).to(self.latents)
        self.text = pipe.encode_texts([canonical_caption(scene)])

    def losses(self, begin: int = 0, end: int | None = None, clean: int = 0) -> Tensor:
        """Mean squared error of the velocity at `TIMES`, at each of the latent frames from `begin`
        to `end` but for the first `clean` of them, which are given."""
        data, noise = self.latents[:, :, begin:end], self.noise[:, :, begin:end]
        total = torch.zeros(data.shape[2] - clean)
        for time in TIMES:
            t = torch.full((1, data.shape[2]), time, device=data.device)
            t[:, :clean] = 1
            predicted = self.velocity(interpolate(data, noise, t), t, begin)
            error = (predicted - velocity(data, noise))[:, :, clean:].square().mean((0, 1, 3, 4))
            total += error.cpu() / len(TIMES)
        return total

    def velocity(self, x: Tensor, t: Tensor, first_frame: int) -> Tensor:
        """Velocity that the model predicts for latents (1, C, T, h, w) at times (1, T), float32."""
        text = self.text
        found: Tensor = self.pipe.denoiser(x, t, text.features, text.masks, first_frame)
        return found.float()


def comparison_table(results: Mapping[str, Mapping[str, Any]]) -> str:
    """Models in rows: what the oracle says, the losses, and how far each is from the first model's,
    clip by clip, with 95% intervals."""
    (first, reference), *_ = results.items()
    marks = [(kind, mark) for kind in ("short", "long") for mark in reference[kind]]
    marks = [(kind, mark) for kind, mark in marks if reference[kind][mark][1]]
    lengths = list(reference["losses"])
    head = [mark if kind == "short" else f"{mark} kept" for kind, mark in marks]
    head += [f"loss at {length} s" for length in lengths]
    head += [f"against {first} at {length} s" for length in lengths]
    rows = []
    for name, result in results.items():
        cells = [share_and_interval(result[kind][mark]) for kind, mark in marks]
        means = {length: [fmean(row) for row in result["losses"][length]] for length in lengths}
        cells += [_with_interval(means[length], ".4f") for length in lengths]
        for length in lengths:
            base = [fmean(row) for row in reference["losses"][length]]
            apart = [mine / theirs - 1 for mine, theirs in zip(means[length], base, strict=True)]
            cells.append("-" if name == first else _with_interval(apart, "+.2%"))
        rows.append([name, *cells])
    return table_of(["model", *head], rows)


def _with_interval(values: Sequence[float], form: str) -> str:
    """Mean, and half the width of its 95% interval."""
    half = 1.96 * stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return f"{fmean(values):{form}} ± {half:{form.lstrip('+')}}"


def draw_losses(results: Mapping[str, Mapping[str, Any]], path: Path) -> Path | None:
    """Loss over the position in time, a panel for each length; None without matplotlib."""
    if importlib.util.find_spec("matplotlib") is None:
        return None
    from matplotlib.figure import Figure

    lengths = list(next(iter(results.values()))["losses"])
    named = -(-len(results) // len(lengths))  # lines of names below the panels
    figure = Figure(figsize=(4.5 * len(lengths), 3.5 + 0.2 * named), layout="constrained")
    panels = figure.subplots(1, len(lengths), squeeze=False)[0]
    for panel, length in zip(panels, lengths, strict=True):
        for name, result in results.items():
            rows = result["losses"][length]
            loss = [fmean(column) for column in zip(*rows, strict=True)]
            places = [float(length) * n / max(1, len(loss) - 1) for n in range(len(loss))]
            panel.plot(places, loss, linewidth=0.9, label=name)
        panel.set(title=f"clips of {length} s", xlabel="position in seconds", ylabel="loss")
    handles, labels = panels[0].get_legend_handles_labels()
    below = {"ncols": len(lengths), "fontsize": "x-small"}
    figure.legend(handles, labels, loc="outside lower center", **below)
    figure.savefig(path, dpi=120)
    return path
