"""`lingen generate -o -`: a video that is written to standard output while it is sampled.

A fragmented mp4, which can be played before it is complete, in the length that is there. One with
sound begins when all is sampled, since sound is made of the latents of the whole video. Nothing is
kept for a resume: standard output cannot be taken back.
"""

from __future__ import annotations

import hashlib
import sys
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lingen_cli.errors import InvalidOptionError, WriteFailedError
from lingen_cli.generation.encode import Stream, encoded_sound, model_frames, tags_of, writer_for
from lingen_cli.generation.generate import Result, load_for, load_networks, tell_start
from lingen_cli.generation.journal import NoJournal
from lingen_cli.generation.sample import Latents, latents_of
from lingen_cli.installation import plugin_parts
from lingen_cli.requests.job import Job
from lingen_cli.requests.write_recipe import recipe_of
from lingen_cli.terminal.progress import Progress

if TYPE_CHECKING:
    from typing import BinaryIO

    from torch import Tensor

    from lingen_cli.media.tracks.sound import EncodedSound
    from lingen_cli.media.writer import VideoWriter
    from lingen_models.pipelines.protocol import VideoPipeline

NAME = "-"


def stream(job: Job, progress: Progress) -> Result:
    """Make the video of `job`, a new one, on standard output.

    Raises as `generate` does for a file; WriteFailedError (74) when the reader goes away.
    """
    if sys.stdout is None:
        raise WriteFailedError("cannot write to standard output: it is closed")
    if sys.stdout.isatty():
        raise InvalidOptionError(
            "standard output is a terminal: pipe -o - into a player or a file (| mpv -, > x.mp4)"
        )
    tell_start(job, NAME, progress)
    pipe = load_networks(job, progress, load_for)
    sink = _Sink(sys.stdout.buffer)
    with ExitStack() as stack:
        ready = _Ready(job, pipe)
        if not job.output.sound:
            ready.writer = stack.enter_context(_writer(job, pipe, sink, None))
        with plugin_parts.found():
            latents = latents_of(job, pipe, NoJournal(), progress, ready.take)
            if ready.writer is None:
                sound = encoded_sound(job, pipe, latents)
                ready.writer = stack.enter_context(_writer(job, pipe, sink, sound))
        ready.finish()
    frames, seconds = job.timeline.frames, job.timeline.seconds
    sha256 = sink.digest.hexdigest()
    progress.events.summarise(output=NAME, sha256=sha256, frames=frames, seconds=seconds)
    return Result(Path(NAME), frames, seconds)


def _writer(job: Job, pipe: VideoPipeline, sink: _Sink, sound: EncodedSound | None) -> VideoWriter:
    """A writer into `sink`, whose header names the recipe and all tracks."""
    recipe, more = recipe_of(job, pipe, None), dict[str, Any]()
    if sound is not None:
        from lingen_cli.media.tracks.sound import copied_sound

        recipe = recipe.model_copy(update={"sound_packets": sound.sha256})
        more = {"sound": partial(copied_sound, sound)}
    tags = tags_of(recipe) if job.output.metadata else {}
    return writer_for(job, Path("standard output"), None, metadata=tags, sink=sink, **more)


class _Ready:
    """Decodes and writes what is final of the latents; nothing without a writer."""

    def __init__(self, job: Job, pipe: VideoPipeline) -> None:
        self._job, self._pipe = job, pipe
        self.writer: VideoWriter | None = None
        self._latents: list[Tensor] = []

    def take(self, piece: Tensor) -> None:
        """More latents (1, C, t, h, w), which follow those before."""
        self._latents.append(piece)
        if self.writer is None or not self._pipe.causal:
            return
        count = sum(one.shape[2] for one in self._latents)
        # The decoder takes two at a time: so its images are those of one pass over all.
        self._write(count - count % 2)

    def finish(self) -> None:
        """Write what is left."""
        self._write(sum(one.shape[2] for one in self._latents))

    def _write(self, count: int) -> None:
        import torch

        assert self.writer is not None
        job, begin = self._job, self.writer.frames
        end, needed = begin, self._pipe.latent_frames
        while end < job.timeline.frames and needed(job.grid.source(end) + 1) <= count:
            end += 1
        if end == begin:
            return
        latents = Latents(torch.cat(self._latents, 2)[:, :, :count], 0, whole=True)
        frames = Stream(model_frames(job, self._pipe, latents, begin, end))
        for batch in frames.take(end - begin):
            self.writer.write(job.timeline.fit_of_video.back(batch))


class _Sink:
    """Standard output as libav writes to it."""

    name = "standard output"

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.digest = hashlib.sha256()
        """SHA-256 of what was written."""

    def write(self, data: bytes) -> int:
        """Write at once. Raises WriteFailedError (74)."""
        try:
            self._file.write(data)
            self._file.flush()
        except OSError as error:
            reason = (
                "its reader went away" if isinstance(error, BrokenPipeError) else error.strerror
            )
            raise WriteFailedError(f"cannot write to standard output: {reason}") from error
        self.digest.update(data)
        return len(data)
