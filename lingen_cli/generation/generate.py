"""From a job to a published video: load, sample, decode and write, verify, publish.

What is unfinished lives in a work folder beside the output, so that an error, Ctrl-C or a kill
leaves nothing at the output path (reliability.md C1).
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lingen_cli.errors import OutputExistsError, WriteFailedError
from lingen_cli.files.printable import printable
from lingen_cli.files.work_folder import WorkFolder, check_target, publish, reserve_space
from lingen_cli.generation import latent_cache
from lingen_cli.generation.journal import Begun, Journal
from lingen_cli.generation.low_memory import with_less_if_needed
from lingen_cli.generation.output import held, is_made
from lingen_cli.requests.job import Job
from lingen_cli.requests.write_recipe import recipe_of
from lingen_cli.terminal.profiler import traced
from lingen_cli.terminal.progress import Progress
from lingen_cli.zoo.load import load_pipeline

if TYPE_CHECKING:
    from lingen_cli.generation.encode import Film
    from lingen_cli.generation.sample import Latents
    from lingen_cli.media.tracks.inspect import Tracks
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
    tracks = tracks_of(job, progress)
    pipe = load_networks(job, progress, load)

    def sampled_and_filmed() -> tuple[Latents, Film]:
        begun = Begun.of(job, work.target, recipe_of(job, pipe, None))
        journal = Journal(work.journal, begun, progress, decode_only=job.decode_only)
        latents = latents_of(job, pipe, journal, progress)
        return latents, filmed(job, work, pipe, latents, journal, tracks, progress)

    latents, made = with_less_if_needed(pipe, progress, sampled_and_filmed)
    publish_video(job, work, latents, made, progress)
    return Result(work.target, job.frames, job.seconds)


def filmed(
    job: Job,
    work: WorkFolder,
    pipe: VideoPipeline,
    latents: Latents,
    journal: Journal,
    tracks: Tracks | None,
    progress: Progress,
) -> Film:
    """Decode and write the latents of a job, under a temporary name."""
    from lingen_cli.generation.encode import film

    digest = latent_cache.digest_of(latents.values) if latents.whole else None
    recipe = recipe_of(job, pipe, digest)
    return film(job, pipe, latents, work, journal, recipe, tracks, progress)


def publish_video(
    job: Job, work: WorkFolder, latents: Latents, made: Film, progress: Progress
) -> None:
    """Read back what was written, keep its latents, and give it its name."""
    from lingen_cli.inputs.story import subtitles as subtitles_of

    progress.phase("verify")
    _verify(job, made)
    finished = _in_its_format(job, work, made, progress)
    if made.recipe.latents is not None:
        _keep(latents, made.recipe.latents, job.cache_bytes, progress)
    subtitles = _subtitles(job, work)
    if subtitles is not None:
        words = work.temporary(".srt")
        words.write_text(subtitles_of(job.parts), encoding="utf-8")
        publish(words, subtitles, job.destination.overwrite)
    work.publish(finished)
    progress.advance(1)
    progress.events.finish(work.target, job.frames, job.seconds)


def _in_its_format(job: Job, work: WorkFolder, made: Film, progress: Progress) -> Path:
    """The file that the name of the output asks for, made of the mp4."""
    from lingen_cli.generation.encode import tags_of
    from lingen_cli.media.metadata import tags_in
    from lingen_cli.requests.output_path import SUFFIX

    suffix = work.target.suffix.lower()
    if suffix == SUFFIX:
        return made.path
    from lingen_cli.media.formats.convert import FORMATS, Source, convert
    from lingen_cli.media.verify import differences

    path, copies = work.temporary(suffix), FORMATS[suffix].copies
    tags, recipe = tags_in(made.path), made.recipe
    if job.metadata and not copies:  # hashes are of pictures that are not in there
        tags |= {"comment": tags_of(recipe.model_copy(update={"frame_hashes": ()}))["comment"]}
    source = Source(path=made.path, size=job.size, rate=job.rate, frames=job.frames, tags=tags)
    for lost in convert(source, suffix, path, work.target):
        progress.warn(lost)
    if copies and (found := differences(path, recipe.frame_hashes, job.rate, job.size)):
        raise WriteFailedError(
            f"written video is not what was encoded ({found[0]}), write it again"
        )
    return path


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


def tracks_of(job: Job, progress: Progress) -> Tracks | None:
    """Find what is taken over beside the pictures; what is not kept as it was is told."""
    from lingen_cli.media.tracks.inspect import Tracks

    if job.beside is None:
        return None
    tracks = Tracks.of(job.beside)
    if tracks.changed:
        progress.warn(f"beside the pictures: {'; '.join(tracks.changed)}")
    return tracks


def load_networks(job: Job, progress: Progress, load: Load) -> VideoPipeline:
    """The networks of `job`; words that they never met are told."""
    progress.phase("load")
    pipe = load(job)
    if job.frugal:
        pipe.save_memory()
        if pipe.device.type != "cpu":
            pipe.offload()
    progress.advance(1)
    name = job.model.variant.name
    prompts = dict.fromkeys(stretch.prompt for stretch in job.sampled)
    lists = {prompt: pipe.unknown_words(prompt) for prompt in prompts}
    for prompt, words in lists.items():
        if words and not _without(prompt, words):
            progress.warn(f"{name} knows nothing of the prompt {prompt!r}: it means nothing to it")
    unknown = list(dict.fromkeys(word for words in lists.values() for word in words))
    if unknown:
        names = ", ".join(_with_hint(word, pipe.similar_word(word)) for word in unknown)
        progress.warn(
            f"words that {name} never met: {names}; it knows those of: lingen models show {name}",
            words=unknown,
        )
    return pipe


def _without(prompt: str, words: Sequence[str]) -> str:
    """Letters and digits of a prompt that are in none of these words."""
    left = " ".join(re.findall(r"\w+", prompt.lower()))
    for word in sorted(words, key=len, reverse=True):
        left = left.replace(word.lower(), "")
    return left.strip()


def _with_hint(word: str, similar: str | None) -> str:
    return repr(word) if similar is None else f"{word!r} (did you mean {similar!r}?)"


def _verify(job: Job, film: Film) -> None:
    """Read back what was written; of a base that lingen did not make, only the end."""
    from lingen_cli.media.verify import verify_joined, verify_video

    width, height = job.size
    facts: dict[str, Any] = {"frames": job.frames, "width": width, "height": height}
    facts |= {"fps": job.rate, "hashes": film.recipe.frame_hashes, "beside": film.beside}
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
    return load_pipeline(job.model, job.device, job.dtype)
