"""From latents to an mp4: encoded in pieces of some seconds, joined by copying packets.

So the frames of a video that is extended stay the bytes that they were, and a `rerun` of the
longer video gives the same bytes as the steps that made it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lingen_cli.files.work_folder import WorkFolder
from lingen_cli.generation.journal import Journal
from lingen_cli.generation.latent_cache import digest_of
from lingen_cli.generation.sample import Latents
from lingen_cli.generation.segments import Segment, Segments, in_pieces
from lingen_cli.inputs.frame_rates import picked
from lingen_cli.requests.job import Job
from lingen_cli.requests.recipe import Recipe
from lingen_cli.terminal.progress import Progress

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from lingen_cli.media.frame_hashes import FrameHash
    from lingen_cli.media.tracks.inspect import Tracks
    from lingen_cli.media.tracks.sound import EncodedSound
    from lingen_cli.media.writer import VideoWriter
    from lingen_models.pipelines.protocol import VideoPipeline


@dataclass(frozen=True)
class EncodedVideo:
    """A whole video, not yet published, its recipe, which now has the hashes of its frames, and
    the kinds of the tracks beside its frames."""

    path: Path
    recipe: Recipe
    beside: tuple[str, ...] = ()


def encode_video(
    job: Job,
    pipe: VideoPipeline,
    latents: Latents,
    work: WorkFolder,
    journal: Journal,
    recipe: Recipe,
    tracks: Tracks | None,
    progress: Progress,
) -> EncodedVideo:
    """Write the whole video under a temporary name, in constant memory but for its sound; `tracks`
    go into it."""
    from lingen_cli.media.concat import CannotJoinError
    from lingen_cli.media.probe import end_is_whole

    progress.phase("decode and write", job.timeline.frames - job.timeline.kept)
    sound = encoded_sound(job, pipe, latents)
    if sound is not None:
        recipe = recipe.model_copy(update={"sound_packets": sound.sha256})
    parts = _Parts(job, work, recipe, tracks, sound, progress)
    segments = _write(parts, pipe, latents, journal)
    new = tuple(one.hashed for one in segments)
    files, ends = [one.path for one in segments], [one.hashed.end for one in segments]
    old = job.timeline.kept_from
    if old is None:
        return parts.joined(files, ends, new)
    ends = [job.timeline.kept, *ends]
    if not job.timeline.must_encode:
        try:
            if job.timeline.base is not None and not end_is_whole(
                old, float((job.timeline.kept - 1) / job.timeline.rate)
            ):
                raise CannotJoinError("its last packets are damaged")
            return parts.joined([old, *files], ends, (*job.timeline.kept_hashes, *new))
        except CannotJoinError as error:
            progress.warn(f"the old frames are encoded again, not copied: {error}")
    return parts.joined([parts.old(old), *files], ends, new)


@dataclass(frozen=True)
class _Parts:
    """The parts of a video, and what goes into it beside them: tracks that are taken over, and
    sound that was made."""

    job: Job
    work: WorkFolder
    recipe: Recipe
    tracks: Tracks | None
    sound: EncodedSound | None
    progress: Progress

    def old(self, video: Path) -> Path:
        """The frames of `video` that are kept, decoded and encoded with this job's settings."""
        from lingen_cli.media.images.resize import Fit
        from lingen_cli.media.probe import seen_size
        from lingen_cli.media.reader import frames_at
        from lingen_cli.media.writer import VideoWriter

        path, timeline = self.work.temporary(".mp4"), self.job.timeline
        fit = Fit(name="crop", seen=seen_size(video), size=timeline.size)
        times = (float((2 * number + 1) / (2 * timeline.rate)) for number in range(timeline.kept))
        self.progress.phase("encode the old part", timeline.kept)
        with VideoWriter(path, target=self.work.target, **_settings(self.job)) as writer:
            for image in frames_at(video, times, fit=fit):
                writer.write(image[None])
                self.progress.advance(writer.frames)
        return path

    def joined(
        self, files: Sequence[Path], ends: Sequence[int], hashes: tuple[FrameHash, ...]
    ) -> EncodedVideo:
        """One file of all parts, with what is beside them. Raises CannotJoinError."""
        from lingen_cli.media.concat import join
        from lingen_cli.media.tracks.inspect import TracksError

        job, tracks, path = self.job, self.tracks, self.work.temporary(".mp4")
        recipe = self.recipe.model_copy(update={"frame_hashes": hashes})
        tags = {} if tracks is None else dict(tracks.tags)
        common: dict[str, Any] = {
            "ends": ends,
            "fps": job.timeline.rate,
            "metadata": tags_of(recipe) | tags if job.output.metadata else {},
            "chapters": job.timeline.chapters_after(
                () if tracks is None else tracks.chapters, job.output.beside
            ),
            "target": self.work.target,
            "sound": self.sound,
        }
        try:
            join(files, path, tracks=tracks, **common)
        except TracksError as error:
            assert tracks is not None
            self.progress.warn(f"sound and subtitles are left out: {error}")
            tracks = replace(tracks, kept=())
            join(files, path, tracks=tracks, **common)
        kinds = () if tracks is None else tuple(tracks.kinds)
        return EncodedVideo(path, recipe, kinds if self.sound is None else ("audio", *kinds))


