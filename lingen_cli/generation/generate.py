"""From a job to a published video: load, sample, decode and write, verify, publish.

What is unfinished lives in a work folder beside the output, so that an error, Ctrl-C or a kill
leaves nothing at the output path (reliability.md C1).
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lingen_cli.errors import OutputExistsError, WriteFailedError
from lingen_cli.exit_codes import Terminated
from lingen_cli.files.printable import printable
from lingen_cli.files.work_folder import WorkFolder, check_target
from lingen_cli.files.write_errors import write_errors
from lingen_cli.generation import latent_cache
from lingen_cli.generation.begun import Begun
from lingen_cli.generation.journal import Journal, seconds_between
from lingen_cli.generation.low_memory import with_less_if_needed
from lingen_cli.generation.output import FinishedBefore, held, is_made, subtitles_path, tidy
from lingen_cli.generation.sample import Latents, check_history, latents_of
from lingen_cli.inputs.output_path import SUFFIX
from lingen_cli.inputs.story import subtitles
from lingen_cli.installation import plugin_parts
from lingen_cli.requests.job import Job
from lingen_cli.requests.read_recipe import check_inputs
from lingen_cli.requests.recipe import recipe_from_video
from lingen_cli.requests.write_recipe import recipe_of
from lingen_cli.terminal.profiler import traced
from lingen_cli.terminal.progress import Progress
from lingen_cli.zoo.load_model import find_device, load_pipeline
from lingen_plugins.contracts import ModelVariant

if TYPE_CHECKING:
    from lingen_cli.generation.encode import EncodedVideo
    from lingen_cli.media.tracks.inspect import Tracks
    from lingen_cli.requests.recipe import Recipe
    from lingen_models.pipelines.protocol import VideoPipeline


Load = Callable[[Job], "VideoPipeline"]
_MOST_REUSED = 0.5
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

    Where the output is that very video, nothing is done. Whoever calls this tells the user, and
    then calls `mark_reported`. Raises BadDataError (65), NotAvailableError (69),
    OutputExistsError (73), WriteFailedError (74), LockedError (75), PermissionDeniedError (77);
    the output is whole or absent.
    """
    seconds_between()
    try:
        with held(job, progress.warn) as (work, settled):
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
        path = job.output.destination.path
        if path is None or not is_made(job):
            raise
        _complete(job, path, progress)
        tidy(job)
        frames = job.timeline.frames
    except FinishedBefore as before:
        path, frames = job.output.destination.path, before.frames
        assert path is not None
    progress.note(f"made already: {path}")
    seconds = float(frames / job.timeline.rate)
    progress.events.finish(path, frames, seconds, skipped=True)
    return Result(path, frames, seconds, skipped=True)


def _make(job: Job, work: WorkFolder, progress: Progress, load: Load) -> Result:
    check_history(job)
    work.reserve(2 * job.expected_bytes + job.image_bytes)  # its pieces, and what they make
    _beside(job, work)
    tell_start(job, str(work.target), progress)
    tracks = tracks_of(job, progress)
    pipe = load_networks(job, progress, load)

    def sampled_and_encoded() -> tuple[Latents, EncodedVideo]:
        begun = Begun.of(job, work.target, recipe_of(job, pipe, None))
        with Journal(work, begun, progress, decode_only=job.runtime.decode_only) as journal:
            latents = latents_of(job, pipe, journal, progress)
            return latents, encoded(job, work, pipe, latents, journal, tracks, progress)

    with plugin_parts.found():
        latents, made = with_less_if_needed(pipe, progress, sampled_and_encoded)
    publish_video(job, work, latents, made, progress)
    return Result(work.target, job.timeline.frames, job.timeline.seconds)


def encoded(
    job: Job,
    work: WorkFolder,
    pipe: VideoPipeline,
    latents: Latents,
    journal: Journal,
    tracks: Tracks | None,
    progress: Progress,
) -> EncodedVideo:
    """Decode and write the latents of a job, under a temporary name.

    Raises BadDataError (65) where a video that it goes on with was changed meanwhile.
    """
    from lingen_cli.generation.encode import encode_video

    digest = latent_cache.digest_of(latents.values) if latents.whole else None
    recipe = recipe_of(job, pipe, digest)
    work.release_space()
    try:
        made = encode_video(job, pipe, latents, work, journal, recipe, tracks, progress)
        if job.in_place:  # then nothing else tells whether the edit is made
            journal.record()
    except Exception:
        check_inputs(job)  # what came of that says less
        raise
    check_inputs(job)
    return made


