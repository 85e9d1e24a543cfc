"""The quality table: clips from held-out prompts, judged from their pixels by the oracle."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from lingen_models.networks.embeddings import stack_layouts
from lingen_models.pipelines.text_to_video import TextToVideo, expanded
from lingen_models.sampling.denoise import SamplingMethod, sample_latents
from lingen_models.sampling.layout import Layout
from lingen_models.sampling.params import SamplingParams, options
from lingen_playground import (
    FPS,
    Scene,
    Verdict,
    as_frames,
    canonical_caption,
    consistency,
    judge,
    judge_said,
    natural_prompts,
    render,
    sample_scene,
)
from lingen_playground.oracle.judge import SAID_MARKS
from lingen_training.markdown_table import table_of

MARKS = ("color", "background", "direction", "shape", "size", "motion", "count")
TARGETS = {
    "color": 0.97,
    "background": 0.97,
    "direction": 0.90,
    "shape": 0.85,
    "size": 0.85,
    "motion": 0.80,
    "count": 0.95,
}
SPLITS = ("objects", "motion", "speed", "camera")
SPLIT_MARKS = ("shape", "motion", "count")
"""Marks of the table by split."""
NATURAL_TARGETS = {"said": 0.85, "background": 0.97, "count": 0.95}
LONG_MARKS = ("color", "size")
LONG_TARGET = 0.90
_HEAD = ("judged", "right", "95% interval", "target")


@dataclass(frozen=True)
class Clip:
    """A clip that was judged: its phase, its prompt, uint8 (T, H, W, 3), and what is wrong."""

    phase: str
    prompt: str
    video: Tensor
    wrong: tuple[str, ...]


Progress = Callable[[str, int, int], None]
"""Told a phase, how many of its steps are done, and how many there are; first with 0."""
Seen = Callable[[Clip], None]


def evaluate(
    pipe: TextToVideo,
    params: SamplingParams,
    method: SamplingMethod,
    *,
    clips: int = 200,
    seconds: float = 4.0,
    natural_clips: int = 60,
    long_clips: int = 20,
    long_seconds: float = 60.0,
    size: int = 128,
    batch: int = 8,
    report: Callable[[str], None] = print,
    progress: Progress = lambda phase, done, total: None,
    seen: Seen = lambda clip: None,
    into: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Generate and judge; real renders of the same scenes are judged beside them, as they are and
    as the autoencoder gives them back, which is as well as the denoiser could do. The seed of
    `params` chooses the prompts and the noise.

    Returns {"settings", "short": {mark: [right, asked]}, "real" and "restored": the same for
    renders, "splits": {"objects": {"1": {mark: [right, asked]}, ...}, ...}, "long" as "short",
    "failures": [...]}, and with `natural_clips` "natural": `NATURAL_TARGETS`' marks for as many
    clips from `natural_prompts`, more than there are being made with other noise, and
    "natural_failures". `markdown_table` draws it. It is `into`, if given, which is filled while
    clips are judged: what is there counts also where something is raised. `progress` is told the
    phase and how many of its denoising steps are done, `seen` is handed every clip.
    """
    result = {} if into is None else into
    frames, long_frames, seed = whole_groups(seconds), whole_groups(long_seconds), params.seed
    scenes = [sample_scene(seed * 1_000_003 + i, split="heldout") for i in range(clips)]
    generate = _Generator(pipe, params, method, size, progress)
    short, real, restored = _tally(MARKS), _tally(MARKS), _tally(MARKS)
    splits: dict[str, dict[str, dict[str, list[int]]]] = {name: {} for name in SPLITS}
    failures: list[dict[str, Any]] = []
    long = _tally(LONG_MARKS)
    result |= {
        "settings": {
            "clips": clips,
            "seconds": frames / FPS,
            "natural_clips": natural_clips,
            "long_clips": long_clips,
            "long_seconds": long_frames / FPS,
            **{option: getattr(params, name) for option, name in options().items()},
            "plan_layout": params.plan_layout and pipe.plans_layouts,
            "schedule": method.schedule,
            "guided_after": method.guided_after,
            "size": size,
        },
        "short": short,
        "real": real,
        "restored": restored,
        "splits": splits,
        "long": long,
        "failures": failures,
    }
    generate.begin("clips", math.ceil(clips / batch))
    for first in range(0, clips, batch):
        part = scenes[first : first + batch]
        prompts = [canonical_caption(scene) for scene in part]
        for scene, video in zip(part, generate(prompts, frames), strict=True):
            verdict = judge(video, scene, fps=FPS)
            _count(short, verdict)
            for name, value in _kinds(scene):
                _count(splits[name].setdefault(value, _tally(MARKS)), verdict)
            clean = render([scene], frames, size)
            _count(real, judge(as_frames(clean[0]), scene, fps=FPS))
            _count(restored, judge(_restored(pipe, clean), scene, fps=FPS))
            wrong = [mark for mark in MARKS if getattr(verdict, mark) is False]
            if wrong:
                failures.append({"prompt": canonical_caption(scene), "wrong": wrong})
            seen(Clip("clips", canonical_caption(scene), video, tuple(wrong)))
        report(f"{min(first + batch, clips)}/{clips} clips: {_brief(short)}")
    tail = 5 * FPS
    generate.begin("long clips", long_clips)
    for index in range(long_clips):
        scene = steady_scene(seed, index)
        (video,) = generate([canonical_caption(scene)], long_frames)
        same = consistency(video[:tail], video[-tail:], scene)
        for mark in LONG_MARKS:
            long[mark][0] += int(getattr(same, mark))
            long[mark][1] += 1
        wrong = [mark for mark in LONG_MARKS if not getattr(same, mark)]
        seen(Clip("long clips", canonical_caption(scene), video, tuple(wrong)))
        report(f"{index + 1}/{long_clips} long clips: {_brief(long)}")
    if natural_clips:
        generate.noise.manual_seed(seed)  # whatever was made before
        _natural(generate, natural_clips, frames, batch, report, seen, result)
    return result


