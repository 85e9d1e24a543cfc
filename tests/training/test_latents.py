"""The latent cache: what is in it, when it is read again, when it is not."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import torch

from lingen_models.network_config import TAEConfig
from lingen_models.networks.video_autoencoder import TemporalAutoencoder
from lingen_playground import Scene, extent, render, sample_scene
from lingen_training.datasets.clip_cache import ClipCache, LatentClips, Shard, fill_caches


@pytest.fixture(scope="module")
def network() -> TemporalAutoencoder:
    torch.manual_seed(0)
    config = TAEConfig(latent_channels=4, widths=(8, 8, 8), depths=(1, 1, 1))
    return TemporalAutoencoder(config).eval().requires_grad_(False)


class Cache:
    """`ClipCache` with small settings, filled and read, and the lines that filling reports."""

    def __init__(self, network: TemporalAutoencoder, folder: Path) -> None:
        self.network, self.folder = network, folder
        self.lines: list[str] = []

    def __call__(
        self,
        autoencoder_hash: str = "abc",
        clips: int = 3,
        latent_frames: int = 2,
        size: int = 64,
        seed: int = 0,
    ) -> LatentClips:
        cache = ClipCache(
            self.network, autoencoder_hash, clips, latent_frames, size, seed, self.folder
        )
        fill_caches([(cache, 0)], self.lines.append)
        return cache.read()


@pytest.fixture
def cache(network: TemporalAutoencoder, tmp_path: Path) -> Cache:
    return Cache(network, tmp_path / "latents")


def test_rendered_once_and_read_afterwards(cache: Cache) -> None:
    first = cache()
    assert first.latents.shape == (3, 4, 2, 8, 8)
    assert first.latents.dtype is torch.bfloat16
    assert len(first.scenes) == 3
    assert cache.lines == ["latents: clips 1 to 3, 9 frames"]
    again = cache()
    assert len(cache.lines) == 1
    assert torch.equal(again.latents, first.latents)
    assert again.scenes == first.scenes


def test_everything_that_decides_the_content_is_in_the_key(cache: Cache) -> None:
    first = cache(clips=1)
    seen = {path.name for path in cache.folder.iterdir()}
    changes: tuple[dict[str, Any], ...] = (
        {"seed": 1},
        {"size": 80},
        {"latent_frames": 1},
        {"autoencoder_hash": "another"},
        {"clips": 2},
    )
    for change in changes:
        other = cache(**{"clips": 1} | change)
        new = {path.name for path in cache.folder.iterdir()} - seen
        assert len(new) == 1, change
        seen |= new
        assert len(other.scenes) == len(other.latents)
    assert len(cache.lines) == 6
    assert cache(clips=1, seed=1).scenes != first.scenes


def test_a_killed_build_goes_on_shard_by_shard(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lingen_training.datasets.clip_cache._FILE_FRAMES", 4)  # two clips a file
    write = ClipCache.write

    def killed(self: ClipCache, shard: Shard) -> None:
        if shard.first == 2:
            raise KeyboardInterrupt
        write(self, shard)

    with monkeypatch.context() as patch:
        patch.setattr(ClipCache, "write", killed)
        with pytest.raises(KeyboardInterrupt):
            cache(clips=4)
    assert len(list(cache.folder.iterdir())) == 1
    clips = cache(clips=4)
    assert cache.lines == [
        "latents: clips 1 to 2, 9 frames",
        "latents: clips 3 to 4, 9 frames",
        "latents: clips 3 to 4, 9 frames",
    ]
    assert clips.latents.shape[0] == len(clips.scenes) == 4


def test_pick_keeps_clips_and_scenes_together(cache: Cache) -> None:
    clips = cache()
    chosen, scenes, indices, begins, corners = clips.pick(random.Random(5), 16, 2)
    assert [clips.scenes[index] for index in indices] == scenes
    assert begins == [0] * 16 and corners == [(0, 0)] * 16
    for latent, scene in zip(chosen, scenes, strict=True):
        assert torch.equal(latent, clips.latents[clips.scenes.index(scene)])
    assert len({scene.seed for scene in scenes}) > 1
    again = clips.pick(random.Random(5), 16, 2).latents
    assert torch.equal(again, chosen)


FRAMES, GRID = 6, 16


def numbered(scenes: list[Scene]) -> LatentClips:
    """Clips whose pixels hold the clip's number, their frame, their line and their column."""
    ranges = (torch.arange(FRAMES), torch.arange(GRID), torch.arange(GRID))
    cells = torch.stack(torch.meshgrid(*ranges, indexing="ij"))
    clips = [
        torch.cat((torch.full((1, FRAMES, GRID, GRID), index), cells))
        for index in range(len(scenes))
    ]
    return LatentClips(torch.stack(clips), scenes, [0.25 * index for index in range(len(scenes))])


