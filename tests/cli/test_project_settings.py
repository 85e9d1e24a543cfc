"""Settings files of projects: what they may not do, and whose files count."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from lingen_cli.generation import latent_cache
from lingen_cli.inputs.settings import CacheLimit, load, nearest_file, user_file
from tests.cli.protocols import RunHere


@pytest.fixture
def cache(clean_environment: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Any]]:
    """Latents of three videos, of 4 MB each."""
    monkeypatch.setenv(latent_cache.FOLDER_VARIABLE, str(clean_environment / "cache"))
    for number in range(3):
        latent_cache.store(torch.full((1_000_000,), float(number)), str(number) * 64, LIMIT)
    return lambda: sorted(one.digest[0] for one in latent_cache.entries())


LIMIT = CacheLimit(store=10**9, prune=10**9)


def make(lingen_here: RunHere, tiny_weights: Path) -> None:
    options = ("--frames", 9, "--size", 64, "--steps", 1, "--weights", tiny_weights)
    result = lingen_here("generate", "a red ball", *options, "-o", "a.mp4")
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("megabytes", [0, 1])
def test_a_project_never_removes_from_the_cache(
    cache: Callable[..., list[Any]], lingen_here: RunHere, tiny_weights: Path, megabytes: int
) -> None:
    Path("lingen.toml").write_text(f"cache_megabytes = {megabytes}")
    make(lingen_here, tiny_weights)
    assert cache() == ["0", "1", "2"]  # nor was anything added
    assert lingen_here("cache", "prune").returncode == 0
    assert cache() == ["0", "1", "2"]


def test_a_project_may_let_more_be_kept_only_as_the_user_does(
    cache: Callable[..., list[Any]],
    lingen_here: RunHere,
    tiny_weights: Path,
    clean_environment: Path,
) -> None:
    Path("lingen.toml").write_text("cache_megabytes = 4000")
    assert load().cache == CacheLimit(store=2048 * 10**6, prune=2048 * 10**6)
    user = user_file()
    assert user is not None
    user.parent.mkdir(parents=True)
    user.write_text("cache_megabytes = 9")
    assert load().cache == CacheLimit(store=9 * 10**6, prune=9 * 10**6)
    make(lingen_here, tiny_weights)
    assert len(cache()) == 3  # the new one, and the two that were used last
    assert "0" not in cache()


def test_the_limit_of_the_user_removes(
    cache: Callable[..., list[Any]],
    lingen_here: RunHere,
    tiny_weights: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Path("lingen.toml").write_text("cache_megabytes = 4000")
    monkeypatch.setenv("LINGEN_CACHE_MEGABYTES", "0")
    assert load().cache == CacheLimit(store=0, prune=0)
    make(lingen_here, tiny_weights)
    assert cache() == []


@pytest.mark.skipif(os.geteuid() != 0, reason="makes files of other users")
def test_a_file_above_that_somebody_else_has_written(clean_environment: Path) -> None:
    above = clean_environment / "shared"
    here = above / "mine"
    here.mkdir(parents=True)
    planted, own = above / "lingen.toml", clean_environment / "lingen.toml"
    planted.write_text("steps = 3")
    own.write_text("steps = 5")
    assert nearest_file(here) == planted
    os.chown(planted, 65534, 65534)
    assert nearest_file(here) == own
    values: Any = load(start=here).values
    assert values.steps == 5
    assert nearest_file(above) == planted  # who works in a folder has chosen it
    os.chown(here, 65534, 65534)
    assert nearest_file(here) == planted  # a checkout that is mounted into a container
