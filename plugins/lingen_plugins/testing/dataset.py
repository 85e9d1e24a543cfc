"""The check of datasets."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from lingen_plugins.contracts import Dataset
from lingen_plugins.testing.claims import Claims

NEEDED = ("sample_scene", "caption", "render", "vocabulary")
SIZE, FRAMES = 64, 5


def check_dataset(dataset: Dataset) -> None:
    """Clips and captions by seed, as the trainer draws them from the playground.

    What `build(config)` returns has `FPS`, `sample_scene(seed)`, `caption(scene, seed, still=)`,
    `render(scenes, frames, size, start=)` and `vocabulary()`; see `lingen_playground`.
    """
    claims = Claims.of(dataset, Dataset)
    _check_refusal(claims, dataset)
    data = dataset.build({})
    remedy = "the trainer calls it, as lingen_playground has it"
    claims.callables(data, "function", NEEDED, remedy)
    fps = getattr(data, "FPS", None)
    claims.expect(
        isinstance(fps, int) and fps >= 1,
        f"FPS is {fps!r}",
        "it must be the frames in a second, an int",
    )
    _check_captions(claims, data)
    _check_clips(claims, data)


def _check_refusal(claims: Claims, dataset: Dataset) -> None:
    try:
        dataset.build({"no-such-setting": 1})
    except ValueError:
        return
    raise claims.broken(
        "build takes a setting that does not exist",
        "raise ValueError for unknown settings, or a misspelt one is never noticed",
    )


def _check_captions(claims: Claims, data: Any) -> None:
    words = set(data.vocabulary())
    captions = []
    for seed in range(20):
        for still in (False, True):
            scene = data.sample_scene(seed)
            text = data.caption(scene, seed, still=still)
            claims.expect(
                isinstance(text, str) and text.strip() and text.isprintable(),
                f"the caption of scene {seed} is {text!r}",
                "it must be one line of words",
            )
            again = data.caption(data.sample_scene(seed), seed, still=still)
            claims.expect(
                again == text,
                f"the caption of scene {seed} differs from call to call",
                "draw from a generator that is seeded by `seed`",
            )
            captions.append(text)
    claims.expect(len(set(captions)) > 1, "all captions are the same", "let the seed choose")
    from lingen_models.networks.word_encoder import split_words

    unknown = {word for text in captions for word in split_words(text)} - words
    claims.expect(
        not unknown,
        f"captions use {sorted(unknown)}, which vocabulary() lacks",
        "the text encoder learns only the words in vocabulary()",
    )


def _check_clips(claims: Claims, data: Any) -> None:
    import torch

    scenes = [data.sample_scene(seed) for seed in range(3)]
    clips = claims.tensor(
        f"render of {len(scenes)} scenes, {FRAMES} frames, {SIZE} pixels",
        data.render(scenes, FRAMES, SIZE),
        (len(scenes), 3, FRAMES, SIZE, SIZE),
    )
    low, high = float(clips.min()), float(clips.max())
    claims.expect(
        clips.dtype == torch.float32 and low >= -1.001 and high <= 1.001,
        f"render gives {clips.dtype} from {low:g} to {high:g}",
        "pixels are float32 from -1 to 1",
    )
    claims.expect(
        any(not torch.equal(one, other) for one, other in pairwise(clips)),
        "scenes of other seeds look the same",
        "let the seed choose the scene",
    )
    alone = data.render([data.sample_scene(1)], FRAMES, SIZE)
    claims.expect(
        torch.allclose(alone[0], clips[1], atol=1e-4),
        "a scene looks otherwise when it is rendered again, by itself",
        "its pixels must depend on its seed alone",
    )
    later = data.render(scenes, FRAMES - 1, SIZE, start=1 / data.FPS)
    claims.expect(
        torch.allclose(later, clips[:, :, 1:], atol=1e-3),
        "a clip that starts a frame later is not the rest of the longer one",
        "frame i of render(..., start=s) shows the time s + i / FPS",
    )
