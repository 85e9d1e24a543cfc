"""`lingen data prepare`: footage cut, resampled and encoded once, and trainings on it."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import shutil
import signal
import time
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from filelock import FileLock

import lingen_playground as playground
from lingen_cli.datasets.footage import read_footage
from lingen_cli.datasets.part_workers import prepare_parts
from lingen_cli.datasets.prepare_part import Part
from lingen_cli.datasets.prepare_plan import Options, Stretch, given_target
from lingen_cli.datasets.prepared_folder import PreparedFolder, read_prepared
from lingen_cli.media.images.image_files import write_png
from lingen_cli.media.writer import VideoWriter
from lingen_models.checkpoints.safetensors import load_tensors, read_metadata, save_tensors
from lingen_training.frozen_parts import encoder_hash
from tests.cli.forked import Forked
from tests.cli.test_data import run, write_video
from tests.tiny_recipe import STAGE, tiny_recipe

pytestmark = pytest.mark.e2e

FROM = ("--start-from",)
RECIPE = tiny_recipe(STAGE.format(more="").replace("clips = 1", "clips = 6"), name="own")
BUCKETS = tiny_recipe(
    """
[[stage]]
name = "one"
steps = 2
learning_rate = 1e-2

[[stage.source]]
batch = 2
clips = 6

