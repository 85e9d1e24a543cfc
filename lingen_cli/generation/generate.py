"""From a job to a published video: load, sample, decode and write, verify, publish.

What is unfinished lives in a work folder beside the output, so that an error, Ctrl-C or a kill
leaves nothing at the output path (reliability.md C1).
"""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lingen_cli.errors import OutputExistsError
from lingen_cli.files.printable import printable
from lingen_cli.files.work_folder import WorkFolder, check_target, publish, reserve_space
from lingen_cli.generation import latent_cache
from lingen_cli.generation.journal import Begun, Journal
from lingen_cli.generation.low_memory import with_less_if_needed
from lingen_cli.generation.output import held, is_made
from lingen_cli.plugin_admin import plugin_parts
from lingen_cli.requests.job import Job
from lingen_cli.requests.write_recipe import recipe_of
from lingen_cli.terminal.profiler import traced
from lingen_cli.terminal.progress import Progress
from lingen_cli.zoo.load import find_device, load_pipeline

if TYPE_CHECKING:
    from lingen_cli.generation.encode import Film
    from lingen_cli.generation.sample import Latents
    from lingen_models.pipelines.protocol import VideoPipeline


Load = Callable[[Job], "VideoPipeline"]


@dataclass(frozen=True)
class Result:
    """A video that was published."""

    path: Path
    frames: int
    seconds: float
    skipped: bool = False
    """It was there already."""


def generate(job: Job, progress: Progress, load: Load | None = None) -> Result:
    """Make the video of `job`, with networks that `load` gives (by default, reads) for it.

    Where the output is that very video, nothing is done. Raises BadDataError (65),
    NotAvailableError (69), OutputExistsError (73), WriteFailedError (74), LockedError (75),
    PermissionDeniedError (77); the output is whole or absent.
    """
    try:
        with held(job) as (work, settled):
            try:
                with traced():
                    return _make(settled, work, progress, load or load_for)
            except BaseException:
                if work.holds_journal:
                    name = shlex.quote(printable(work.target))
                    progress.note(f"what was sampled is kept; to go on: lingen resume {name}")
                raise
    except OutputExistsError:
        path = job.destination.path
        if path is None or not is_made(job):
            raise
    progress.note(f"made already: {path}")
    progress.events.finish(path, job.frames, job.seconds, skipped=True)
    return Result(path, job.frames, job.seconds, skipped=True)


def _make(job: Job, work: WorkFolder, progress: Progress, load: Load) -> Result:
    from lingen_cli.generation.sample import latents_of

    reserve_space(work.target.parent, 2 * job.expected_bytes)  # its pieces, and what they make
    subtitles = _subtitles(job, work)
    if subtitles is not None:
        check_target(subtitles, job.destination.overwrite)
    tell_start(job, str(work.target), progress)
    pipe = load_networks(job, progress, load)

    def sampled_and_filmed() -> tuple[Latents, Film]:
        begun = Begun.of(job, work.target, recipe_of(job, pipe, None))
        journal = Journal(work.journal, begun, progress, decode_only=job.decode_only)
        latents = latents_of(job, pipe, journal, progress)
        return latents, filmed(job, work, pipe, latents, journal, progress)

    with plugin_parts.found():
        latents, made = with_less_if_needed(pipe, progress, sampled_and_filmed)
    publish_video(job, work, latents, made, progress)
    return Result(work.target, job.frames, job.seconds)


def filmed(
    job: Job,
    work: WorkFolder,
    pipe: VideoPipeline,
    latents: Latents,
    journal: Journal,
    progress: Progress,
) -> Film:
    """Decode and write the latents of a job, under a temporary name."""
    from lingen_cli.generation.encode import film

    digest = latent_cache.digest_of(latents.values) if latents.whole else None
    recipe = recipe_of(job, pipe, digest)
    return film(job, pipe, latents, work, journal, recipe, progress)


def publish_video(
    job: Job, work: WorkFolder, latents: Latents, made: Film, progress: Progress
) -> None:
    """Read back what was written, keep its latents, and give it its name."""
    from lingen_cli.inputs.story import subtitles as subtitles_of

    progress.phase("verify")
    _verify(job, made)
    if made.recipe.latents is not None:
        _keep(latents, made.recipe.latents, job.cache_bytes, progress)
    subtitles = _subtitles(job, work)
    if subtitles is not None:
        words = work.temporary(".srt")
        words.write_text(subtitles_of(job.parts), encoding="utf-8")
        publish(words, subtitles, job.destination.overwrite)
    work.publish(made.path)
    progress.advance(1)
    progress.events.finish(work.target, job.frames, job.seconds)


def _subtitles(job: Job, work: WorkFolder) -> Path | None:
    """Where the subtitles of a story go."""
    return work.target.with_suffix(".srt") if job.subtitles else None


def tell_start(job: Job, output: str, progress: Progress) -> None:
    """Say what is made."""
    new = job.sampled[-1]
    progress.events.emit(
        "start",
        output=output,
        prompt=new.prompt,
        seed=new.sampling.seed,
        frames=job.frames,
        seconds=job.seconds,
    )
    width, height = job.size
    progress.note(f"{job.seconds:g} s at {width}x{height}, seed {new.sampling.seed}")


def load_networks(job: Job, progress: Progress, load: Load) -> VideoPipeline:
    """The networks of `job`; words that they never met are told."""
    progress.phase("load")
    pipe = load(job)
    with plugin_parts.found():
        said = pipe.place(
            find_device(job.device),
            frames=job.grid.source(max(one.frames for one in job.sampled) - 1) + 1,
            height=job.height,
            width=job.width,
            offload=job.offload,
            tiles=job.tiles,
        )
    if said is not None:
        progress.note(said)
    if job.frugal:
        pipe.save_memory()
        if pipe.device.type != "cpu":
            pipe.offload()
    progress.advance(1)
    prompts = " ".join(stretch.prompt for stretch in job.sampled)
    if unknown := pipe.unknown_words(prompts):
        names = ", ".join(_with_hint(word, pipe.similar_word(word)) for word in unknown)
        name = job.model.variant.name
        progress.warn(
            f"words that {name} never met: {names}; it knows those of: lingen models show {name}",
            words=unknown,
        )
    return pipe


def _with_hint(word: str, similar: str | None) -> str:
    return repr(word) if similar is None else f"{word!r} (did you mean {similar!r}?)"


def _verify(job: Job, film: Film) -> None:
    """Read back what was written; of a base that lingen did not make, only the end."""
    from lingen_cli.media.verify import verify_joined, verify_video

    width, height = job.size
    facts: dict[str, Any] = {"frames": job.frames, "width": width, "height": height}
    facts |= {"fps": job.rate, "hashes": film.recipe.frame_hashes}
    if job.base is None:
        verify_video(film.path, **facts)
    else:
        verify_joined(film.path, since=job.base.frames, **facts)


def _keep(latents: Latents, digest: str, limit: int, progress: Progress) -> None:
    """Put the latents into the cache; a video is not lost because that failed."""
    try:
        latent_cache.store(latents.values, digest, limit)
    except OSError as error:
        progress.warn(f"the latents were not kept: {error.strerror or error}")


def load_for(job: Job) -> VideoPipeline:
    """Import torch and read the weights that `job` asks for, with its threads and dtype."""
    import torch

    if job.threads is not None:
        torch.set_num_threads(job.threads)
    return load_pipeline(job.model, job.device, job.dtype, job.loras)
