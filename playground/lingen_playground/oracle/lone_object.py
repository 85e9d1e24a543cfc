"""The one object of a clip, of whatever color, before a background of the playground."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

from lingen_playground.captions.caption import object_phrase
from lingen_playground.captions.prompt_reader import read_prompt
from lingen_playground.oracle.segment import unlike_background
from lingen_playground.oracle.tracks import trace
from lingen_playground.scenes.scene_sampler import scene_for

_LEAST_SEEN: Final = 0.3
"""Share of the frames in which an object has to be seen."""
_GREATEST_AREA: Final = 0.5
"""Share of a frame beyond which it is no object before a background."""


def lone_object(video: Tensor, caption: str) -> tuple[str, Tensor] | None:
    """Measure where the object that a caption describes is in a clip (T, H, W, 3), uint8.

    Returns a phrase for it, and (T, 4): x, y and radius in frame widths, and 1 where it is seen;
    x, y and radius are 0 elsewhere. None for a caption that does not name one object with its shape
    and color, and for clips that show something else than one object before a background of the
    playground.
    """
    said = read_prompt(caption)
    if said is None or len(said.objects) != 1:
        return None
    one = said.objects[0]
    color = " ".join((*one.described, one.color or "")).strip()
    if one.shape is None or not color:
        return None
    mask = unlike_background(video)
    if mask is None or float(mask.float().mean((1, 2)).amax()) > _GREATEST_AREA:
        return None
    found = trace(mask, torch.zeros_like(mask))
    if float(found.seen.float().mean()) < _LEAST_SEEN:
        return None
    seen = found.seen.float()
    place = torch.stack((found.x, found.y, found.radius), -1) * seen[:, None]
    (obj,) = scene_for(said, 0).objects
    phrase = object_phrase(obj, still=one.motion is None, color=color)
    return phrase, torch.cat((place, seen[:, None]), -1)