[stage.source.buckets]
sizes = ["128x64", "64x128"]
latent_frames = [2, 4]
""",
    name="buckets",
)


def film(path: Path, shots: Sequence[tuple[int, int]], rate: Fraction = Fraction(16)) -> None:
    """Scenes of the playground, each of a seed and so many frames, one after the other."""
    with VideoWriter(path, width=64, height=64, fps=rate) as writer:
        for seed, frames in shots:
            video = playground.render([playground.sample_scene(seed)], frames, 64)
            writer.write(np.asarray(playground.as_frames(video[0])))
    path.with_suffix(".txt").write_text(f"film {path.stem}", encoding="utf-8")


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "own.toml"
    path.write_text(RECIPE, encoding="utf-8")
    return path


@pytest.fixture
def short(tmp_path: Path) -> Path:
    """Videos that are as long as a clip of `RECIPE` or shorter, and an image."""
    clips = tmp_path / "short"
    clips.mkdir()
    write_video(clips / "a.mp4", frames=17, shade=40)
    write_video(clips / "tall.mp4", frames=31, size=(48, 96), rate=30, shade=60)
    write_video(clips / "brief.mp4", frames=16, size=(64, 64), shade=90)
    write_png(clips / "still.png", np.full((80, 120, 3), 200, np.uint8))
    for path in list(clips.iterdir()):
        path.with_suffix(".txt").write_text(f"a grey {path.stem}", encoding="utf-8")
    return clips


@pytest.fixture
def films(tmp_path: Path) -> Path:
    """Videos with cuts, one of them with a shot that is too short, and a broken one."""
    clips = tmp_path / "films"
    clips.mkdir()
    film(clips / "a.mp4", [(1, 40), (2, 30)])
    film(clips / "b.mp4", [(3, 24), (4, 8), (5, 60)])
    film(clips / "c.mp4", [(6, 90)])
    (clips / "broken.mp4").write_text("no video", encoding="utf-8")
    return clips


def trained(data: Path, recipe: Path, out: Path, weights: Path) -> dict[str, torch.Tensor]:
    """Train on `data` with the autoencoder of `weights`; returns what it has trained."""
    out.mkdir()
    shutil.copy(weights / "autoencoder.safetensors", out)
    done = run("train", recipe, "--data", data, "--processes", "1", "-o", out)
    assert done.returncode == 0, done.stderr
    return load_tensors(out / "denoiser.safetensors")[0]


def test_uncut_footage_gives_the_clips_of_its_folder(
    short: Path, recipe: Path, tiny_weights: Path, tmp_path: Path
) -> None:
    prepared = tmp_path / "prepared"
    options = ("--recipe", recipe, "--start-from", tiny_weights, "--jobs", "1")
    done = run("data", "prepare", short, "-o", prepared, *options)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{prepared}\n"
    raw = trained(short, recipe, tmp_path / "raw", tiny_weights)
    own = trained(prepared, recipe, tmp_path / "own", tiny_weights)
    assert not (tmp_path / "own" / "latents").exists()
    assert all(torch.equal(raw[name], own[name]) for name in raw)
    (cached,) = (tmp_path / "raw" / "latents").iterdir()
    world = PreparedFolder(read_prepared(prepared)).of(64, 3)
    rngs = [random.Random(f"3/clip/{number}") for number in range(6)]
    drawn = [world.sample_scene(rng.randrange(2**31)) for rng in rngs]
    assert torch.equal(world.latents(drawn, 3), load_tensors(cached)[0]["latents"])
    assert {"a grey tall", "a grey brief"} <= {world.caption(one, 0) for one in drawn}


def test_buckets_of_uncut_footage_are_those_of_its_folder(
    tiny_weights: Path, tmp_path: Path
) -> None:
    clips = tmp_path / "clips"
    clips.mkdir()
    write_video(clips / "long.mp4", frames=33, size=(96, 48), shade=40)
    write_video(clips / "short.mp4", frames=17, size=(96, 48), shade=60)
    write_video(clips / "tall.mp4", frames=17, size=(48, 96), shade=90)
    write_png(clips / "still.png", np.full((60, 120, 3), 200, np.uint8))
    for path in list(clips.iterdir()):
        path.with_suffix(".txt").write_text(path.stem, encoding="utf-8")
    recipe, prepared = tmp_path / "buckets.toml", tmp_path / "prepared"
    recipe.write_text(BUCKETS, encoding="utf-8")
    done = run("data", "prepare", clips, "-o", prepared, "--recipe", recipe, *FROM, tiny_weights)
    assert done.returncode == 0, done.stderr
    raw = trained(clips, recipe, tmp_path / "raw", tiny_weights)
    own = trained(prepared, recipe, tmp_path / "own", tiny_weights)
    assert all(torch.equal(raw[name], own[name]) for name in raw)


def test_footage_is_cut_and_the_report_names_what_is_left_out(
    films: Path, recipe: Path, tiny_weights: Path, tmp_path: Path
) -> None:
    prepared = tmp_path / "prepared"
    arguments = ("data", "prepare", films, "-o", prepared, "--recipe", recipe, *FROM, tiny_weights)
    done = run(*arguments, "--json", "--jobs", "2")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["shots"], told["files"], told["files_in_all"]) == (5, 3, 4)
    (left,) = told["left_out"]
    assert left == {"file": "b.mp4", "begin": 1.5, "end": 2.0, "why": "shots shorter than 1 s"}
    (line,) = told["unusable"]
    assert "broken.mp4" in line
    report = (prepared / "report.txt").read_text(encoding="utf-8")
    assert line in report and "b.mp4: 1.5 to 2.0 s: shots shorter than 1 s" in report
    runs = [one.run for one in read_prepared(prepared).clips]
    assert [(one.file, one.shot, one.count) for one in runs] == [
        ("a.mp4", 0.0, 2),
        ("a.mp4", 2.5, 2),
        ("b.mp4", 0.0, 1),
        ("b.mp4", 2.0, 4),
        ("c.mp4", 0.0, 5),
    ]
    assert {one.caption for one in runs} == {"film a", "film b", "film c"}
    files = contents(prepared)
    again = run(*arguments, "--jobs", "1")  # of a folder that is done, nothing is made anew
    assert again.returncode == 0 and contents(prepared) == files
    check = run("data", "check", prepared)
    assert check.returncode == 0 and "clips         14" in check.stdout
    whole = run(*arguments, "--no-cut", "--overwrite", "--json")
    assert whole.returncode == 0 and json.loads(whole.stdout)["shots"] == 3
    other = run(*arguments, "--min-seconds", "2")
    assert other.returncode == 73 and "begun with other files or options" in other.stderr


def test_a_killed_preparation_goes_on_and_ends_the_same(
    films: Path, recipe: Path, tiny_weights: Path, tmp_path: Path
) -> None:
    # Fifteen minutes, so that there are several parts.
    film(films / "slow.mp4", [(seed, 1) for seed in range(90)], rate=Fraction(1, 10))
    command = ("data", "prepare", films, "--recipe", recipe, *FROM, tiny_weights, "--jobs", "2")
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    deadline = time.monotonic() + 200
    with Forked(*command, "-o", cut) as process:
        while not list((cut / "shards").glob("*.safetensors")) and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    kept = {path: path.stat().st_mtime_ns for path in (cut / "shards").glob("*.safetensors")}
    assert kept and not (cut / "prepared.json").exists()
    refused = run("train", recipe, "--data", cut, "-o", tmp_path / "out")
    assert refused.returncode == 65 and "is not prepared to its end" in refused.stderr
    for folder in (cut, whole):
        done = run(*command, "-o", folder)
        assert done.returncode == 0, done.stderr
    assert all(path.stat().st_mtime_ns == when for path, when in kept.items())
    assert contents(cut) == contents(whole)
    assert len(list((cut / "shards").iterdir())) == 4 > len(kept)


def contents(folder: Path) -> dict[str, bytes]:
    """The bytes of all files of a prepared folder."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def prepared(tiny_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small prepared folder."""
    root = tmp_path_factory.mktemp("prepared")
    (root / "clips").mkdir()
    film(root / "clips" / "a.mp4", [(1, 40)])
    options = ("--size", "64", "--latent-frames", "2", *FROM, tiny_weights)
    done = run("data", "prepare", root / "clips", "-o", root / "made", *options)
    assert done.returncode == 0, done.stderr
    return root / "made"


