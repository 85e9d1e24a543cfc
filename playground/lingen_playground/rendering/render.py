"""Scenes to pixels: batched torch code that runs on whatever device trains."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor

from lingen_playground.rendering.backdrop import backdrop
from lingen_playground.scenes.motion import Track, track, zoom
from lingen_playground.scenes.palette import COLORS
from lingen_playground.scenes.scene import Scene
from lingen_playground.scenes.shapes import BOUND, DISTANCE

FPS: Final = 16
"""Frames per second, where nothing else is said."""
LEAST_SIZE: Final = 64
_SOFTNESS: Final = 0.75
"""Half the width of an edge in pixels."""


@torch.no_grad()
def render(
    scenes: Sequence[Scene],
    frames: int,
    size: int,
    *,
    fps: int = FPS,
    start: float = 0.0,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Float32 (B, 3, frames, size, size) in [-1, 1], RGB; frame i shows the time start + i / fps.

    A scene has the same pixels in every batch, and a clip that starts later is a slice of a longer
    one. One frame is an image. Raises ValueError for no scenes, no frames, an fps below one or a
    size below 64.
    """
    if not scenes or frames < 1 or fps < 1 or size < LEAST_SIZE:
        raise ValueError(
            f"cannot render {len(scenes)} scenes of {frames} frames of {size} pixels at {fps} fps:"
            f" all must be at least 1 and the size at least {LEAST_SIZE}"
        )
    times = start + torch.arange(frames, dtype=torch.float64) / fps
    video = torch.empty(len(scenes), 3, frames, size, size, device=device)
    with torch.autocast(video.device.type, enabled=False):
        for image, scene in zip(video, scenes, strict=True):
            image.copy_(backdrop(scene, times, size, device))
    for layer in range(max(len(scene.objects) for scene in scenes)):
        for shape in DISTANCE:
            rows = [
                row
                for row, scene in enumerate(scenes)
                if layer < len(scene.objects) and scene.objects[layer].shape == shape
            ]
            if rows:
                _draw(video, scenes, rows, layer, times)
    return video


def _draw(
    video: Tensor, scenes: Sequence[Scene], rows: list[int], layer: int, times: Tensor
) -> None:
    """Paint one object of each of these scenes, all of one shape, into `video`.

    Only a window about the object is touched. N = len(rows) * T windows of K x K pixels.
    """
    size, device = video.shape[-1], video.device
    objects = [scenes[row].objects[layer] for row in rows]
    shape = objects[0].shape
    course = torch.stack([_seen(scenes[row], layer, times) for row in rows])  # (rows, 4, T) float64
    x, y, radius, angle = (course[:, i].reshape(-1) for i in range(4))
    x, y, radius = x * size, y * size, radius * size
    window = min(size, math.ceil(2 * float(radius.max()) * BOUND[shape]) + 4)
    left = (x - window / 2).round().clamp(0, size - window)
    top = (y - window / 2).round().clamp(0, size - window)

    def placed(values: Tensor) -> Tensor:
        return values.to(device, torch.float32)[:, None, None]

    steps = torch.arange(window, device=device)
    columns = left.long().to(device)[:, None, None] + steps[None, None, :]
    lines = top.long().to(device)[:, None, None] + steps[None, :, None]
    across = (columns + 0.5 - placed(x)) / placed(radius)
    down = (lines + 0.5 - placed(y)) / placed(radius)
    if any(obj.motion == "spins" for obj in objects):
        cos, sin = placed(angle.cos()), placed(angle.sin())
        across, down = cos * across + sin * down, cos * down - sin * across
    else:
        across, down = across.expand(-1, window, -1), down.expand(-1, -1, window)
    depth = DISTANCE[shape](across, down) * placed(radius)
    part = (0.5 - depth / (2 * _SOFTNESS)).clamp(0, 1)
    cover = (part * part * (3 - 2 * part))[..., None]  # (N, K, K, 1)

    paint = torch.tensor([COLORS[obj.color] for obj in objects], dtype=torch.float32)
    frames = times.shape[0]
    paint = (paint / 127.5 - 1).repeat_interleave(frames, dim=0).to(device)[:, None, None, :]
    clip = torch.tensor(rows, device=device).repeat_interleave(frames)[:, None, None]
    frame = torch.arange(frames, device=device).repeat(len(rows))[:, None, None]
    behind = video[clip, :, frame, lines, columns]  # (N, K, K, 3)
    video[clip, :, frame, lines, columns] = behind + cover * (paint - behind)


def _seen(scene: Scene, layer: int, times: Tensor) -> Tensor:
    """Course (4, T) of an object: x, y, radius in frame widths, angle in radians; float64."""
    course = course_of(scene, layer, times)
    return torch.stack((course.x, course.y, course.radius, course.angle))


def course_of(scene: Scene, layer: int, times: Tensor) -> Track:
    """Course of object number `layer` as the camera sees it, at `times` (float64 (T,), seconds)."""
    return track(scene.objects[layer], times, scene.closeness * zoom(scene.camera, times))


def extent(scene: Scene, times: Tensor) -> Tensor:
    """Left, top, right, bottom of a box about all objects at `times` (T,) in seconds: (T, 4) in
    frame widths, float64.

    Each counts as a ball of its area: the tips of other shapes may stick out of the box. Parts
    outside the frame count too.
    """
    courses = [_seen(scene, layer, times) for layer in range(len(scene.objects))]
    x, y, radius, _ = torch.stack(courses, dim=1)
    low = torch.stack((x - radius, y - radius)).amin(1)
    high = torch.stack((x + radius, y + radius)).amax(1)
    return torch.cat((low, high)).T


def as_frames(clip: Tensor) -> Tensor:
    """A clip (3, T, H, W) in [-1, 1] as uint8 (T, H, W, 3), the form that videos and oracle use."""
    return ((clip.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).permute(1, 2, 3, 0)