def _natural(
    generate: _Generator,
    clips: int,
    frames: int,
    batch: int,
    report: Callable[[str], None],
    seen: Seen,
    result: dict[str, Any],
) -> None:
    """Judge clips from prompts as people write them by what these say; it goes into `result`."""
    listed = natural_prompts()
    count = [listed[index % len(listed)] for index in range(clips)]
    tally = _tally((*NATURAL_TARGETS, *SAID_MARKS))
    failures: list[dict[str, Any]] = []
    result |= {"natural": tally, "natural_failures": failures}
    generate.begin("natural prompts", math.ceil(clips / batch))
    for first in range(0, clips, batch):
        part = count[first : first + batch]
        videos = generate([said.prompt for said in part], frames)
        for said, video in zip(part, videos, strict=True):
            verdict = judge_said(video, said, fps=FPS)
            marks = {mark: getattr(verdict, mark) for mark in SAID_MARKS}
            every = [*marks.values(), verdict.background]
            tally["said"][0] += every.count(True)
            tally["said"][1] += len(every) - every.count(None)
            marks |= {"background": verdict.one_background, "count": verdict.count}
            for mark, right in marks.items():
                tally[mark][0] += right is True
                tally[mark][1] += right is not None
            wrong = [mark for mark, right in marks.items() if right is False]
            if verdict.background is False:
                wrong.append("said background")
            if wrong:
                failures.append({"prompt": said.prompt, "wrong": wrong})
            seen(Clip("natural prompts", said.prompt, video, tuple(wrong)))
        report(f"{min(first + batch, clips)}/{clips} natural prompts: {_brief(tally)}")


def _kinds(scene: Scene) -> Iterator[tuple[str, str]]:
    """Where a scene belongs in each of `SPLITS`: one with two motions or speeds in both."""
    yield "objects", str(len(scene.objects))
    for motion in sorted({obj.motion for obj in scene.objects}):
        yield "motion", motion
    for speed in sorted({obj.speed for obj in scene.objects if obj.motion != "still"}):
        yield "speed", speed or "medium"
    yield "camera", scene.camera


def markdown_table(result: dict[str, Any]) -> str:
    """The result as a table: share, 95% Wilson interval, target, and what real renders get."""
    settings = result["settings"]
    lines = [
        f"{settings['clips']} clips of {settings['seconds']:g} s from held-out prompts, "
        f"{settings['steps']} steps, {_guidance(settings)}, seed {settings['seed']}, "
        + ("layouts planned from the prompts." if settings.get("plan_layout") else "no layouts."),
        "",
        table_of(
            (*_HEAD, "through the autoencoder", "real renders"),
            [
                (
                    *_judged(mark, result["short"][mark], TARGETS[mark]),
                    _share(result["restored"][mark]),
                    _share(result["real"][mark]),
                )
                for mark in MARKS
            ],
        ),
    ]
    lines += _split_table(result.get("splits", {}))
    if "natural" in result:
        lines += ["", f"{settings['natural_clips']} clips from prompts as people write them:", ""]
        names = {"said": "what the prompt says", "background": "one background"}
        rows = [
            _judged(names.get(mark, mark), result["natural"][mark], target)
            for mark, target in NATURAL_TARGETS.items()
        ]
        lines.append(table_of(_HEAD, rows))
    if settings["long_clips"]:
        lines += [
            "",
            f"{settings['long_clips']} clips of {settings['long_seconds']:g} s, "
            "the last 5 s against the first 5 s:",
            "",
        ]
        rows = [_judged(mark, result["long"][mark], LONG_TARGET) for mark in LONG_MARKS]
        lines.append(table_of(("kept", *_HEAD[1:]), rows))
    return "\n".join(lines)


def _judged(name: str, counts: list[int], target: float) -> tuple[str, ...]:
    """Cells under `_HEAD`."""
    return name, _share(counts), _interval(counts), f">= {target:.0%}"


