"""A folder of videos and images as a dataset of the trainer."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lingen_cli.datasets.footage import Clip, Footage
from lingen_cli.errors import BadDataError
from lingen_cli.files.printable import printable

if TYPE_CHECKING:
    from torch import Tensor

    from lingen_cli.media.images.orientation import Image

FPS = 16
"""Frames per second of everything that is trained on."""


@dataclass(frozen=True)
class Excerpt:
    """A part of a clip: where it begins is a share, from 0 to 1, of what its length leaves free."""

    clip: Clip
    begin: float


class VideoFolder:
    """Excerpts of a folder's clips, cut to squares about their centres, at 16 frames per second.

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
        self, scenes: Sequence[Excerpt], frames: int, size: int, *, start: float = 0
    ) -> Tensor:
        """Decode excerpts, (B, 3, frames, size, size) in [-1, 1]; `start` has no effect."""
        import numpy as np
        import torch

        videos = [np.stack(self._frames(one, frames, size)) for one in scenes]
        pixels = torch.from_numpy(np.stack(videos)).permute(0, 4, 1, 2, 3)
        return pixels.float() / 127.5 - 1

    def _frames(self, scene: Excerpt, frames: int, size: int) -> list[Image]:
        from lingen_cli.media.images.image_files import fit_image, read_image
        from lingen_cli.media.images.resize import Fit
        from lingen_cli.media.reader import frames_at

        clip = scene.clip
        if clip.seconds is None:
            return [fit_image(read_image(clip.path), size, size)] * frames
        begin = scene.begin * max(0.0, clip.seconds - frames / FPS)
        fit = Fit(name="crop", seen=(clip.width, clip.height), size=(size, size))
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
