"""Alignment with the ground truth: what a scene says about every token, as a training target.

A head of two layers on the tokens after one block predicts, per token, occupancy, offset to the
nearest object, its velocity, radius, shape and color, and the background. As REPA (arXiv
2410.06940), with the facts of the dataset in place of another network's features. The head is
trained along, and is not part of the weights that a training writes.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor, nn

from lingen_playground import FPS, Scene, course_of
from lingen_playground.scenes.palette import BACKGROUNDS, COLORS, SHAPES
from lingen_training.datasets.clip_cache import Picked

TOKEN = 16
"""Pixels of a token's side: the autoencoder's stride times the patch."""
_AHEAD = 0.25
"""Seconds over which a velocity is taken."""
_MOTION = 6
FACTS = _MOTION + len(SHAPES) + len(COLORS) + len(BACKGROUNDS)
"""Values per token: occupancy, offset (2), velocity (2), radius, then one-hot names."""


class AlignmentHead(nn.Sequential):
    """Tokens (..., D) -> facts (..., FACTS)."""

    def __init__(self, width: int) -> None:
        super().__init__(
            nn.LayerNorm(width), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, FACTS)
        )


def ground_truth(
    picked: Picked,
    starts: Sequence[float],
    total: int,
    grid: tuple[int, int],
    size: int,
    stride: int,
) -> Tensor:
    """Facts (rows, T, h, w, FACTS) about the tokens of some clips.

    Args:
        picked: the clips.
        starts: when the scene of each row begins, in seconds.
        total: latent frames of the clips from which they are cut.
        grid: lines and columns of tokens.
        size: side of the whole frames in pixels.
        stride: frames per latent frame.
    """
    rows, frames = len(picked.scenes), picked.latents.shape[2]
    most = max(len(scene.objects) for scene in picked.scenes)
    courses = torch.full((rows, most, frames, 5), 1e6)
    names = torch.zeros(rows, most, len(SHAPES) + len(COLORS))
    grounds = torch.zeros(rows, len(BACKGROUNDS))
    corners = torch.tensor(picked.corners) * (TOKEN // 2)  # of pairs of latents
    for row, scene in enumerate(picked.scenes):
        begin = picked.begins[row]
        whole = object_courses(scene, starts[row], total, size, stride)
        courses[row, : len(scene.objects)] = whole[:, begin : begin + frames]
        for layer, obj in enumerate(scene.objects):
            names[row, layer, SHAPES.index(obj.shape)] = 2
            names[row, layer, len(SHAPES) + list(COLORS).index(obj.color)] = 2
        grounds[row, list(BACKGROUNDS).index(scene.background)] = 1
    middle_y, middle_x = ((torch.arange(count) + 0.5) * TOKEN for count in grid)
    x = courses[..., 0] - corners[:, 0, None, None]
    y = courses[..., 1] - corners[:, 1, None, None]
    across = x[..., None, None] - middle_x  # rows, objects, T, 1, w
    down = y[..., None, None] - middle_y[:, None]
    distance = (across.square() + down.square()).sqrt()
    nearest = distance.argmin(1, keepdim=True)

    def of_nearest(values: Tensor) -> Tensor:
        """(rows, objects, T, h, w) -> (rows, T, h, w)."""
        return values.expand_as(distance).gather(1, nearest)[:, 0]

    radius = of_nearest(courses[..., 4, None, None])
    occupied = torch.sigmoid((radius + 6 - of_nearest(distance)) / 3)
    motion = [
        2 * occupied,
        (of_nearest(across) / 24).clamp(-2, 2),
        (of_nearest(down) / 24).clamp(-2, 2),
        of_nearest(courses[..., 2, None, None]) / 16 * occupied,
        of_nearest(courses[..., 3, None, None]) / 16 * occupied,
        (radius - 18) / 8 * occupied,
    ]
    which = nearest[:, 0, ..., None].expand(*nearest[:, 0].shape, names.shape[-1])
    spread = names[:, :, None, None, None].expand(-1, -1, frames, *grid, -1)
    named = spread.gather(1, which[:, None])[:, 0] * occupied[..., None]
    ground = grounds[:, None, None, None].expand(-1, frames, *grid, -1)
    return torch.cat((torch.stack(motion, -1), named, ground), -1)


@lru_cache(maxsize=32768)  # asked for again whenever the clip is drawn
def object_courses(scene: Scene, start: float, frames: int, size: int, stride: int) -> Tensor:
    """Courses (objects, frames, 5) of the objects of a clip, in the middle of each latent frame: x
    and y, their change within `_AHEAD`, and radius, in pixels of the whole frame."""
    times = start + _middles(torch.arange(frames), stride)
    found = []
    for layer in range(len(scene.objects)):
        now, then = (course_of(scene, layer, at) for at in (times, times + _AHEAD))
        moved = [b - a for a, b in ((now.x, then.x), (now.y, then.y))]
        # What leaves at one side and comes in at the other has not flown across the frame.
        moved = [torch.where(way.abs() > 0.5, way - way.sign(), way) for way in moved]
        found.append(torch.stack((now.x, now.y, *moved, now.radius), -1) * size)
    return torch.stack(found).float()


def _middles(frames: Tensor, stride: int) -> Tensor:
    """Seconds from the begin of a clip to the middle of each of these latent frames, float64; the
    first holds one image, the others `stride`."""
    number = frames.double()
    return torch.where(number == 0, 0.0, stride * number - (stride - 1) / 2) / FPS
