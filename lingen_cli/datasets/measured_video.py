"""Any video, as `lingen metrics` measures it: its frames, its rate and its prompt."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lingen_cli.datasets.captions import caption_beside
from lingen_cli.errors import BadDataError
from lingen_cli.files.printable import printable
from lingen_cli.terminal import console
from lingen_cli.terminal.events import Events
from lingen_cli.terminal.progress import Progress

if TYPE_CHECKING:
    from lingen_training.metrics.score_video import VideoScores

_COMMON_RATE = 25.0
_WHOLE = 0.9
"""A share of its frames below which a video is said to break off."""


def measure(video: Path, names: Collection[str], **options: Any) -> tuple[VideoScores, float]:
    """Scores and frame rate of one video; `options` are those of `score_video`.

    Raises BadDataError (65), and as `every_frame`.
    """
    from lingen_cli.media.probe import MAX_RATE, video_info
    from lingen_cli.media.reader import every_frame
    from lingen_training.metrics.score_video import UnmeasurableError, score_video

    info = video_info(video)
    rate = float(info.fps or _COMMON_RATE)
    if info.frames != 1 and rate < 1:
        raise BadDataError(
            f"fewer than one frame per second, so neighboring frames say nothing about motion: "
            f"{printable(video)}"
        )
    stated = info.frames or round((info.duration or 0) * rate)
    with Events(None) as events, Progress(events) as progress:
        progress.phase("frames", max(1, stated))

        def damaged(count: int) -> None:
            progress.warn(f"{count} damaged packets were left out: {video}")

        try:
            scores = score_video(
                every_frame(video, on_damage=damaged),
                min(rate, MAX_RATE),
                names,
                progress=progress.advance,
                **options,
            )
        except UnmeasurableError as error:
            raise BadDataError(f"{error}: {printable(video)}") from error
        if scores.frames < _WHOLE * stated:
            progress.warn(f"only {scores.frames} of {stated} frames are there: {video}")
    return scores, rate


def prompt_of(video: Path, given: str | None) -> str | None:
    """Prompt of a video: given, of its recipe, or in the text file beside it; None without any,
    and where the recipe has several. Raises as `read_recipe` and `caption_beside`."""
    from lingen_cli.media.metadata import read_recipe

    if given is not None:
        return given
    recipe = read_recipe(video) or {}
    edits = recipe.get("edits")
    parts = [recipe, *(edits if isinstance(edits, list) else [])]
    said = [one.get("prompt") for one in parts if isinstance(one, dict)]
    prompts = {one for one in said if isinstance(one, str) and one}
    if len(prompts) == 1:
        return prompts.pop()
    if prompts:
        console.warning(f"several prompts, so no clip_score; give --prompt: {printable(video)}")
        return None
    beside = caption_beside(video)
    if beside is None:
        way = f"write {printable(video.with_suffix('.txt').name)} beside it or give --prompt"
        console.warning(f"no prompt, so no clip_score; {way}: {printable(video)}")
    return beside
