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
from lingen_cli.exit_codes import Terminated
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
from lingen_plugins.contracts import ModelVariant

if TYPE_CHECKING:
    from lingen_cli.generation.encode import Film
    from lingen_cli.generation.sample import Latents
    from lingen_models.pipelines.protocol import VideoPipeline


Load = Callable[[Job], "VideoPipeline"]
_MOST_BORROWED = 0.5
"""Threshold of the step cache above which hardly a step is computed."""
_FUNCTION_WORDS = frozenset(
    ["a", "an", "the", "of", "in", "on", "at", "to", "and", "with", "is", "are", "it", "its"]
)
"""Words that name nothing."""


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
            except BaseException as error:
                if work.holds_journal:
                    name = shlex.quote(printable(work.target))
                    progress.note(f"what was sampled is kept; to go on: lingen resume {name}")
                elif isinstance(error, KeyboardInterrupt | Terminated):
                    progress.note("nothing was sampled yet, so nothing is kept")
                raise
    except OutputExistsError:
        path = job.destination.path
        if path is None or not is_made(job):
            raise
    progress.note(f"made already: {path}")
    progress.events.finish(path, job.frames, job.seconds, skipped=True)
    return Result(path, job.frames, job.seconds, skipped=True)


def _make(job: Job, work: WorkFolder, progress: Progress, load: Load) -> Result:
    from lingen_cli.generation.sample import check_history, latents_of

    check_history(job)
    reserve_space(work.target.parent, 2 * job.expected_bytes)  # its pieces, and what they make
    subtitles = _subtitles(job, work)
    if subtitles is not None:
        check_target(subtitles, job.destination.overwrite)
    tell_start(job, str(work.target), progress)
    pipe = load_networks(job, progress, load)

    def sampled_and_filmed() -> tuple[Latents, Film]:
        begun = Begun.of(job, work.target, recipe_of(job, pipe, None))
        journal = Journal(work.journal, begun, progress, decode_only=job.decode_only)
        try:
            latents = latents_of(job, pipe, journal, progress)
            return latents, filmed(job, work, pipe, latents, journal, progress)
        except (KeyboardInterrupt, Terminated):
            journal.keep()
            raise

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
        _keep(job, work.target, latents, made.recipe.latents, progress)
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
    """The networks of `job`; words, sizes and thresholds that they make little of are told."""
    progress.phase("load")
    pipe = load(job)
    if job.frugal:
        pipe.save_memory()
        if pipe.device.type != "cpu":
            pipe.offload()
    progress.advance(1)
    _warn_of_words(job, pipe, progress)
    _warn_of_size(job, progress)
    for threshold in sorted({one.sampling.step_cache for one in job.sampled}):
        if threshold > _MOST_BORROWED:
            progress.warn(
                f"--step-cache {threshold:g} skips nearly every step, and little of the prompt is "
                "left in the video; 0.2 is usual"
            )
    return pipe


def _warn_of_words(job: Job, pipe: VideoPipeline, progress: Progress) -> None:
    """Warn of words that mean nothing to the model."""
    from lingen_models.networks.word_encoder import split_words

    prompts = " ".join(stretch.prompt for stretch in job.sampled)
    unknown = pipe.unknown_words(prompts)
    if not unknown:
        return
    names = ", ".join(_with_hint(word, pipe.similar_word(word)) for word in unknown)
    name = job.model.variant.name
    left = set(split_words(prompts)) - set(unknown) - _FUNCTION_WORDS
    told = "ignores words that it does not know"
    if not left:
        told = "knows none of the words that say what is shown, and draws something of its own"
    progress.warn(
        f"{name} {told}: {names}; its words: lingen models show {name}",
        words=unknown,
    )


def _warn_of_size(job: Job, progress: Progress) -> None:
    """Warn where a new video is far from the size that the model's own weights were trained at."""
    model = job.model.variant
    new = job.origin is None and job.base is None
    if not isinstance(model, ModelVariant) or job.model.folder is not None or not new:
        return
    sides = job.width, job.height
    if not model.size / 2 <= min(sides) <= max(sides) <= 1.5 * model.size:
        progress.warn(
            f"{model.name} was trained at {model.size}x{model.size}: at "
            f"{job.width}x{job.height} it draws worse"
        )


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


def _keep(job: Job, video: Path, latents: Latents, digest: str, progress: Progress) -> None:
    """Put the latents into the cache; a video is not lost because that failed."""
    try:
        prompt = job.sampled[-1].prompt
        latent_cache.store(
            latents.values, digest, job.cache_bytes, prompt=prompt, video=str(video.absolute())
        )
    except OSError as error:
        progress.warn(f"the latents were not kept: {error.strerror or error}")


def load_for(job: Job) -> VideoPipeline:
    """Import torch and read the weights that `job` asks for, with its threads and dtype."""
    import torch

    if job.threads is not None:
        torch.set_num_threads(job.threads)
    return load_pipeline(job.model, job.device, job.dtype)