def _write(parts: _Parts, pipe: VideoPipeline, latents: Latents, journal: Journal) -> list[Segment]:
    """Encode the new frames, piece by piece; those that a run before has encoded are taken
    over."""
    job, timeline = parts.job, parts.job.timeline
    bounds = in_pieces([timeline.kept, *(end for end in timeline.bounds if end > timeline.kept)])
    kept, found = Segments(journal, digest_of(latents.values)), []
    for begin, end in pairwise(bounds):
        if (segment := kept.find(begin, end)) is None:
            break
        found.append(segment)
    written = bounds[len(found)]
    if written == timeline.frames:
        return found
    frames = Stream(model_frames(job, pipe, latents, written, timeline.frames))
    for begin, end in pairwise(bounds[len(found) :]):
        path = parts.work.temporary(".mp4")
        with writer_for(job, path, parts.work.target) as writer:
            for batch in frames.take(end - begin):
                writer.write(timeline.fit_of_video.back(batch))
                parts.progress.advance(begin - timeline.kept + writer.frames)
        found.append(kept.keep(path, begin, end))
    return found


def made_sound(job: Job, pipe: VideoPipeline, latents: Latents) -> tuple[Tensor, int] | None:
    """The sound of a video, as `VideoPipeline.sound` gives it; None where it is to have none."""
    return pipe.sound(latents.values) if job.output.sound else None


def encoded_sound(job: Job, pipe: VideoPipeline, latents: Latents) -> EncodedSound | None:
    """The same, as it is written, as long as the video."""
    from lingen_cli.media.tracks.sound import encode_sound

    found = made_sound(job, pipe, latents)
    if found is None:
        return None
    samples, rate = found
    return encode_sound(samples.numpy(), rate, job.timeline.frames / job.timeline.rate)


def tags_of(recipe: Recipe) -> dict[str, str]:
    """The tags of a video that say how it was made."""
    from lingen_cli.media.metadata import recipe_tags

    facts = recipe.model_dump(mode="json", exclude_none=True)
    return recipe_tags(facts, title=recipe.prompt)


def decoded_frames(
    job: Job, pipe: VideoPipeline, latents: Latents, first: int
) -> Iterator[np.ndarray[Any, Any]]:
    """Yield the frames of a video from number `first` on, uint8 (t, H, W, 3), at its own size."""
    for batch in model_frames(job, pipe, latents, first, job.timeline.frames):
        yield job.timeline.fit_of_video.back(batch)


def model_frames(
    job: Job, pipe: VideoPipeline, latents: Latents, first: int, end: int
) -> Iterator[np.ndarray[Any, Any]]:
    """Yield the frames from number `first` to before `end`, at the size of the model."""
    source = [job.grid.source(number) for number in range(first, end)]
    images = decoded(pipe, latents, source[0], source[-1])
    return picked(images, [number - source[0] for number in source])


def decoded(
    pipe: VideoPipeline, latents: Latents, first: int, last: int
) -> Iterator[np.ndarray[Any, Any]]:
    """Decode the model's frames `first` to `last`, and only as much before as they depend on."""
    begin = first - latents.begin
    start, there = pipe.entry(begin)
    skip = begin - there
    left = last - first + 1
    for chunk in pipe.decode(latents.values, skip + left, start):
        part = chunk[skip:] if skip < len(chunk) else chunk[:0]
        skip = max(0, skip - len(chunk))
        if len(part):
            yield part.numpy()


class Stream:
    """Hands out batches of frames so that each taking ends where it should."""

    def __init__(self, batches: Iterator[np.ndarray[Any, Any]]) -> None:
        self._batches = batches
        self._rest: np.ndarray[Any, Any] | None = None

    def take(self, count: int) -> Iterator[np.ndarray[Any, Any]]:
        """The next `count` frames."""
        while count > 0:
            batch = next(self._batches) if self._rest is None else self._rest
            yield batch[:count]
            self._rest = batch[count:] if len(batch) > count else None
            count -= min(count, len(batch))


def writer_for(job: Job, path: Path, target: Path | None, **more: Any) -> VideoWriter:
    """A writer for new frames of the model's size; `more` as it takes it."""
    from lingen_cli.media.writer import VideoWriter

    fit = job.timeline.fit_of_video
    return VideoWriter(
        path,
        source=fit.scaled if fit.name == "pad" else fit.size,
        headers=0 if job.timeline.base is None else job.timeline.base.headers,
        target=target,
        **_settings(job),
        **more,
    )


def _settings(job: Job) -> dict[str, Any]:
    """What all parts of a video have in common."""
    from lingen_cli.media.colors import BT709, Colors
    from lingen_cli.media.open import open_video

    (width, height), colors = job.timeline.size, BT709
    if job.timeline.base is not None and job.timeline.base.headers:
        assert job.timeline.kept_from is not None
        with open_video(job.timeline.kept_from) as video:
            colors = Colors.of(video.stream.codec_context)
    return {
        "width": width,
        "height": height,
        "fps": job.timeline.rate,
        "crf": job.output.crf,
        "preset": job.output.encoder_preset,
        "colors": colors,
    }
