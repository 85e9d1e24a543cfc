"""Layouts: where each object of a video is over time. Standard library only.

A layout may come from a planner that reads the prompt, or from a user who draws paths. Describing
objects by a phrase and a place is that of GLIGEN (arXiv 2301.07093); paths over time planned from
a prompt are those of LLM-grounded video diffusion (arXiv 2309.17444).
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Keyframe:
    """Place of an object at a video frame: its middle `x`, `y` in frame widths and heights from
    the upper left corner, which may be outside of 0 to 1, the `radius` of a disc of its area in
    frame widths, and how far it is turned clockwise, in degrees. `frame` counts frames at the
    model's rate, and may lie between two."""

    frame: float
    x: float
    y: float
    radius: float
    angle: float = 0.0

    def __post_init__(self) -> None:
        if self.radius <= 0:
            raise ValueError(f"an object needs a radius above 0, not {self.radius:g}")


@dataclass(frozen=True)
class LayoutObject:
    """A described object, and its path: keyframes in order of time, between which it moves in a
    straight line. Before the first and after the last it stays where it is. It is there from frame
    `first` until `end`. Raises ValueError for no keyframe or a wrong order."""

    phrase: str
    path: tuple[Keyframe, ...]
    first: float = -math.inf
    end: float = math.inf

    def __post_init__(self) -> None:
        frames = [one.frame for one in self.path]
        if not frames or sorted(set(frames)) != frames:
            raise ValueError("a path needs keyframes at increasing times")

    def is_there(self, frame: float) -> bool:
        """Tell whether it is there at a frame."""
        return self.first <= frame < self.end

    def at(self, frame: float) -> Keyframe:
        """Return where it is at a frame."""
        after = bisect_right(self.path, frame, key=lambda one: one.frame)
        a = self.path[max(after - 1, 0)]
        b = self.path[min(after, len(self.path) - 1)]
        part = 0.0 if frame <= a.frame or a is b else (frame - a.frame) / (b.frame - a.frame)

        def between(one: float, other: float) -> float:
            return one + part * (other - one)

        return Keyframe(
            frame,
            between(a.x, b.x),
            between(a.y, b.y),
            between(a.radius, b.radius),
            between(a.angle, b.angle),
        )


@dataclass(frozen=True)
class Layout:
    """The objects of a video, the later ones in front, and, if it was planned, the prompt with what
    that leaves open."""

    objects: tuple[LayoutObject, ...]
    prompt: str = ""

    def then(self, later: Layout, frame: float) -> Layout:
        """This layout until a frame, and `later` from there on."""
        before = (replace(one, end=min(one.end, frame)) for one in self.objects)
        after = (replace(one, first=max(one.first, frame)) for one in later.objects)
        return Layout(tuple(one for one in (*before, *after) if one.first < one.end))

    def since(self, frame: float) -> Layout:
        """This layout with its frames counted from another one on."""
        objects = []
        for one in self.objects:
            path = tuple(replace(key, frame=key.frame - frame) for key in one.path)
            first, end = one.first - frame, one.end - frame
            objects.append(replace(one, path=path, first=first, end=end))
        return Layout(tuple(objects), self.prompt)


def latent_instants(numbers: Sequence[int], stride: int) -> list[tuple[float, float, float]]:
    """The first, the middle and the last video frame of each of these latent frames: the first
    holds one image, the others `stride`."""
    found = []
    for number in numbers:
        last = float(stride * number)
        first = last - stride + 1 if number else 0.0
        found.append((first, (first + last) / 2, last))
    return found


def instant_frames(numbers: Sequence[int], stride: int) -> list[float]:
    """The instants of these latent frames, each once, in order: where a planner sets keyframes."""
    return sorted({frame for one in latent_instants(numbers, stride) for frame in one})
