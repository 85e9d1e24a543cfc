"""Trainings on footage of several sizes and lengths."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest

from lingen_cli.datasets.footage import read_footage
from lingen_cli.datasets.video_folder import VideoFolder
from lingen_cli.media.images.image_files import write_png
from lingen_models.checkpoints.safetensors import load_tensors
from lingen_training.datasets.buckets import draws_of
from lingen_training.training_recipe import DenoiserStage
from tests.cli.test_data import RECIPE, killed_at, run, write_video

pytestmark = pytest.mark.e2e

WIDE, TALL = (128, 64), (64, 128)
SOURCE = """
[[stage.source]]
batch = 2
clips = 8

[stage.source.buckets]
sizes = ["128x64", "64x128"]
latent_frames = [2, 4]
images = 0.25
"""
BUCKETS = RECIPE.split("[[stage.source]]")[0] + SOURCE


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Wide and tall videos of one and of three seconds, and a wide image."""
    clips = tmp_path / "clips"
    clips.mkdir()
    write_video(clips / "wide-long.mp4", frames=48, size=(96, 54))
    write_video(clips / "wide-short.mp4", frames=20, size=(96, 48), shade=60)
    write_video(clips / "tall-long.mp4", frames=48, size=(54, 96), shade=20)
    write_video(clips / "tall-brief.mp4", frames=9, size=(48, 96), shade=90)
    write_png(clips / "still.png", np.full((60, 120, 3), 200, np.uint8))
    for path in list(clips.iterdir()):
        path.with_suffix(".txt").write_text(path.stem.replace("-", " "), encoding="utf-8")
    return clips


def stage(images: float | None = 0.25) -> DenoiserStage:
    buckets = {"sizes": ["128x64", "64x128"], "latent_frames": [2, 4], "images": images}
    source = {"batch": 2, "clips": 10, "buckets": buckets}
    return DenoiserStage.model_validate(
        {"name": "x", "steps": 1, "learning_rate": 1e-3, "source": [source]}
    )


def test_each_clip_is_in_the_nearest_bucket(folder: Path) -> None:
    parts = VideoFolder(read_footage(folder)).divided([WIDE, TALL], [4, 2])
    names = {
        key: sorted(Path(clip.path).stem for clip in part.footage.clips)
        for key, part in parts.items()
    }
    assert names == {
        (WIDE, 1): ["still"],
        (WIDE, 2): ["wide-short"],
        (WIDE, 4): ["wide-long"],
        (TALL, 2): ["tall-brief"],
        (TALL, 4): ["tall-long"],
    }
    tall = parts[TALL, 4]
    video = tall.render([tall.sample_scene(0)], 9, TALL)
    assert video.shape == (1, 3, 9, 128, 64)


def test_shares_rows_and_clips_of_the_buckets(folder: Path) -> None:
    world = VideoFolder(read_footage(folder))
    draws = {(draw.size, draw.source.latent_frames): draw for draw in draws_of(stage(), world, "")}
    assert draws[WIDE, 1].source.share == 0.25
    for key in ((WIDE, 2), (WIDE, 4), (TALL, 2), (TALL, 4)):
        assert draws[key].source.share == 0.75 / 4
    rows = {key: draw.source.batch for key, draw in draws.items()}
    assert rows == {(WIDE, 1): 8, (WIDE, 2): 4, (WIDE, 4): 2, (TALL, 2): 4, (TALL, 4): 2}
    assert all(draw.source.clips == 2 for draw in draws.values())
    assert len({draw.world_name for draw in draws.values()}) == 5
    assert {key[1] for key in _keys(stage(0), world)} == {2, 4}
    assert _keys(stage(1), world) == {(WIDE, 1)}
    free = draws_of(stage(None), world, "")
    assert all(draw.source.share == 0.2 for draw in free)
    drawn = random.Random(0).choices(
        list(draws), [one.source.share for one in draws.values()], k=4000
    )
    assert abs(drawn.count((WIDE, 1)) / 4000 - 0.25) < 0.03


def _keys(given: DenoiserStage, world: VideoFolder) -> set[tuple[object, int]]:
    return {(draw.size, draw.source.latent_frames) for draw in draws_of(given, world, "")}


def test_a_killed_training_in_buckets_ends_the_same(folder: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "own.toml"
    recipe.write_text(BUCKETS, encoding="utf-8")
    arguments = ("train", recipe, "--data", folder, "--processes", "1", "-o")
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    done = run(*arguments, whole)
    assert done.returncode == 0, done.stderr
    assert "own: bucket 128x64, 4 latent frames: 1 files, 2 excerpts, 2 in a batch" in done.stderr
    shapes = {
        tuple(load_tensors(path)[0]["latents"].shape[2:]) for path in (whole / "latents").iterdir()
    }
    assert shapes == {(1, 8, 16), (3, 8, 16), (5, 8, 16), (3, 16, 8), (5, 16, 8)}
    killed_at(cut / "own.jsonl", *arguments, cut)
    assert run(*arguments, cut).returncode == 0
    for name in ("denoiser", "text_encoder"):
        one, other = (load_tensors(place / f"{name}.safetensors")[0] for place in (whole, cut))
        assert all(np.array_equal(one[key].float(), other[key].float()) for key in one)


def test_a_forecast_counts_the_buckets(folder: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "own.toml"
    recipe.write_text(BUCKETS, encoding="utf-8")
    done = run("train", recipe, "--data", folder, "--dry-run", "--json", "--device-kind", "h100")
    assert done.returncode == 0, done.stderr
    (own,) = [one for one in json.loads(done.stdout)["stages"] if one["name"] == "own"]
    assert own["tokens_per_step"] == 8 * 32  # of every bucket as many


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('"128x64"', '"128 x 64"', "is not WIDTHxHEIGHT"),
        ('"128x64"', '"120x64"', "120 is no multiple of 16"),
        ("[2, 4]", "[1, 4]", "at least 2"),
        ("batch = 2", "batch = 2\nsize = 64", "in place of size and latent_frames"),
        ("batch = 2", "batch = 2\nreplay = true", "only a folder has clips of several sizes"),
        ("images = 0.25", "image = 0.25", "did you mean 'images'?"),
    ],
)
def test_wrong_buckets_are_one_line(
    old: str, new: str, told: str, folder: Path, tmp_path: Path
) -> None:
    recipe = tmp_path / "own.toml"
    recipe.write_text(BUCKETS.replace(old, new), encoding="utf-8")
    done = run("train", recipe, "--data", folder, "-o", tmp_path / "out")
    assert done.returncode == 65 and told in done.stderr, done.stderr
    assert len([line for line in done.stderr.splitlines() if "error" in line]) == 1
    assert not (tmp_path / "out").exists()


def test_buckets_need_clips_of_their_kind(folder: Path, tmp_path: Path) -> None:
    for path in folder.glob("*.mp4"):
        path.unlink()
        path.with_suffix(".txt").unlink()
    recipe = tmp_path / "own.toml"
    recipe.write_text(BUCKETS.replace("images = 0.25", "images = 0"), encoding="utf-8")
    done = run("train", recipe, "--data", folder, "-o", tmp_path / "out")
    assert done.returncode == 65 and "no videos in" in done.stderr
    assert not (tmp_path / "out").exists()
