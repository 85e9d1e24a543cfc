"""`lingen verify`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from lingen_cli.errors import BadDataError, CheckFailedError, LingenError
from lingen_cli.files.printable import printable
from lingen_cli.terminal import console
from lingen_cli.usage.completion import completed


def verify(
    videos: Annotated[
        list[Path],
        typer.Argument(
            metavar="VIDEO...", help="Videos that lingen made.", autocompletion=completed("video")
        ),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="A JSON object per video.")] = False,
) -> None:
    """Tell whether videos still show what lingen made: every frame, and the sound of a model that
    makes some, against the hash in its recipe.

    A copy of the packets into another container passes. A video that was encoded again, cut,
    or damaged does not.
    """
    failed, errors = 0, []
    for video in videos:
        try:
            checked, frames, sound, problems = _look(video)
        except LingenError as error:
            if len(videos) == 1:
                raise
            checked, frames, sound, problems = 0, 0, False, [str(error)]
            errors.append(error)
        failed += bool(problems)
        if as_json:
            facts = {"path": str(video), "passed": not problems, "checked": checked}
            console.result(json.dumps(facts | {"frames": frames, "problems": problems}))
        elif problems:
            console.result(f"{printable(video)}: {'; '.join(problems)}")
        else:
            also = ", and so is the sound" if sound else ""
            console.result(
                f"{printable(video)}: {checked} of {frames} frames are as lingen made them{also}"
            )
    if errors and failed == len(errors):
        raise BadDataError(f"{failed} of {len(videos)} videos cannot be verified")
    if failed:
        raise CheckFailedError(f"{failed} of {len(videos)} videos are not as lingen made them")


def _look(video: Path) -> tuple[int, int, bool, list[str]]:
    """Frames that were compared, frames in all, whether sound was compared, and what is wrong.

    Raises BadDataError (65) for a video with nothing to compare.
    """
    from lingen_cli.media.tracks.sound import made_track
    from lingen_cli.media.verify_video import differences
    from lingen_cli.requests.recipe import recipe_from_video

    recipe = recipe_from_video(video)
    known = recipe.frame_hashes
    if not known:
        raise BadDataError(f"the recipe in {printable(video)} has no hashes of its frames")
    problems = differences(video, known, recipe.rate, recipe.size)
    sound = recipe.sound_packets is not None
    if sound and made_track(video, recipe.sound_packets) is None:
        problems.append("its sound is missing, or not what lingen made")
    return sum(one.end - one.begin for one in known), known[-1].end, sound, problems
