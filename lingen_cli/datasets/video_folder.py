"""A folder of videos and images as a dataset of the trainer."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

from lingen_cli.datasets.footage import FPS, Clip, Footage
from lingen_cli.datasets.prepare_plan import Length, Target
from lingen_cli.errors import BadDataError
from lingen_cli.files.printable import printable
from lingen_models.sampling.layout import Keyframe, Layout, LayoutObject

if TYPE_CHECKING:
    from torch import Tensor

    from lingen_cli.media.images.orientation import Image

TIME_STRIDE = 8
"""Frames of a latent frame but the first."""
_MEASURED = 64
"""Pixels to a side at which objects are measured."""


@dataclass(frozen=True)
class Excerpt:
    """A part of a clip: where it begins is a share, from 0 to 1, of what its length leaves free."""

    clip: Clip
    begin: float


class VideoFolder:
    """Excerpts of a folder's clips, cut to size about their centres, at 16 frames per second.

    An image, and a video that is shorter than what is asked for, stands still at its end. It has
    the methods of `lingen_training.datasets.world.World`.
    """

    def __init__(self, footage: Footage) -> None:
        if not footage.clips:
            shown = printable(footage.folder)
            raise BadDataError(f"nothing in {shown} can be trained on: {footage.problems[0]}")
        self.footage = footage
        self.folder = footage.folder.resolve()
        self.fingerprint = footage.fingerprint
        self.clips = len(footage.clips)

    def of(self, size: int, latent_frames: int) -> VideoFolder:
        """The clips for a source of squares of one length: all."""
        return self

    def divided(
        self, sizes: Sequence[tuple[int, int]], lengths: Sequence[int]
    ) -> dict[tuple[tuple[int, int], int], VideoFolder]:
        """Parts of the folder by width and height, and latent frames, by the rules of `Target`:
        what is cached of a video is a latent frame longer than what is trained on."""
        kept = tuple(Length(one, one + 1) for one in sorted(lengths))
        target = Target(tuple(sizes), kept, buckets=True)
        clips: dict[tuple[tuple[int, int], int], list[Clip]] = {
            (size, length): [] for size in sizes for length in (1, *sorted(lengths))
        }
        for clip in self.footage.clips:
            frames = None if clip.seconds is None else clip.seconds * FPS
            length = target.length_of(frames, TIME_STRIDE).trained
            clips[target.size_of(clip.width, clip.height), length].append(clip)
        return {
            key: VideoFolder(replace(self.footage, clips=tuple(some)))
            for key, some in clips.items()
            if some
        }

    def sample_scene(self, seed: int) -> Excerpt:
        """Draw an excerpt."""
        rng = random.Random(f"excerpt {seed}")
        return Excerpt(rng.choice(self.footage.clips), rng.random())

    def caption(self, scene: Excerpt, seed: int, *, still: bool = False) -> str:
        """The clip's caption."""
        return scene.clip.caption

    def vocabulary(self) -> tuple[str, ...]:
        """Every word of every caption, once."""
        from lingen_models.networks.word_encoder import split_words

        captions = (clip.caption for clip in self.footage.clips)
        return tuple(sorted({word for one in captions for word in split_words(one)}))

    def render(
        self,
        scenes: Sequence[Excerpt],
        frames: int,
        size: int | tuple[int, int],
        *,
        start: float = 0,
    ) -> Tensor:
        """Decode excerpts, (B, 3, frames, height, width) in [-1, 1], of squares or of a width and
        height; `start` has no effect."""
        import numpy as np
        import torch

        sides = (size, size) if isinstance(size, int) else size
        videos = [np.stack(_frames(one, frames, sides)) for one in scenes]
        pixels = torch.from_numpy(np.stack(videos)).permute(0, 4, 1, 2, 3)
        return pixels.float() / 127.5 - 1

    def layout(self, scene: Excerpt, frames: int) -> Layout | None:
        """Measure where the object that a caption describes is in a square excerpt; None where the
        clip does not show one object before a background of the playground."""
        return _measured(scene, frames)


@lru_cache(maxsize=4096)  # measured once, and drawn often
def _measured(scene: Excerpt, frames: int) -> Layout | None:
    import numpy as np
    import torch

    from lingen_playground.oracle.lone_object import lone_object

    images = np.stack(_frames(scene, frames, (_MEASURED, _MEASURED)))
    found = lone_object(torch.from_numpy(images), scene.clip.caption)
    if found is None:
        return None
    phrase, places = found
    rows = list(enumerate(places.tolist()))
    path = tuple(Keyframe(at, x, y, radius) for at, (x, y, radius, seen) in rows if seen)
    return Layout((LayoutObject(phrase, path),))


def _frames(scene: Excerpt, frames: int, size: tuple[int, int]) -> list[Image]:
    from lingen_cli.media.images.image_files import fit_image, read_image
    from lingen_cli.media.images.resize import Fit
    from lingen_cli.media.reader import frames_at

    clip = scene.clip
    if clip.seconds is None:
        return [fit_image(read_image(clip.path), *size)] * frames
    begin = scene.begin * max(0.0, clip.seconds - frames / FPS)
    fit = Fit(name="crop", seen=(clip.width, clip.height), size=size)
    times = [begin + number / FPS for number in range(frames)]
    try:
        return list(frames_at(clip.path, times, fit=fit))
    except BadDataError:  # damaged there: its first frame still decodes
        return list(frames_at(clip.path, [0.0], fit=fit)) * frames


def first_image(clip: Clip, side: int = 160) -> Image:
    """Read the first frame of a clip, as small as `side` by `side` pixels."""
    from lingen_cli.media.images.image_files import read_image, scale_image
    from lingen_cli.media.reader import fit_box, frames_at

    if clip.seconds is not None:
        return next(iter(frames_at(clip.path, [0.0], box=(side, side))))
    return scale_image(read_image(clip.path), *fit_box(clip.width, clip.height, (side, side)))
