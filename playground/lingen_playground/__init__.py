"""A procedural world of flat shapes that move: scenes by seed, their pixels, their captions, and an
oracle that judges videos of them.

scene = sample_scene(7)
video = render([scene], frames=65, size=128)  # (1, 3, 65, 128, 128) in [-1, 1]
prompt = caption(scene, seed=7)
    verdict = judge(as_frames(video[0]), scene)
"""

from __future__ import annotations

from .caption import canonical_caption, caption, object_phrase
from .close_up import close_up_scene
from .heldout import combinations, is_heldout
from .lexicon import vocabulary
from .oracle import (
    Consistency,
    Measurement,
    SaidVerdict,
    Sighting,
    Verdict,
    consistency,
    judge,
    judge_said,
    measure,
)
from .reading import read_prompt
from .render import FPS, as_frames, course_of, extent, render
from .said import Said, SaidObject, natural_prompts
from .sample import sample_scene, scene_for
from .scene import Scene, SceneObject

__all__ = [
    "FPS",
    "Consistency",
    "Measurement",
    "Said",
    "SaidObject",
    "SaidVerdict",
    "Scene",
    "SceneObject",
    "Sighting",
    "Verdict",
    "as_frames",
    "canonical_caption",
    "caption",
    "close_up_scene",
    "combinations",
    "consistency",
    "course_of",
    "extent",
    "is_heldout",
    "judge",
    "judge_said",
    "measure",
    "natural_prompts",
    "object_phrase",
    "read_prompt",
    "render",
    "sample_scene",
    "scene_for",
    "vocabulary",
]