def test_what_another_autoencoder_has_made_is_refused(
    prepared: Path, recipe: Path, tiny_weights: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    tensors, metadata = load_tensors(tiny_weights / "autoencoder.safetensors")
    name = next(name for name in tensors if name.startswith("encoder.") and tensors[name].ndim > 1)
    tensors[name] = -tensors[name]
    save_tensors(out / "autoencoder.safetensors", tensors, metadata)
    done = run("train", recipe, "--data", prepared, "-o", out)
    assert done.returncode == 65 and done.stderr.count("error") == 1
    assert "was prepared with another autoencoder: lingen data prepare" in done.stderr
    assert [path.name for path in out.iterdir()] == ["autoencoder.safetensors"]


def test_a_decoder_that_was_trained_further_changes_nothing(
    prepared: Path, tiny_weights: Path, tmp_path: Path
) -> None:
    tensors, metadata = load_tensors(tiny_weights / "autoencoder.safetensors")
    name = next(name for name in tensors if name.startswith("decoder.") and tensors[name].ndim > 1)
    tensors[name] = -tensors[name]
    save_tensors(tmp_path / "other.safetensors", tensors, metadata)
    assert encoder_hash(tmp_path / "other.safetensors") == read_prepared(prepared).autoencoder


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("\nsize = 64", "\nsize = 80", "has no clips of 80x80 with 3 latent frames, but 64x64, 2"),
        ("latent_frames = 2", "latent_frames = 4", "has no clips of 64x64 with 5 latent frames"),
    ],
)
def test_a_recipe_for_which_it_was_not_prepared_is_refused(
    prepared: Path, tmp_path: Path, before: str, after: str, message: str
) -> None:
    recipe = tmp_path / "own.toml"
    recipe.write_text(RECIPE.replace(before, after, 1), encoding="utf-8")
    done = run("train", recipe, "--data", prepared, "-o", tmp_path / "out")
    assert done.returncode == 65 and message in done.stderr
    assert not (tmp_path / "out").exists()


