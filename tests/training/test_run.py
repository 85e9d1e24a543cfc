"""A whole training of a few steps: its files, its resumption, its refusals."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from lingen_models.checkpoints.safetensors import load_tensors, read_metadata, sha256_file
from lingen_models.pipelines.text_to_video import TextToVideo
from lingen_models.sampling.conditioning import Conditioning
from lingen_models.sampling.params import SamplingParams
from lingen_playground import vocabulary
from lingen_playground.captions.lexicon import plain_vocabulary
from lingen_training.optimization.stage_logs import read_log
from lingen_training.trainer import train
from lingen_training.training_recipe import RecipeError
from tests.tiny_recipe import PARTS, tiny_recipe

RECIPE = tiny_recipe(
    """
[[stage]]
name = "images"
steps = 2
learning_rate = 1e-3

[[stage.source]]
size = 64
latent_frames = 1
batch = 2
clips = 3

[[stage]]
name = "short"
steps = 3
learning_rate = 1e-3

[[stage.source]]
size = 64
latent_frames = 2
batch = 2
clips = 2

[[stage.source]]
size = 64
latent_frames = 1
batch = 2
clips = 2
""",
    parts=PARTS.replace("steps = 1", "steps = 2"),
)
RESULTS = ("autoencoder", "denoiser", "text_encoder")


def recipe(folder: Path, old: str = "", new: str = "") -> Path:
    assert old in RECIPE
    path = folder / "recipe.toml"
    path.write_text(RECIPE.replace(old, new, 1) if old else RECIPE)
    return path


def ignore(line: str) -> None:
    assert "\n" not in line


def killer(text: str) -> Callable[[str], None]:
    """A report that stops the programme at the first line with `text`."""

    def report(line: str) -> None:
        if text in line:
            raise KeyboardInterrupt

    return report


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted training."""
    folder = tmp_path_factory.mktemp("trained")
    return train(recipe(folder), folder / "out", report=ignore)


def test_the_weights_generate(trained: Path) -> None:
    paths = [trained / f"{name}.safetensors" for name in RESULTS]
    pipe = TextToVideo.load(paths[1], paths[0], (paths[2],), dtype=torch.float32)
    assert pipe.unknown_words("a red ball moves left") == []
    latents = pipe.sample(
        Conditioning("a red ball"), SamplingParams(steps=2), frames=5, height=64, width=64
    )
    assert torch.isfinite(latents).all()
    assert sum(len(piece) for piece in pipe.decode(latents, 5)) == 5


def test_the_files_say_what_made_them(trained: Path) -> None:
    for name, kind in zip(RESULTS, ("tae", "lingen", "words"), strict=True):
        assert read_metadata(trained / f"{name}.safetensors")["kind"] == kind
    training = read_metadata(trained / "denoiser.safetensors")["training"]
    assert training["last_stage"] == "short"
    assert training["recipe"]["name"] == "tiny"
    assert training["autoencoder_sha256"] == sha256_file(trained / "autoencoder.safetensors")
    for name, steps in (("autoencoder", 2), ("images", 2), ("short", 3)):
        assert read_log(trained / f"{name}.jsonl")[-1]["step"] == steps
    assert json.loads((trained / "recipe.json").read_text())["seed"] == 3


@pytest.mark.parametrize("kill_at", ["images: done", "short 3/3", "short: done"])
def test_a_killed_training_ends_as_an_uninterrupted_one(
    kill_at: str, trained: Path, tmp_path: Path
) -> None:
    path, out = recipe(tmp_path), tmp_path / "out"
    # The autoencoder and its latents are those of the whole run: these kills come after them.
    out.mkdir()
    for file in trained.glob("autoencoder.*"):
        (out / file.name).write_bytes(file.read_bytes())
    (out / "latents").symlink_to(trained / "latents")
    images = trained / "images.state.safetensors"
    (out / images.name).write_bytes(images.read_bytes())
    with pytest.raises(KeyboardInterrupt):
        train(path, out, report=killer(kill_at))
    lines: list[str] = []
    train(path, out, report=lines.append)
    assert not any(line.startswith(("autoencoder", "latents", "images 2/2")) for line in lines)
    for name in RESULTS:
        assert sha256_file(out / f"{name}.safetensors") == sha256_file(
            trained / f"{name}.safetensors"
        )