def publish_video(
    job: Job, work: WorkFolder, latents: Latents, made: EncodedVideo, progress: Progress
) -> None:
    """Read back what was written, keep its latents, and give it its name."""
    progress.phase("verify")
    _verify(job, made)
    finished = _in_its_format(job, work, made, progress)
    if made.recipe.latents is not None:
        _keep(job, work.target, latents, made.recipe.latents, progress)
    work.publish(finished, beside=_beside(job, work))
    progress.advance(1)
    progress.events.finish(work.target, job.timeline.frames, job.timeline.seconds)


def _beside(job: Job, work: WorkFolder) -> list[tuple[Path, Path]]:
    """What belongs beside the video and is not there: temporary file, and name.

    Raises OutputExistsError (73) where something else has the name and may not be replaced.
    """
    if not job.output.subtitles:
        return []
    path, words = subtitles_path(work.target), _words(job)
    if not path.is_symlink() and path.is_file() and path.read_bytes() == words:
        return []
    check_target(path, job.output.destination.overwrite)
    temporary = work.temporary(path.suffix)
    with write_errors(path):
        temporary.write_bytes(words)
    return [(temporary, path)]


def _words(job: Job) -> bytes:
    return subtitles(job.timeline.parts).encode()


def _complete(job: Job, video: Path, progress: Progress) -> None:
    """Write what belongs beside a finished video, where a run was killed before it did.

    Raises as `WorkFolder`.
    """
    path = subtitles_path(video)
    if not job.output.subtitles:
        return
    if os.path.lexists(path):
        if path.read_bytes() != _words(job):
            progress.warn(f"not the subtitles of this story, they stay as they are: {path}")
        return
    with WorkFolder(path) as work:
        temporary = work.temporary(path.suffix)
        temporary.write_bytes(_words(job))
        work.publish(temporary)


def _in_its_format(job: Job, work: WorkFolder, made: EncodedVideo, progress: Progress) -> Path:
    """The file that the name of the output asks for, made of the mp4."""
    from lingen_cli.generation.encode import tags_of
    from lingen_cli.media.metadata import tags_in

    suffix = work.target.suffix.lower()
    if work.pattern is None and suffix == SUFFIX:
        return made.path
    from lingen_cli.media.formats.convert_video import FORMATS, NUMBERED, Source, convert
    from lingen_cli.media.verify_video import differences

    if work.pattern is None:
        path, kind = work.temporary(suffix), FORMATS[suffix]
    else:
        path, kind = work.temporary_folder(), NUMBERED
    tags, recipe = tags_in(made.path), made.recipe
    if job.output.metadata and not kind.copies:  # hashes are of images that are not in there
        unknown = {"frame_hashes": (), "sound_packets": None}
        tags |= {"comment": tags_of(recipe.model_copy(update=unknown))["comment"]}
    source = Source(
        path=made.path,
        size=job.timeline.size,
        rate=job.timeline.rate,
        frames=job.timeline.frames,
        tags=tags,
        pattern=work.pattern,
    )
    for lost in convert(source, kind, path, work.target):
        progress.warn(lost)
    if kind.copies and (
        found := differences(path, recipe.frame_hashes, job.timeline.rate, job.timeline.size)
    ):
        raise WriteFailedError(
            f"written video is not what was encoded ({found[0]}), write it again"
        )
    if kind.copies:
        _verify_sound(path, recipe)
    return path


def tell_start(job: Job, output: str, progress: Progress) -> None:
    """Say what is made."""
    new = job.timeline.sampled[-1]
    progress.events.emit(
        "start",
        output=output,
        prompt=new.prompt,
        seed=new.sampling.seed,
        frames=job.timeline.frames,
        seconds=job.timeline.seconds,
    )
    width, height = job.timeline.size
    progress.note(f"{job.timeline.seconds:g} s at {width}x{height}, seed {new.sampling.seed}")


def tracks_of(job: Job, progress: Progress) -> Tracks | None:
    """Find what is taken over beside the frames; warns about what is not kept as it was."""
    from lingen_cli.media.tracks.inspect import Tracks
    from lingen_cli.media.tracks.sound import made_track

    if job.output.beside is None:
        return None
    tracks = Tracks.of(job.output.beside)
    if job.output.sound:  # that is made anew
        known = recipe_from_video(job.output.beside).sound_packets
        tracks = tracks.without(made_track(job.output.beside, known))
    if tracks.changed:
        progress.warn(f"beside the frames: {'; '.join(tracks.changed)}")
    return tracks


