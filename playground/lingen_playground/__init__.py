"""A procedural world of flat shapes that move: scenes by seed, their pixels, their captions, and an
oracle that judges videos of them.

scene = sample_scene(7)
video = render([scene], frames=65, size=128)  # (1, 3, 65, 128, 128) in [-1, 1]
prompt = caption(scene, seed=7)
    verdict = judge(as_frames(video[0]), scene)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lingen_playground.captions.caption import canonical_caption, caption, object_phrase
    from lingen_playground.captions.lexicon import vocabulary
    from lingen_playground.captions.natural_prompts import Said, SaidObject, natural_prompts
    from lingen_playground.captions.prompt_reader import read_prompt
    from lingen_playground.oracle.judge import (
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
    from lingen_playground.rendering.render import FPS, as_frames, course_of, extent, render
    from lingen_playground.scenes.close_up import close_up_scene
    from lingen_playground.scenes.heldout import combinations, is_heldout
    from lingen_playground.scenes.scene import Scene, SceneObject
    from lingen_playground.scenes.scene_sampler import sample_scene, scene_for

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

_MODULES = (
    "scenes.scene",
    "scenes.heldout",
    "captions.lexicon",
    "captions.natural_prompts",
    "captions.caption",
    "captions.prompt_reader",
    "scenes.scene_sampler",
    "scenes.close_up",
    "rendering.render",
    "oracle.judge",
)
"""Where the names are. Modules are imported in this order until one has the name that is used: only
the last four need torch."""


def __getattr__(name: str) -> Any:
    for module in _MODULES if name in __all__ else ():
        found = import_module(f"{__name__}.{module}")
        if hasattr(found, name):
            return getattr(found, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
