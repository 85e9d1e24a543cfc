"""How well a model goes on with a video: chains of extensions, new prompts, given images.

    python benchmarks/editing.py
    python benchmarks/editing.py --chains 2 --links 3 --prompts 4 --images 4

A chain is a clip that is extended again and again, once over its latents, as `lingen extend` does,
and once by decoding it and encoding its end, as tools without a cache of latents must. The oracle
of the training world judges the pixels. Writes editing.json and editing.md.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor

from lingen_models.pipelines.text_to_video import TextToVideo
from lingen_models.sampling.conditioning import Conditioning
from lingen_models.sampling.layout import Layout
from lingen_models.sampling.params import SamplingParams
from lingen_playground import (
    FPS,
    Scene,
    as_frames,
    canonical_caption,
    consistency,
    judge,
    render,
    sample_scene,
)
from lingen_plugins.contracts import ModelVariant, Sampler
from lingen_training.evaluation.quality_table import steady_scene
from lingen_training.markdown_table import table_of
from measuring import circumstances, options_parser, write_result

LOOK = 5 * FPS
"""Frames at the beginning and at the end of a chain that are compared."""
MARKS = ("color", "background", "direction", "shape", "size", "motion")
Tally = dict[str, list[float]]


@dataclass(frozen=True)
class Model:
    """A loaded model, and how it is sampled."""

    pipe: TextToVideo
    variant: ModelVariant
    sampler: Sampler
    params: SamplingParams
    """Where no layout is planned."""
    planned: SamplingParams

    def begin(
        self,
        prompt: str,
        frames: int,
        seed: int,
        first_frame: Tensor | None = None,
        last_frame: Tensor | None = None,
    ) -> Tensor:
        """Latents of a clip."""
        side = self.variant.size
        params = self.planned if last_frame is None else self.params
        return self.pipe.sample(
            Conditioning(prompt, first_frame, last_frame),
            replace(params, seed=seed),
            frames=frames,
            height=side,
            width=side,
            method=self.sampler.method(),
        )

    def go_on(
        self, history: Tensor, count: int, prompt: str, seed: int, layout: Layout | None
    ) -> Tensor:
        """`history` and `count` latent frames after it."""
        pieces = self.pipe.extend(
            history,
            count,
            Conditioning(prompt, layout=layout),
            replace(self.params if layout is None else self.planned, seed=seed),
            windows=self.variant.windows,
            method=self.sampler.method(),
        )
        return torch.cat([history.float(), *pieces], 2)

    def pixels(self, latents: Tensor) -> Tensor:
        """uint8 (T, H, W, 3)."""
        frames = 1 + self.pipe.time_stride * (latents.shape[2] - 1)
        return torch.cat(list(self.pipe.decode(latents, frames)))


def chain(model: Model, scene: Scene, links: int, seconds: float, seed: int, way: str) -> Tensor:
    """The video of a chain of `links` clips of `seconds`, uint8 (T, H, W, 3)."""
    count = round(seconds * FPS / model.pipe.time_stride)
    prompt = canonical_caption(scene)
    latents = model.begin(prompt, 1 + model.pipe.time_stride * count, seed)
    if way == "latents":
        for link in range(1, links):
            layout = model.pipe.plan_layout(prompt, seed, 1 + (link + 1) * count)
            latents = model.go_on(latents, count, prompt, seed, layout)
        return model.pixels(latents)
    video = model.pixels(latents)
    kept = model.variant.windows[1] + model.pipe.autoencoder.reach
    for link in range(links - 1):
        tail = video[-(1 + model.pipe.time_stride * min(kept, count)) :]
        history = model.pipe.encode_video(tail)
        longer = model.pixels(model.go_on(history, count, prompt, seed + link, None))
        video = torch.cat((video, longer[len(tail) :]))
    return video


@dataclass(frozen=True)
class Seams:
    """Change from frame to frame at the seams of a chain, over the median inside: the median and
    the largest seam; and the largest of as many first frames of latent frames that are no seams,
    drawn at random: how large the largest is without any seam."""

    median: float
    largest: float
    largest_inside: float


def seams_of(video: Tensor, seams: Sequence[int], stride: int) -> Seams:
    """Measure a video (T, H, W, 3) with seams before these frames and latent frames of `stride`."""
    frames = video.float()
    change = (frames[1:] - frames[:-1]).abs().mean((1, 2, 3)).clamp(min=1e-3)
    at_seams = change[[seam - 1 for seam in seams]]
    rng = random.Random(0)
    joints = [at for at in range(0, len(change), stride) if at + 1 not in seams]
    inside = [
        float(change[rng.sample(joints, len(seams))].max() / change.median()) for _ in range(200)
    ]
    return Seams(
        float(at_seams.median() / change.median()),
        float(at_seams.max() / change.median()),
        median(inside),
    )


def chains(model: Model, count: int, links: int, seconds: float, way: str) -> dict[str, Any]:
    """Judge `count` chains of one way."""
    kept: Tally = {"color": [], "size": [], "background": []}
    found: list[Seams] = []
    for number in range(count):
        scene = steady_scene(0, number)
        video = chain(model, scene, links, seconds, number, way)
        same = consistency(video[:LOOK], video[-LOOK:], scene)
        kept["color"].append(same.color)
        kept["size"].append(same.size)
        kept["background"].append(same.first.background == same.last.background)
        frames = round(seconds * FPS)
        seams = [1 + frames * link for link in range(1, links)]
        found.append(seams_of(video, seams, model.pipe.time_stride))
        print(f"{way} {number + 1}/{count}: {shares(kept)}, {found[-1]}", file=sys.stderr)
    return {"kept": kept, "seams": [asdict(one) for one in found]}


def prompts(model: Model, count: int, seconds: float) -> dict[str, Any]:
    """Go on with another prompt that names no background; judge the end of the new part."""
    obeys: Tally = {mark: [] for mark in MARKS}
    latent_frames = round(seconds * FPS / model.pipe.time_stride)
    for number, (before, after) in enumerate(pairs(count)):
        frames = 1 + model.pipe.time_stride * latent_frames
        latents = model.begin(canonical_caption(before), frames, number)
        words = canonical_caption(after)
        place = canonical_place(after)
        assert place in words
        then = words.replace(f" {place}", "")
        have = latents.shape[2]
        planned = model.pipe.plan_layout(canonical_caption(before), number, have + 1)
        layout = model.pipe.plan_layout(then, number, have + 2 * latent_frames, have, planned)
        longer = model.go_on(latents, 2 * latent_frames, then, number, layout)
        verdict = judge(model.pixels(longer)[-round(seconds * FPS) :], after, fps=FPS)
        for mark, answers in obeys.items():
            if (right := getattr(verdict, mark)) is not None:
                answers.append(right)
        print(f"prompts {number + 1}/{count}: {shares(obeys)}", file=sys.stderr)
    return {"obeys": obeys}


def pairs(count: int) -> Iterator[tuple[Scene, Scene]]:
    """Scenes, and others with the same background and a still camera."""
    for number in range(count):
        before = sample_scene(600_000_000 + number, split="heldout", objects=1, camera="still")
        after = sample_scene(
            700_000_000 + number,
            split="heldout",
            objects=1,
            camera="still",
            background=before.background,
        )
        yield before, after


def canonical_place(scene: Scene) -> str:
    """The words of the plain caption that name the background."""
    from lingen_playground.captions import lexicon

    return lexicon.PLACE[scene.background][0]


def images(model: Model, count: int) -> dict[str, Any]:
    """Begin with an image, and end in one: how near the video comes to it, in decibels, and whether
    the object of a first image is there, in its color, in the second 2 s later."""
    found: Tally = {"first": [], "last": [], "kept": []}
    for number in range(count):
        scene = replace(steady_scene(1, number), camera="still")
        clip = as_frames(render([scene], 3 * FPS + 1, model.variant.size)[0])
        for name, image in (("first", clip[0]), ("last", clip[-1])):
            first, last = (image, None) if name == "first" else (None, image)
            latents = model.begin(canonical_caption(scene), len(clip), number, first, last)
            video = model.pixels(latents)
            shown = video[0 if name == "first" else -1]
            error = (shown.float() - image.float()).square().mean().clamp(min=1e-3)
            found[name].append(float(10 * torch.log10(255**2 / error)))
            if name == "first":
                verdict = judge(video[2 * FPS :], scene, fps=FPS)
                found["kept"].append(bool(verdict.color and verdict.count))
        print(f"images {number + 1}/{count}: {found}", file=sys.stderr)
    return found


def shares(tally: Tally) -> str:
    """How many of how many, for each mark."""
    return ", ".join(f"{mark} {sum(got):.0f}/{len(got)}" for mark, got in tally.items())


def table(result: dict[str, Any]) -> str:
    """The result as markdown."""
    head = ["measured", "color", "size", "background"]
    head += ["seams: median", "largest", "largest elsewhere"]
    rows = []
    for way, found in result["chains"].items():
        kept = found["kept"]
        cells = [f"chain over {way}"]
        cells += [f"{sum(kept[mark])}/{len(kept[mark])}" for mark in head[1:4]]
        cells += [
            f"{median(one[name] for one in found['seams']):.2f}"
            for name in ("median", "largest", "largest_inside")
        ]
        rows.append(cells)
    lines = [table_of(head, rows), ""]
    obeys = result["prompts"]["obeys"]
    lines += [f"A new prompt that names no background: {shares(obeys)}.", ""]
    for name in ("first", "last"):
        found = result["images"][name]
        lines.append(f"A given {name} image: {min(found):.1f} to {max(found):.1f} dB.")
    kept = result["images"]["kept"]
    lines.append(f"The object of a first image is there after 2 s: {sum(kept)}/{len(kept)}.")
    return "\n".join(lines)


def load(weights: Path | None, name: str, steps: int | None, guidance: float | None) -> Model:
    """The model as `lingen generate` would use it."""
    from lingen_cli.inputs.settings import SamplingOverrides
    from lingen_cli.requests.capabilities import overridden, params_of
    from lingen_cli.zoo.load_model import load_model
    from lingen_cli.zoo.locate import locate, open_registry

    registry = open_registry(lambda text: print(text, file=sys.stderr))
    located = locate(registry, name, weights)
    variant = located.variant
    if not isinstance(variant, ModelVariant):
        raise SystemExit(f"{name} is no LinGen model: choose one that `lingen train` can train")
    chosen = {"steps": steps, "guidance_scale": guidance}
    given = SamplingOverrides({key: one for key, one in chosen.items() if one is not None})
    params, planned = (
        overridden(params_of(variant, planned=one and weights is None), given, variant)
        for one in (False, True)
    )
    sampler = registry.samplers[variant.sampler]
    return Model(load_model(located, "auto"), variant, sampler, params, planned)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, write, and print the table."""
    parser = options_parser(__doc__)
    parser.add_argument("--model", default="lingen-mini")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--chains", type=int, default=20)
    parser.add_argument("--links", type=int, default=10, help="clips in a chain")
    parser.add_argument("--seconds", type=float, default=10.0, help="of a clip in a chain")
    parser.add_argument("--prompts", type=int, default=20)
    parser.add_argument("--images", type=int, default=20)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--guidance", type=float)
    options = parser.parse_args(arguments)
    model = load(options.weights, options.model, options.steps, options.guidance)
    with torch.inference_mode():
        result = {
            **circumstances(options, model.pipe.device.type),
            "chains": {
                way: chains(model, options.chains, options.links, options.seconds, way)
                for way in ("latents", "pixels")
            },
            "prompts": prompts(model, options.prompts, 4.0),
            "images": images(model, options.images),
        }
    write_result(options.output, "editing", result, table(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