def load_networks(job: Job, progress: Progress, load: Load) -> VideoPipeline:
    """Load the networks of `job`, and warn about words, sizes and thresholds that they make little
    of."""
    progress.phase("load")
    pipe = load(job)
    with plugin_parts.found():
        said = pipe.place(
            find_device(job.runtime.device),
            frames=job.grid.source(max(one.frames for one in job.timeline.sampled) - 1) + 1,
            height=job.timeline.height,
            width=job.timeline.width,
            offload=job.runtime.offload,
            tiles=job.runtime.tiles,
        )
    if said is not None:
        progress.note(said)
    if job.runtime.frugal:
        pipe.save_memory()
        if pipe.device.type != "cpu":
            pipe.offload()
    progress.advance(1)
    _warn_of_words(job, pipe, progress)
    _warn_of_size(job, progress)
    for threshold in sorted({one.sampling.step_cache for one in job.timeline.sampled}):
        if threshold > _MOST_REUSED:
            progress.warn(
                f"--step-cache {threshold:g} skips nearly every step, and little of the prompt is "
                "left in the video; 0.2 is usual"
            )
    return pipe


def _warn_of_words(job: Job, pipe: VideoPipeline, progress: Progress) -> None:
    """Tell which words are read as others, and warn of those that mean nothing to the model."""
    from lingen_models.networks.word_encoder import split_words

    prompts = list(dict.fromkeys(stretch.prompt for stretch in job.timeline.sampled))
    synonyms = {word: known for one in prompts for word, known in pipe.synonyms(one).items()}
    if synonyms:
        pairs = ", ".join(f"{word!r} as {known!r}" for word, known in synonyms.items())
        progress.note(f"{job.model.variant.name} reads {pairs}")
    lists = [pipe.unknown_words(prompt) for prompt in prompts]
    unknown = list(dict.fromkeys(word for words in lists for word in words))
    if not unknown:
        return
    near = {word: pipe.similar_word(word) for word in unknown}
    names = ", ".join(
        f"{word!r} (did you mean {one!r}?)" if one else repr(word) for word, one in near.items()
    )
    name = job.model.variant.name
    left = set(split_words(" ".join(prompts))) - set(unknown) - _FUNCTION_WORDS
    text = "ignores words that it does not know"
    if not left:
        text = "knows none of the words that say what is shown, and draws something of its own"
    progress.warn(
        f"{name} {text}: {names}; its words: lingen models show {name}",
        words=unknown,
    )


def _warn_of_size(job: Job, progress: Progress) -> None:
    """Warn where a new video is far from the size that the model's own weights were trained at."""
    model = job.model.variant
    new = job.timeline.origin is None and job.timeline.base is None
    if not isinstance(model, ModelVariant) or job.model.folder is not None or not new:
        return
    sides = job.timeline.width, job.timeline.height
    if not model.size / 2 <= min(sides) <= max(sides) <= 1.5 * model.size:
        progress.warn(
            f"{model.name} was trained at {model.size}x{model.size}: at "
            f"{job.timeline.width}x{job.timeline.height} it draws worse"
        )


def _verify(job: Job, made: EncodedVideo) -> None:
    """Read back what was written; of a base that lingen did not make, only the end."""
    from lingen_cli.media.verify_video import verify_joined, verify_video

    width, height = job.timeline.size
    facts: dict[str, Any] = {"frames": job.timeline.frames, "width": width, "height": height}
    facts |= {"fps": job.timeline.rate, "hashes": made.recipe.frame_hashes, "beside": made.beside}
    if job.timeline.base is None:
        verify_video(made.path, **facts)
    else:
        verify_joined(made.path, since=job.timeline.base.frames, **facts)
    _verify_sound(made.path, made.recipe)


def _verify_sound(path: Path, recipe: Recipe) -> None:
    from lingen_cli.media.tracks.sound import made_track

    known = recipe.sound_packets
    if known is not None and made_track(path, known) is None:
        raise WriteFailedError("written video has other sound than was encoded, write it again")


def _keep(job: Job, video: Path, latents: Latents, digest: str, progress: Progress) -> None:
    """Put the latents into the cache; a video is not lost because that failed, in whatever way."""
    try:
        prompt = job.timeline.sampled[-1].prompt
        latent_cache.store(
            latents.values, digest, job.runtime.cache, prompt=prompt, video=str(video.absolute())
        )
    except Exception as error:
        reason = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
        progress.warn(f"the latents were not kept: {reason}")


def load_for(job: Job) -> VideoPipeline:
    """Import torch and read the weights that `job` asks for, with its threads and dtype."""
    import torch

    if job.runtime.threads is not None:
        torch.set_num_threads(job.runtime.threads)
    return load_pipeline(
        job.model, job.runtime.device, job.runtime.dtype, job.weights.loras, job.weights.formats
    )