def test_its_own_autoencoder_is_taken_as_it_is(prepared: Path, tmp_path: Path) -> None:
    out, recipe = tmp_path / "out", tmp_path / "own.toml"
    text = RECIPE.replace("steps = 1", "steps = 1\ndecoder_steps = 1", 1)
    recipe.write_text(text, encoding="utf-8")
    plan = run("train", recipe, "--data", prepared, "-o", out, "--dry-run", "--json")
    assert plan.returncode == 0 and json.loads(plan.stdout)["disk"]["latents"] == 0
    done = run("train", recipe, "--data", prepared, "--processes", "1", "-o", out)
    assert done.returncode == 0, done.stderr
    assert "decoder: stays as it is" in done.stderr
    name = "autoencoder.safetensors"
    assert (out / name).read_bytes() == (prepared / name).read_bytes()


def test_damage_is_found(prepared: Path, recipe: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(prepared, folder)
    (shard,) = (folder / "shards").iterdir()
    data = bytearray(shard.read_bytes())
    data[-1] ^= 255
    shard.write_bytes(data)
    done = run("data", "check", folder)
    assert done.returncode == 1 and f"damaged: {shard}; delete it" in done.stderr
    shard.unlink()
    gone = run("train", recipe, "--data", folder, "-o", tmp_path / "out")
    assert gone.returncode == 65 and "is missing: delete it, and prepare" in gone.stderr
    (folder / "prepared.json").write_text("{}", encoding="utf-8")
    assert run("data", "check", folder).returncode == 65


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (("--size", "100"), 2, "--size: 100: multiples of 16, at least 64"),
        (("--size", "big"), 2, "neither a side nor WIDTHxHEIGHT"),
        (
            ("--size", "64", "--size", "128", "--latent-frames", "1"),
            2,
            "give lengths of at least 2",
        ),
        (("--recipe", "nowhere"), 66, "no such file: nowhere"),
        (("--start-from", "nowhere"), 66, "no such folder of weights: nowhere"),
        (("--min-seconds", "30"), 65, "no clip comes out of it: see"),
    ],
)
def test_options_that_give_nothing(
    prepared: Path,
    tiny_weights: Path,
    tmp_path: Path,
    options: tuple[str, ...],
    code: int,
    message: str,
) -> None:
    clips = prepared.parent / "clips"
    done = run("data", "prepare", clips, "-o", tmp_path / "out", *FROM, tiny_weights, *options)
    assert done.returncode == code and message in done.stderr.replace("\n", " ")


def test_a_folder_with_something_else_stays_as_it_is(prepared: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine", encoding="utf-8")
    done = run("data", "prepare", prepared.parent / "clips", "-o", tmp_path)
    assert done.returncode == 73 and "holds something else" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_two_runs_do_not_make_one_folder(
    prepared: Path, tiny_weights: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(prepared, folder)
    options = ("--size", "64", "--latent-frames", "2", *FROM, tiny_weights)
    with FileLock(folder / ".lock"):
        done = run("data", "prepare", prepared.parent / "clips", "-o", folder, *options)
    assert done.returncode == 75 and "another run is preparing" in done.stderr


class Deadly(type(Path())):  # type: ignore[misc]
    """A path that ends the process that opens it, as a decoder may, but for the first one."""

    def __fspath__(self) -> str:
        if multiprocessing.parent_process() is not None:
            os.abort()
        return str(super().__fspath__())


def test_what_no_decoder_survives_is_left_out(prepared: Path, tmp_path: Path) -> None:
    clips, folder = prepared.parent / "clips", tmp_path / "made"
    (folder / "shards").mkdir(parents=True)
    shutil.copy(prepared / "autoencoder.safetensors", folder)
    good = replace(read_footage(clips).clips[0], path=clips / "a.mp4")
    bad = replace(good, path=Deadly(clips / "deadly.mp4"))
    target = given_target(["64"], [2], ())
    part = Part(
        0,
        folder / "shards" / "00000.safetensors",
        (Stretch(bad, 0, 0.0, 2.5), Stretch(good, 1, 0.0, 2.5)),
        clips,
        Options((target,), 1.0, True),
        "",
        "cpu",
    )
    prepare_parts([part], 1)
    facts = read_metadata(part.path)
    assert [(one["file"], one["count"]) for one in facts["runs"]] == [("a.mp4", 2)]
    (left,) = facts["left_out"]
    assert left["file"] == "deadly.mp4" and "no decoder survives it" in left["why"]
