"""The latents of a job: those that the video before has, and those that are sampled now."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from lingen_cli import latent_cache
from lingen_cli.job import Job, Stretch
from lingen_cli.progress import Progress

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from lingen_models.pipeline import TextToVideo

OnStep = Callable[[int, int, "Tensor"], None]


@dataclass(frozen=True)
class Latents:
    """Latents (1, C, T, h, w), float32, and the number of the model's frame that they begin with.

    `whole` says that they are all of the video's, as they were sampled.
    """

    values: Tensor
    begin: int
    whole: bool


def latents_of(job: Job, pipe: TextToVideo, progress: Progress) -> Latents:
    """What `job` has from the video before, followed by what is sampled for it."""
    before = None if job.origin is None else _history(job, pipe, progress)
    counts = _new_latent_frames(job, pipe, before)
    work = _Work(job, pipe, progress, counts, 0 if before is None else before.values.shape[2])
    values = None if before is None else before.values
    for stretch, count in zip(job.making, counts, strict=True):
        values = work.sample(stretch, values, count)
    assert values is not None
    if before is None:
        return Latents(values.cpu().float(), 0, whole=True)
    return Latents(values.cpu().float(), before.begin, before.whole)


def _new_latent_frames(job: Job, pipe: TextToVideo, before: Latents | None) -> list[int]:
    """Latent frames to sample for each stretch that is being made."""
    source, counts, frames = job.source, [], job.kept
    have = 0 if before is None else before.values.shape[2]
    shift = 0 if before is None else before.begin
    for stretch in job.making:
        frames += stretch.frames
        needed = pipe.latent_frames(source[frames - 1] + 1 - shift)
        counts.append(max(0, needed - have))
        have = max(have, needed)
    return counts


class _Work:
    """Samples stretch after stretch, with one bar over all of them."""

    def __init__(
        self, job: Job, pipe: TextToVideo, progress: Progress, counts: list[int], have: int
    ) -> None:
        from lingen_models.extension import Windows, count_windows

        self.job, self.pipe, self.progress = job, pipe, progress
        total = 0
        for stretch, count in zip(job.making, counts, strict=True):
            pieces = 1
            if stretch.windows is not None:
                largest = max(stretch.windows[0], pipe.denoiser.config.position_grid[0])
                pieces = count_windows(have, count, Windows(*stretch.windows, largest))
            total += pieces * stretch.steps
            have += count
        self.done = 0
        progress.phase("sample", total)

    def sample(self, stretch: Stretch, history: Tensor | None, count: int) -> Tensor:
        """`history` and `count` more latent frames."""
        import torch

        job, pipe = self.job, self.pipe
        choices: dict[str, Any] = {
            "steps": stretch.steps,
            "guidance": stretch.guidance,
            "negative": stretch.negative,
            "seed": stretch.seed,
            "sampler": stretch.sampler.build(),
            "schedule": stretch.sampler.schedule,
            "on_step": self._listener(),
        }
        pixels = None if job.image is None else job.image.pixels
        first = None if pixels is None else torch.from_numpy(pixels)
        if stretch.windows is None:
            frames = 1 + pipe.time_stride * (count - 1)
            return pipe.sample(
                stretch.prompt,
                frames=frames,
                height=job.height,
                width=job.width,
                first_frame=first,
                **choices,
            )
        if history is None:
            history = pipe.empty_latents(job.height, job.width)
            if first is not None:
                history, count = pipe.encode_image(first), count - 1
        pieces = pipe.go_on(history, count, stretch.prompt, windows=stretch.windows, **choices)
        return torch.cat([history.cpu(), *(piece.cpu() for piece in pieces)], 2)

    def _listener(self) -> OnStep:
        begin = self.done

        def on_step(done: int, total: int, estimate: Tensor) -> None:
            self.done = begin + done
            if self.job.preview and self.progress.draws_pictures:
                from lingen_cli.preview import sketch

                first = next(iter(self.pipe.decode(estimate[:, :, :1], 1)))
                self.progress.picture(sketch(estimate, first[0]))
            self.progress.advance(self.done)

        return on_step


def _history(job: Job, pipe: TextToVideo, progress: Progress) -> Latents:
    """The latents of the video before: from the cache, else of its end, encoded from pixels."""
    assert job.origin is not None
    found = None if job.origin.latents is None else latent_cache.load(job.origin.latents)
    if found is not None and found.shape[3:] == pipe.empty_latents(job.height, job.width).shape[3:]:
        return Latents(found, 0, whole=True)
    progress.warn(
        "the latents of this video are not in the cache (`lingen cache`): its end is encoded from "
        "pixels, which costs a little quality"
    )
    last = job.source[job.kept - 1]
    past = (job.making[0].windows or (0, 1))[1]
    groups = min(last // pipe.time_stride, past + pipe.autoencoder.reach)
    begin = last - groups * pipe.time_stride
    frames = _frames_between(job, begin, last)
    return Latents(pipe.encode_video(frames).cpu().float(), begin, whole=False)


def _frames_between(job: Job, begin: int, last: int) -> torch.Tensor:
    """The model's frames `begin` to `last` of the video before, uint8 (T, H, W, 3)."""
    import numpy as np
    import torch

    from lingen_cli.media.frames import frames_at

    assert job.origin is not None
    half = Fraction(1, 2) / job.rate
    rate = Fraction(job.model.variant.fps)
    times = [float(number / rate + half / 2) for number in range(begin, last + 1)]
    images = frames_at(job.origin.path, times, box=(job.width, job.height))
    return torch.from_numpy(np.stack(list(images)))
