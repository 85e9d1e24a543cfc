"""Clips that a stage makes of a few prompts while it trains, so that its progress can be seen.

Noise and prompts are always the same, and nothing of a training depends on them.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lingen_models.checkpoints.load_networks import VideoAutoencoder
from lingen_models.pipelines.text_to_video import expanded, layout_discs
from lingen_models.sampling.denoise import SamplingMethod, TextFeatures, sample_latents
from lingen_models.sampling.guidance import Guidance
from lingen_models.sampling.layout import instant_frames
from lingen_models.sampling.solvers import dpm_multistep
from lingen_playground import as_frames, canonical_caption, caption, sample_scene
from lingen_plugins.builtin.variants import plan_layout
from lingen_training.datasets.buckets import Draw
from lingen_training.datasets.clip_layouts import LayoutBatch
from lingen_training.datasets.world import PLAYGROUND, World, sides
from lingen_training.optimization.stage_logs import Sample
from lingen_training.stages.pair import Pair
from lingen_training.training_recipe import DenoiserStage

_PROMPTS = 4
_FIRST_SEED = 9_000_000
_LATENT_FRAMES = 5
"""The most: a clip of two seconds."""
_STEPS = 10
_METHOD = SamplingMethod(dpm_multistep, "shifted", guided_after=0.05)
_GUIDANCE = 2.0


def prompts_of(stage: DenoiserStage, world: World, *, still: bool) -> tuple[str, ...]:
    """Return the prompts of a stage's samples: its own, or captions of held-out scenes of the
    playground, or of `world`; of images where they are to be `still`."""
    if stage.sample_prompts:
        return stage.sample_prompts
    seeds = range(_FIRST_SEED, _FIRST_SEED + 10 * _PROMPTS)
    if world is PLAYGROUND or all(source.replay for source in stage.source):
        scenes = [sample_scene(seed, split="heldout") for seed in seeds]
        captions = [
            caption(scene, seed, still=True) if still else canonical_caption(scene)
            for scene, seed in zip(scenes, seeds, strict=True)
        ]
    else:
        captions = [world.caption(world.sample_scene(seed), seed, still=still) for seed in seeds]
    return tuple(dict.fromkeys(captions))[:_PROMPTS]


def shape_of(draws: Sequence[Draw]) -> tuple[int, int, int]:
    """Return latent frames, height and width in pixels of the samples of a stage: those of what is
    drawn from most often, at most two seconds."""
    own = [draw for draw in draws if not draw.source.replay] or list(draws)
    most = max(own, key=lambda draw: draw.source.share)
    width, height = sides(most.source.crop or most.size)
    return min(_LATENT_FRAMES, most.source.latent_frames), height, width


@torch.no_grad()
def sample_clips(
    pair: Pair,
    autoencoder: VideoAutoencoder,
    stage: DenoiserStage,
    prompts: Sequence[str],
    shape: tuple[int, int, int],
) -> list[Sample]:
    """Sample a clip of each prompt with the weights that are in `pair`, one after the other.

    Args:
        pair, autoencoder: stay as they are.
        stage: decides on steps, guidance and layouts.
        prompts: the number of each is the seed of its noise.
        shape: latent frames, height and width in pixels.
    """
    return [
        Sample(prompt, seed, _clip(pair, autoencoder, stage, prompt, seed, shape))
        for seed, prompt in enumerate(prompts)
    ]


def _clip(
    pair: Pair,
    autoencoder: VideoAutoencoder,
    stage: DenoiserStage,
    prompt: str,
    seed: int,
    shape: tuple[int, int, int],
) -> Tensor:
    device = next(autoencoder.parameters()).device
    frames, *pixels = shape
    size = [side // autoencoder.space_stride for side in pixels]
    generator = torch.Generator().manual_seed(seed)
    channels = pair.denoiser.config.latent_channels
    noise = torch.randn((1, channels, frames, *size), generator=generator).to(device)
    method, steps, guidance = _METHOD, _STEPS, Guidance(_GUIDANCE, start=_METHOD.guided_after)
    if stage.few_steps is not None:
        few = stage.few_steps
        method, steps, guidance = SamplingMethod(schedule=few.schedule), few.steps, Guidance(1.0)
    layout = None
    if stage.layout:
        words = pair.text_encoder
        unknown = [] if words is None else words.unknown_words(prompt)
        times = instant_frames(range(frames), autoencoder.time_stride)
        said = prompt if words is None else words.with_synonyms(prompt)
        layout = plan_layout(said, seed, times, None, unknown)
    features, masks = pair.read([expanded(prompt, layout)])
    read = None
    if layout is not None:
        patch = pair.denoiser.config.patch
        grid = (size[0] // patch[1], size[1] // patch[2])
        discs = layout_discs(layout, range(frames), grid, autoencoder.time_stride)
        read = LayoutBatch(discs, [[obj.phrase for obj in layout.objects]]).read(pair)
    away = pair.read([""])
    latents = sample_latents(
        pair.denoiser,
        noise,
        TextFeatures(tuple(features), tuple(masks), read),
        TextFeatures(tuple(away[0]), tuple(away[1])),
        times=method.times(steps),
        guidance=guidance,
        sampler=method.loop,
    )
    return as_frames(autoencoder.decode(latents)[0].float()).cpu()