@pytest.mark.parametrize(
    ("frames", "inside", "window"),
    [(1, False, (8, 8)), (3, False, (8, 8)), (3, True, (16, 8)), (2, True, (8, 12))],
)
def test_close_windows_hold_their_objects_in_every_frame(
    frames: int, inside: bool, window: tuple[int, int]
) -> None:
    scenes = [sample_scene(seed) for seed in range(60)]
    clips = numbered(scenes)
    wide, high = window
    picked = clips.pick(random.Random(0), 200, frames, inside=inside, window=window)
    pieces, chosen = picked.latents, picked.scenes
    assert pieces.shape == (200, 4, frames, high, wide)
    places = zip(picked.indices, picked.begins, picked.corners, strict=True)
    for piece, scene in zip(pieces, chosen, strict=True):
        index = scenes.index(scene)
        assert (piece[0] == index).all()
        begin, top, left = (int(piece[axis, 0, 0, 0]) for axis in (1, 2, 3))
        assert torch.equal(
            piece[1:],
            clips.latents[0, 1:, begin : begin + frames, top : top + high, left : left + wide],
        )
        assert (begin > 0) == inside
        assert (index, begin, (left, top)) == next(places)
        first, last = max(0, 8 * begin - 7), 8 * (begin + frames - 1)  # images of these frames
        times = clips.starts[index] + torch.arange(first, last + 1, dtype=torch.float64) / 16
        for x0, y0, x1, y1 in (GRID * extent(scene, times)).clamp(0, GRID).tolist():
            assert left <= x0 and x1 <= left + wide and top <= y0 and y1 <= top + high
    assert len({scene.seed for scene in chosen}) > 10
    assert len({tuple(piece[1:, 0, 0, 0].tolist()) for piece in pieces}) > 20
    again = clips.pick(random.Random(0), 200, frames, inside=inside, window=window).latents
    assert torch.equal(again, pieces)


def test_close_windows_that_hold_nothing_are_refused() -> None:
    clips = numbered([sample_scene(seed, objects=2) for seed in range(3)])
    with pytest.raises(ValueError, match=r"no clips whose objects fit into \(2, 2\) of 16 x 16"):
        clips.pick(random.Random(0), 1, 1, window=(2, 2))


def test_only_some_motions() -> None:
    scenes = [sample_scene(seed) for seed in range(60)]
    clips = numbered(scenes)
    found = clips.only(("moves", "spins"))
    assert 3 < len(found.scenes) < 50
    for scene, start, latent in zip(found.scenes, found.starts, found.latents, strict=True):
        index = scenes.index(scene)
        assert {obj.motion for obj in scene.objects} <= {"moves", "spins"}
        assert (latent[0] == index).all()
        assert start == clips.starts[index]
    assert {obj.motion for scene in found.scenes for obj in scene.objects} == {"moves", "spins"}
    with pytest.raises(ValueError, match="none of 1 clips shows only moves"):
        numbered([sample_scene(0, objects=1)]).only(("moves",))


def test_starts_are_those_that_were_rendered(cache: Cache) -> None:
    clips = cache(clips=6, latent_frames=1)
    assert len(clips.starts) == 6
    for index, (scene, start) in enumerate(zip(clips.scenes, clips.starts, strict=True)):
        video = render([scene], 1, 64, start=start)
        same = cache.network.encode(video).to(torch.bfloat16)[0]
        assert torch.allclose(same.float(), clips.latents[index].float(), atol=0.05)


def test_later_generations_replace_the_oldest_clips(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lingen_training.datasets.clip_cache._FILE_FRAMES", 4)  # two clips a file
    clips = ClipCache(cache.network, "abc", 6, 2, 64, 0, cache.folder)
    fill_caches([(clips, 0)], cache.lines.append)
    fill_caches([(clips, 1)], cache.lines.append)
    assert cache.lines[3:] == ["latents: clips 7 to 8, 9 frames"]
    first, second = clips.read(), clips.read(1)
    assert torch.equal(first.latents[2:], second.latents[:4])
    assert first.scenes[2:] == second.scenes[:4]
    assert second.scenes[4:] != first.scenes[:2]


def test_close_ups_are_kept_apart_and_read_back(cache: Cache) -> None:
    clips = ClipCache(cache.network, "abc", 2, 2, 64, 0, cache.folder, close_up=True)
    whole = cache(clips=2)
    fill_caches([(clips, 0)], cache.lines.append)
    found = clips.read()
    assert all(scene.closeness == 2 for scene in found.scenes)
    assert all(scene.closeness == 1 for scene in whole.scenes)
    video = render(found.scenes[:1], 9, 64, start=found.starts[0])
    same = cache.network.encode(video).to(torch.bfloat16)
    assert torch.allclose(same.float(), found.latents[:1].float(), atol=0.05)
