"""Sources of a stage as they are drawn from: one for each size and length of a source with
buckets."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from lingen_training.datasets.world import PLAYGROUND, FolderWorld, Size, World, sides
from lingen_training.training_recipe import DenoiserStage, Recipe, RecipeError, Source


@dataclass(frozen=True)
class Draw:
    """Clips of one size and length, and the world that they are from. `source` has their share,
    rows and length."""

    source: Source
    size: Size
    world: World
    world_name: str
    """Tells the world from others; empty for the plain playground."""


def draws_of(stage: DenoiserStage, world: World, world_name: str) -> list[Draw]:
    """Return what the batches of `stage` are drawn from, in the order of its sources and buckets.

    Raises ValueError where a source with buckets has no clips.
    """
    found: list[Draw] = []
    for source in stage.source:
        if source.buckets is not None:
            found += _of_buckets(source, cast(FolderWorld, world))
        elif source.replay:
            found.append(Draw(source, source.size, PLAYGROUND, ""))
        else:
            found.append(Draw(source, source.size, world, world_name))
    return found


def _of_buckets(source: Source, world: FolderWorld) -> list[Draw]:
    """A draw for each bucket that has clips. Videos share what images leave by their numbers, and
    batches hold about as many tokens as `batch` clips of the largest bucket."""
    buckets = source.buckets
    assert buckets is not None
    held = world.divided(buckets.sides, buckets.latent_frames)
    stills = {key: part for key, part in held.items() if key[1] == 1 and part.clips}
    moving = {key: part for key, part in held.items() if key[1] > 1 and part.clips}
    parts = stills | moving
    if buckets.images is not None:
        parts = moving if buckets.images == 0 else stills if buckets.images == 1 else parts
    if not parts:
        kind = "images" if buckets.images == 1 else "videos"
        raise ValueError(f"no {kind} in {world.folder} for the buckets")
    share_of_images = buckets.images if stills and moving else None
    most = max(_size_of(key) for key in parts)
    everything = sum(part.clips for part in parts.values())
    draws = []
    for key, part in parts.items():
        share = part.clips / everything
        if share_of_images is not None:
            alike = stills if key in stills else moving
            weight = share_of_images if key in stills else 1 - share_of_images
            share = weight * part.clips / sum(one.clips for one in alike.values())
        changes = {
            "buckets": None,
            "latent_frames": key[1],
            "share": source.share * share,
            "batch": source.batch * most // _size_of(key),
            "clips": max(1, math.ceil(source.clips * part.clips / everything)),
        }
        name = f"folder {part.fingerprint}"
        draws.append(Draw(source.model_copy(update=changes), key[0], part, name))
    return draws


def check_buckets(recipe: Recipe, path: Path, world: World) -> None:
    """Raise RecipeError where buckets of the recipe in `path` have no clips."""
    for stage in recipe.stage:
        try:
            draws_of(stage, world, "")
        except ValueError as error:
            raise RecipeError(f"{path}: stage {stage.name!r}: {error}") from None


def _size_of(key: tuple[tuple[int, int], int]) -> int:
    """Latent pixels of a clip of a bucket, up to a factor."""
    (width, height), frames = key
    return width * height * frames


def bucket_lines(draws: Sequence[Draw]) -> list[str]:
    """Lines that say which buckets there are."""
    lines = []
    for draw in draws:
        if not isinstance(draw.size, int):
            width, height = sides(draw.size)
            source = draw.source
            files = cast(FolderWorld, draw.world).clips
            lines.append(
                f"bucket {width}x{height}, {source.latent_frames} latent frames: {files} files, "
                f"{source.clips} excerpts, {source.batch} in a batch"
            )
    return lines