def _split_table(splits: dict[str, dict[str, dict[str, list[int]]]]) -> list[str]:
    """A table of `SPLIT_MARKS` by number of objects, motion, speed and camera, below a blank."""
    rows = [
        [f"{name}: {value}", *(f"{tally[mark][0]}/{tally[mark][1]}" for mark in SPLIT_MARKS)]
        for name in SPLITS
        for value, tally in sorted(splits.get(name, {}).items())
    ]
    return ["", table_of(("clips with", *SPLIT_MARKS), rows)] if rows else []


def _guidance(settings: dict[str, Any]) -> str:
    between = settings.get("guidance_interval")
    where = "" if between is None else " between {:g} and {:g}".format(*between)
    return f"guidance {settings['guidance']:g}{where}"


class _Generator:
    """Samples a few prompts as one batch and yields uint8 (T, H, W, 3) videos."""

    def __init__(
        self,
        pipe: TextToVideo,
        params: SamplingParams,
        method: SamplingMethod,
        size: int,
        progress: Progress,
    ) -> None:
        self.pipe, self.params, self.method, self.size = pipe, params, method, size
        self.noise = torch.Generator().manual_seed(params.seed)
        self.made = 0
        self.progress, self.phase, self.done, self.total = progress, "", 0, 0

    def begin(self, phase: str, calls: int) -> None:
        """Tell that a phase of so many calls begins, if there are any."""
        self.phase, self.done, self.total = phase, 0, calls * self.params.steps
        if calls:
            self.progress(phase, 0, self.total)

    def _stepped(self, *_: object) -> None:
        self.done += 1
        self.progress(self.phase, self.done, self.total)

    @torch.inference_mode()
    def __call__(self, prompts: Sequence[str], frames: int) -> Iterator[Tensor]:
        pipe, params, method = self.pipe, self.params, self.method
        side = self.size // pipe.space_stride
        channels = pipe.denoiser.config.latent_channels
        shape = (len(prompts), channels, pipe.latent_frames(frames), side, side)
        noise = torch.randn(shape, generator=self.noise).to(pipe.device)
        first = params.seed * 1_000_003 + self.made
        self.made += len(prompts)
        plans: list[Layout | None] = [None] * len(prompts)
        if params.plan_layout:
            plans = [
                pipe.plan_layout(prompt, number, shape[2])
                for number, prompt in enumerate(prompts, first)
            ]
        text = replace(
            pipe.encode_texts(
                [expanded(one, plan) for one, plan in zip(prompts, plans, strict=True)]
            ),
            layout=stack_layouts(
                [pipe.encode_layout(plan, range(shape[2]), shape[3:]) for plan in plans]
            ),
        )
        latents = sample_latents(
            pipe.denoiser_for(params),
            noise,
            text,
            pipe.encode_texts([params.negative_prompt] * len(prompts)),
            times=method.times(params.steps),
            guidance=params.guidance(method.guided_after),
            sampler=method.loop,
            on_step=self._stepped,
        )
        return iter([torch.cat(list(pipe.decode(row[None], frames))) for row in latents])


@torch.inference_mode()
def _restored(pipe: TextToVideo, video: Tensor) -> Tensor:
    """A render (1, 3, T, H, W) encoded and decoded: uint8 (T, H, W, 3)."""
    latents = pipe.autoencoder.encode(video.to(pipe.device))
    return torch.cat(list(pipe.decode(latents, video.shape[2])))


def steady_scene(seed: int, index: int) -> Scene:
    """A held-out scene whose objects keep their size: no zoom, nothing that grows."""
    for attempt in range(1000):
        number = (seed * 7919 + index) * 1000 + attempt + 500_000_000
        scene = sample_scene(number, split="heldout")
        grows = any(obj.motion == "grows" for obj in scene.objects)
        if not grows and not scene.camera.startswith("zoom"):
            return scene
    raise AssertionError("a thousand scenes without a steady one")


def whole_groups(seconds: float) -> int:
    """Frames for a duration: one image and whole groups of eight, at least that long."""
    return 1 + 8 * math.ceil((seconds * FPS - 1) / 8)


def _tally(marks: Sequence[str]) -> dict[str, list[int]]:
    return {mark: [0, 0] for mark in marks}


def _count(tally: dict[str, list[int]], verdict: Verdict) -> None:
    for mark, counts in tally.items():
        right = getattr(verdict, mark)
        if right is not None:
            counts[0] += int(right)
            counts[1] += 1


def _share(counts: list[int]) -> str:
    right, count = counts
    return f"{right / count:.1%} ({right}/{count})" if count else "-"


def _interval(counts: list[int]) -> str:
    """Wilson's 95% interval."""
    right, count = counts
    if not count:
        return "-"
    z = 1.96
    share = right / count
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * math.sqrt(share * (1 - share) / count + (z / count / 2) ** 2)
    return f"{max(0.0, middle - half):.1%} to {min(1.0, middle + half):.1%}"


def share_and_interval(counts: list[int]) -> str:
    """Right answers of those asked for, with Wilson's 95% interval, on one line."""
    return f"{_share(counts)}, {_interval(counts)}" if counts[1] else "-"


def _brief(tally: dict[str, list[int]]) -> str:
    return ", ".join(f"{mark} {counts[0]}/{counts[1]}" for mark, counts in tally.items())