@pytest.mark.parametrize(
    ("changes", "anew"),
    [
        ({"review": "none"}, False),
        ({"scan_axes": ["hilbert-thw"]}, False),
        ({"tesa_branch": False}, False),
        ({"mamba_branch": False}, False),
        ({"mixer": "attention"}, True),
    ],
)
def test_a_variant_begins_from_the_weights_that_it_shares(
    changes: dict[str, object], anew: bool, trained: Path, tmp_path: Path
) -> None:
    model = read_metadata(trained / "denoiser.safetensors")["config"] | changes
    path, out, lines = recipe(tmp_path), tmp_path / "out", list[str]()
    text = path.read_text().replace("learning_rate = 1e-3", "learning_rate = 1e-9")
    path.write_text(text)
    out.mkdir()
    (out / "latents").symlink_to(trained / "latents")
    train(path, out, report=lines.append, start_from=trained, model=model)
    assert any("begin anew: blocks.0.mixer." in line for line in lines) == anew
    made, _ = load_tensors(out / "denoiser.safetensors")
    begun, _ = load_tensors(trained / "denoiser.safetensors")
    kept = {name for name in made if ".mixer." not in name or not anew}
    assert kept <= begun.keys()
    assert all(torch.allclose(made[name], begun[name], atol=1e-5) for name in kept)
    assert read_metadata(out / "denoiser.safetensors")["config"] == model


def test_a_finished_training_is_not_repeated(trained: Path, tmp_path: Path) -> None:
    before = {path.name: sha256_file(path) for path in trained.glob("*.safetensors")}
    lines: list[str] = []
    train(recipe(tmp_path), trained, report=lines.append)
    assert [line.split(",")[0] for line in lines] == ["images: done", "short: done"]
    assert {path.name: sha256_file(path) for path in trained.glob("*.safetensors")} == before


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ("seed = 3", "seed = 4", "seed differs"),
        ("depths = [1, 1, 1]", "depths = [1, 1, 2]", "autoencoder differs"),
        ("depth = 2", "depth = 3", "model differs"),
        ("clips = 3", "clips = 4", "stage images differs"),
    ],
)
def test_another_recipe_is_not_mixed_in(
    old: str, new: str, what: str, trained: Path, tmp_path: Path
) -> None:
    with pytest.raises(RecipeError, match=f"{what} from what"):
        train(recipe(tmp_path, old, new), trained, report=ignore)


def test_a_used_folder_is_refused_when_not_resuming(trained: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="holds a training already"):
        train(recipe(tmp_path), trained, report=ignore, resume=False)


def test_beginning_from_earlier_weights(trained: Path, tmp_path: Path) -> None:
    out = tmp_path / "more"
    train(recipe(tmp_path), out, report=ignore, start_from=trained)
    autoencoder = "autoencoder.safetensors"
    assert (out / autoencoder).read_bytes() == (trained / autoencoder).read_bytes()
    denoiser = "denoiser.safetensors"
    assert sha256_file(out / denoiser) != sha256_file(trained / denoiser)


def test_natural_captions_bring_their_words(trained: Path, tmp_path: Path) -> None:
    """And those of the weights that it starts from are kept, also by a plain recipe after it."""
    words = {}
    folder = trained
    for name, old, new in (
        ("natural", 'name = "short"', 'natural = 0.5\nname = "short"'),
        ("plain", "steps = 3", "steps = 2"),
    ):
        path = recipe(tmp_path, old, new)
        folder = train(path, tmp_path / name, report=ignore, start_from=folder)
        config = read_metadata(folder / "text_encoder.safetensors")["config"]
        words[name] = tuple(config["words"])
    first = read_metadata(trained / "text_encoder.safetensors")["config"]["words"]
    assert tuple(first) == plain_vocabulary()
    assert words == {"natural": vocabulary(), "plain": vocabulary()}


def test_a_stage_that_validates_keeps_the_average_and_trains_in_two_processes(
    tmp_path: Path,
) -> None:
    path = tmp_path / "recipe.toml"
    source = "[[stage.source]]\nsize = 64\nlatent_frames = 2\nbatch = 2\nclips = 2\n"
    more = "batches = 2\nalignment = 0.3\nvalidate_every = 2\nnatural = 0.5\nrefresh = 2\n"
    stage = f'[[stage]]\nname = "motion"\nsteps = 3\nlearning_rate = 1e-3\n{more}{source}'
    path.write_text(
        RECIPE[: RECIPE.index("[[stage]]")] + stage + "close_up = true\nfresh = 1\nalike = 0.5\n"
    )
    kept: list[str] = []

    def report(line: str) -> None:
        if line.startswith("motion 2: loss"):
            kept.append(read_metadata(out / "denoiser.safetensors")["training"]["last_stage"])

    out = tmp_path / "out"
    train(path, out, report=report, processes=2)
    assert kept == ["motion"]
    checks = read_log(out / "motion.validation.jsonl")
    assert [record["step"] for record in checks] == [2, 3]
    assert (
        checks[-1]["tokens"] == read_log(out / "motion.jsonl")[-1]["tokens"] == 3 * 2 * 2 * 2 * 16
    )
    assert set(checks[0]) == {"step", "tokens", "loss", "t0.08", "t0.15", "t0.25", "t0.4"}
    tensors, _ = load_tensors(out / "motion.averaged.safetensors")
    assert not any("alignment" in name for name in tensors)
    assert len(list((out / "latents").iterdir())) == 1  # the first clips are gone
