"""A loaded model that makes videos, and the videos that it makes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lingen_cli.errors import InvalidOptionError
from lingen_cli.inputs.request import ExtendRequest, GenerateRequest, Request
from lingen_models.sampling import params

if TYPE_CHECKING:
    from torch import Tensor

    from lingen_cli.generation.sample import Latents
    from lingen_cli.requests.job import Job
    from lingen_cli.terminal.progress import Progress
    from lingen_models.pipelines.protocol import VideoPipeline


def load(
    model: str | None = None,
    *,
    weights: str | Path | None = None,
    device: str = "auto",
    dtype: str | None = None,
    quiet: bool = True,
) -> Pipeline:
    """Load a model.

    Args:
        model: a name from `lingen models list`; None: that of the settings, else `lingen-mini`.
        weights: a folder with weights of your own, in place of the model's.
        device: `auto`, `cpu` or `cuda`.
        dtype: `float32`, `bfloat16` or `float16`; None: what the device computes fastest in.
        quiet: show no progress bars on standard error.

    Raises LingenError: for an unknown name, for weights that are not here or damaged, for a device
    that is not there.
    """
    from lingen_cli.inputs.settings import load as load_settings
    from lingen_cli.requests.context import Context
    from lingen_cli.zoo.load_model import load_pipeline

    with _progress(quiet) as progress:
        name = load_settings({"model": model, "device": device}).values.model
        folder = None if weights is None else Path(weights)
        located = Context.open(progress).locate(name, folder)
        return Pipeline(name, folder, device, load_pipeline(located, device, dtype), quiet)


class Pipeline:
    """A loaded model. What an option is not given for is as the settings and the model have it."""

    def __init__(
        self, model: str, weights: Path | None, device: str, networks: VideoPipeline, quiet: bool
    ) -> None:
        self.model = model
        self.networks = networks
        """The loaded networks, such as `lingen_models.pipelines.text_to_video.TextToVideo`."""
        self._weights, self._device, self._quiet = weights, device, quiet

    def generate(
        self,
        prompt: str,
        *,
        seconds: float | str | None = None,
        minutes: float | str | None = None,
        frames: int | None = None,
        fps: str | float | None = None,
        size: str | int | None = None,
        image: str | Path | None = None,
        last_image: str | Path | None = None,
        layout: str | Path | None = None,
        sound: bool = True,
        **sampling: Any,
    ) -> Video:
        """Make a new video.

        Args:
            prompt: what the video shows.
            seconds, minutes, frames: its length; at most one, otherwise 4 seconds.
            fps: frames per second, such as 24 or `24000/1001`.
            size: one side in pixels, or `192x128`.
            image, last_image: files of images that it starts from and ends in.
            layout: a JSON file of where things are, as `lingen layout` prints it.
            sound: keep the sound of a model that makes some.
            sampling: options of `lingen generate` by their names: `steps`, `guidance`,
                `guidance_interval`, `step_cache`, `sampler`, `negative`, `plan_layout`, `seed`.

        Raises LingenError for what the command would refuse.
        """
        request = GenerateRequest(
            prompt=prompt,
            seconds=seconds,
            minutes=minutes,
            frames=frames,
            fps=None if fps is None else str(fps),
            size=None if size is None else str(size),
            image=_path(image),
            last_image=_path(last_image),
            layout=_path(layout),
            no_sound=not sound,
            model=self.model,
            weights=self._weights,
            device=self._device,
            sampling=_checked(sampling),
        )
        return self._make(request)

    def extend(
        self,
        video: str | Path | Video,
        *,
        seconds: float | str | None = None,
        minutes: float | str | None = None,
        to: str | None = None,
        prompt: str | None = None,
        crossfade: float = 0.0,
        **sampling: Any,
    ) -> Video:
        """Make a video longer; the old one is not touched.

        Args:
            video: the file of a video that this model made, or one that was saved.
            seconds, minutes, to: how much is added, or the length that it is to have (`1:30`).
            prompt: another prompt than before.
            crossfade: seconds in which the prompt before gives way to the new one.
            sampling: as of `generate`; what is not given is as at the end of the video.

        Raises LingenError for what the command would refuse.
        """
        if isinstance(video, Video):
            if video.path is None:
                raise InvalidOptionError("only a saved video can be extended: call save() first")
            video = video.path
        request = ExtendRequest(
            video=Path(video),
            seconds=seconds,
            minutes=minutes,
            to=to,
            prompt=prompt,
            crossfade=crossfade,
            weights=self._weights,
            device=self._device,
            sampling=_checked(sampling),
        )
        return self._make(request)

    def _make(self, request: Request) -> Video:
        from lingen_cli.generation.generate import load_networks
        from lingen_cli.generation.journal import NoJournal
        from lingen_cli.generation.sample import latents_of
        from lingen_cli.requests.context import Context
        from lingen_cli.requests.resolve import resolve

        with _progress(self._quiet) as progress:
            job = resolve(request, Context.open(progress))
            if job.model.variant.name != self.model:
                raise InvalidOptionError(
                    f"this video was made by {job.model.variant.name}: load that to extend it"
                )
            networks = load_networks(job, progress, lambda _: self.networks)
            latents = latents_of(job, networks, NoJournal(), progress)
        return Video(job, networks, latents, self._quiet)


@dataclass
class Video:
    """A video that was sampled; decoded when its frames are asked for, written by `save`."""

    _job: Job
    _networks: VideoPipeline
    _latents: Latents
    _quiet: bool
    path: Path | None = None
    """Where it was saved last."""

    @property
    def prompt(self) -> str:
        """Prompt of its last part."""
        return self._job.timeline.sampled[-1].prompt

    @property
    def seed(self) -> int:
        """Seed of its last part."""
        return self._job.timeline.sampled[-1].sampling.seed

    @property
    def fps(self) -> float:
        """Frames per second."""
        return float(self._job.timeline.rate)

    @property
    def seconds(self) -> float:
        """Length."""
        return self._job.timeline.seconds

    @property
    def latents(self) -> Tensor:
        """Its latents (1, C, T, h, w), float32; of one that goes on with a video whose latents
        were not kept, those of the end."""
        return self._latents.values

    @cached_property
    def frames(self) -> Tensor:
        """Its frames, uint8 (T, H, W, 3), as the decoder gives them; of a video that goes on with
        one whose latents were not kept, the new ones alone."""
        import torch

        from lingen_cli.generation.encode import decoded_frames

        first = (
            0
            if self._latents.begin == 0 and self._job.timeline.base is None
            else self._job.timeline.kept
        )
        batches = decoded_frames(self._job, self._networks, self._latents, first)
        return torch.cat([torch.from_numpy(batch) for batch in batches])

    @cached_property
    def sound(self) -> tuple[Tensor, int] | None:
        """The sound that the model made with it, float32 (channels, samples) from -1 to 1, and
        samples per second; None where there is none."""
        from lingen_cli.generation.encode import made_sound

        return made_sound(self._job, self._networks, self._latents)

    def save(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write a file with the recipe inside, in the format of its name, as the command does, and
        return its path; of numbered images (`frames/%05d.png`) that of their folder.

        Raises LingenError where the file exists (without `overwrite`) or cannot be written; it is
        whole or absent.
        """
        from lingen_cli.generation.begun import Begun
        from lingen_cli.generation.generate import encoded, publish_video, tracks_of
        from lingen_cli.generation.journal import Journal
        from lingen_cli.generation.output import FinishedBefore, held, mark_reported
        from lingen_cli.inputs.output_path import check_output
        from lingen_cli.requests.write_recipe import recipe_of

        target, pattern = check_output(str(path))
        before = self._job.output
        destination = replace(before.destination, path=target, pattern=pattern, overwrite=overwrite)
        job = replace(
            self._job,
            timeline=replace(self._job.timeline, draws_seeds=False),
            output=replace(before, destination=destination),
        )
        with (
            suppress(FinishedBefore),
            _progress(self._quiet) as progress,
            held(job, progress.warn) as (work, settled),
        ):
            begun = Begun.of(settled, work.target, recipe_of(settled, self._networks, None))
            tracks = tracks_of(settled, progress)
            with Journal(work, begun, progress) as journal:
                made = encoded(
                    settled, work, self._networks, self._latents, journal, tracks, progress
                )
            publish_video(settled, work, self._latents, made, progress)
        mark_reported(job)
        self.path = target
        return target


@contextmanager
def _progress(quiet: bool) -> Iterator[Progress]:
    """Show progress, and turn unknown names of the plugins into errors of lingen."""
    from lingen_cli.terminal.progress import Progress
    from lingen_plugins.plugin_errors import UnknownNameError

    with Progress(quiet=quiet) as progress:
        try:
            yield progress
        except UnknownNameError as error:
            raise InvalidOptionError(str(error)) from error


def _path(given: str | Path | None) -> Path | None:
    return None if given is None else Path(given)


def _checked(sampling: dict[str, Any]) -> dict[str, Any]:
    """Sampling options by known names. Raises TypeError for another name, as a call would."""
    for name in sampling:
        if name not in params.options():
            known = ", ".join(params.options())
            raise TypeError(f"unexpected argument {name!r}; sampling options are {known}")
    return sampling
