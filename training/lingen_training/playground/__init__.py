"""A procedural world of flat shapes that move: scenes by seed, their pixels, and their captions.

scene = sample_scene(7)
video = render([scene], frames=65, size=128)  # (1, 3, 65, 128, 128) in [-1, 1]
prompt = caption(scene, seed=7)
"""

from __future__ import annotations

from .caption import canonical_caption, caption
from .heldout import combinations, is_heldout
from .lexicon import vocabulary
from .render import render
from .sample import sample_scene
from .scene import Scene, SceneObject

__all__ = [
    "Scene",
    "SceneObject",
    "canonical_caption",
    "caption",
    "combinations",
    "is_heldout",
    "render",
    "sample_scene",
    "vocabulary",
]
