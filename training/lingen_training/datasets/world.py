"""Worlds that a recipe draws clips and captions from: the playground, or a dataset of a plugin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, Self, cast, runtime_checkable

from torch import Tensor

import lingen_playground as playground
from lingen_models.sampling.layout import Layout
from lingen_plugins.guard import describe
from lingen_plugins.plugin_errors import UnknownNameError
from lingen_plugins.registry import Registry, collect
from lingen_training.training_recipe import Recipe, RecipeError

Size = int | tuple[int, int]
"""Side of square images in pixels, or width and height."""


def sides(size: Size) -> tuple[int, int]:
    """Width and height in pixels."""
    return (size, size) if isinstance(size, int) else size


class World(Protocol):
    """World that `build` of a `Dataset` returns. The playground takes more keywords."""

    def sample_scene(self, seed: int) -> Any:
        """Draw what a clip shows."""

    def caption(self, scene: Any, seed: int, *, still: bool = False) -> str:
        """Words for it."""

    def render(self, scenes: Sequence[Any], frames: int, size: int, *, start: float = 0) -> Tensor:
        """(B, 3, frames, size, size) in [-1, 1]."""

    def vocabulary(self) -> Sequence[str]:
        """Every word of every caption."""


PLAYGROUND = cast(World, playground)


@runtime_checkable
class MeasuredWorld(Protocol):
    """World whose clips are measured for layouts."""

    def layout(self, scene: Any, frames: int) -> Layout | None:
        """Layout of the first `frames` frames of a square clip; None where none is found."""


class FolderWorld(World, Protocol):
    """Footage of a folder, read by the caller of the trainer."""

    folder: Path
    fingerprint: str
    """Hash of all clips and captions."""
    clips: int
    """Files that can be trained on."""

    def render(self, scenes: Sequence[Any], frames: int, size: Size, *, start: float = 0) -> Tensor:
        """(B, 3, frames, height, width) in [-1, 1]."""

    def of(self, size: int, latent_frames: int) -> Self:
        """The part of it for a source of squares of one length. Raises ValueError where it has
        none."""

    def divided(
        self, sizes: Sequence[tuple[int, int]], lengths: Sequence[int]
    ) -> Mapping[tuple[tuple[int, int], int], Self]:
        """Parts of it by width and height, and latent frames: each clip is in the one whose
        proportions are the nearest, with the longest clips that it fills; images have one. Raises
        ValueError where it was not prepared for these."""


@runtime_checkable
class PreparedWorld(FolderWorld, Protocol):
    """Footage that has been encoded already (`lingen data prepare`)."""

    encoder_hash: str
    """Hash of what made its latents (`lingen_training.frozen_parts.encoder_hash`)."""
    autoencoder: Path
    """The weights file that names it."""
    footage: str
    """The folder that it was made of."""
    kept_frames: int
    """Latent frames of its shortest clips."""

    text_encoders: tuple[str, ...]
    """Digests of the frozen text encoders whose features of the captions it has."""

    def latents(self, scenes: Sequence[Any], latent_frames: int) -> Tensor:
        """(B, C, latent_frames, h, w) in bf16."""

    def text_features(self, encoder: int, caption: str) -> Tensor | None:
        """Features (L, D) of a caption by one of its text encoders; None where it has none."""


def find_world(
    recipe: Recipe, path: Path, registry: Registry | None, footage: FolderWorld | None = None
) -> World:
    """Find the dataset of the recipe in `path`; `registry` defaults to all plugins.

    Raises RecipeError for one that is unknown, or that does not know its settings, and for a
    recipe that names a folder where no `footage` is given.
    """
    data = recipe.data
    if data.folder is not None:
        if footage is None:
            raise RecipeError(f"{path}: data.folder: pass the footage that was read from it")
        return footage
    if data.dataset == "playground" and not data.config:
        return PLAYGROUND
    try:
        offered = collect() if registry is None else registry
        found: World = offered.datasets[data.dataset].build(dict(data.config))
    except UnknownNameError as error:
        raise RecipeError(f"{path}: data.dataset: {error}") from None
    except Exception as error:  # it may be anybody's
        raise RecipeError(f"{path}: data: {data.dataset}: {describe(error)}") from error
    return found


def rendered(
    world: World, scenes: Sequence[Any], frames: int, size: Size, start: float, device: Any
) -> Tensor:
    """A batch of clips on `device`, where the playground renders them. Only a FolderWorld has
    images that are not square."""
    if world is PLAYGROUND and isinstance(size, int):
        return playground.render(scenes, frames, size, start=start, device=device)
    return cast(FolderWorld, world).render(scenes, frames, size, start=start).to(device)
