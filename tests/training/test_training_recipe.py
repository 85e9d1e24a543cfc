"""Training recipes: what is read, and which line of complaint a wrong one gets."""

from __future__ import annotations

from pathlib import Path

import pytest

from lingen_models.network_config import PRESETS
from lingen_training.training_recipe import AutoencoderStage, RecipeError, TextSection, read_recipe

GOOD = """
name = "tiny"
seed = 3

[autoencoder]
steps = 2
widths = [8, 8, 16]

[text]
width = 64

[model]
preset = "small"
overrides = { depth = 2, text_dims = [64] }

[[stage]]
name = "first"
steps = 3
learning_rate = 1e-3

[[stage.source]]
size = 64
latent_frames = 1
batch = 2
clips = 4
"""


def read(folder: Path, text: str) -> str:
    """The message that a recipe of this text is refused with."""
    path = folder / "recipe.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(RecipeError) as caught:
        read_recipe(path)
    message = str(caught.value)
    assert message.startswith(f"{path}:")
    assert "\n" not in message
    return message


def test_a_good_recipe(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(GOOD)
    recipe = read_recipe(path)
    assert (recipe.name, recipe.seed, len(recipe.stage)) == ("tiny", 3, 1)
    assert isinstance(recipe.autoencoder, AutoencoderStage)
    assert recipe.autoencoder.config().widths == (8, 8, 16)
    assert isinstance(recipe.text, TextSection)
    assert recipe.text.config(("red",)).words == ("red",)
    config = recipe.model.config()
    assert (config.depth, config.text_dims) == (2, (64,))
    assert config.width == PRESETS["small"].width
    (source,) = recipe.stage[0].source
    assert (source.share, source.crop, source.cached_frames) == (1, None, 1)
    assert type(recipe).model_validate_json(recipe.model_dump_json()) == recipe


@pytest.mark.parametrize(
    ("old", "new", "field"),
    [
        ("steps = 2", "steps = 0", "autoencoder.steps"),
        ("steps = 2", "", "autoencoder.steps"),
        ("widths = [8, 8, 16]", "widths = [8, 8]", "autoencoder.widths"),
        ("size = 64", "size = 70", "stage.0.source.0.size"),
        ("size = 64", "size = 64\ncolor = 1", "stage.0.source.0.color"),
        ('name = "first"', 'name = "../first"', "stage.0.name"),
        ("learning_rate = 1e-3", "learning_rate = -1", "stage.0.learning_rate"),
        ("batch = 2", 'batch = "two"', "stage.0.source.0.batch"),
        ('preset = "small"', 'preset = "huge"', "model.preset"),
        ('name = "tiny"', 'name = "tiny"\nmystery = 1', "mystery"),
        ("depth = 2,", "dept = 2,", "model: LinGenConfig has no field dept"),
        ("depth = 2,", "width = 100,", "model: width 100 is not a multiple"),
        ("depth = 2,", 'width = "wide",', "model: "),
        ("depth = 2,", "head_dim = 0,", "model: "),
        ("depth = 2,", "latent_channels = 8,", "model: latent_channels must be 16"),
        ("text_dims = [64]", "text_dims = [128]", "model: text_dims [128] must be [64]"),
        ("width = 64", "width = 96", "model: text_dims [64] must be [96]"),
        ("steps = 2", "steps = 2\nframes = 12", "autoencoder: sizes"),
        ("steps = 2", "steps = 2\nsize = 68", "autoencoder: sizes"),
        ('name = "first"', 'name = "autoencoder"', "stage.0.name: 'autoencoder' is taken"),
        ("clips = 4", "clips = 4\nshare = 0", "stage.0.source.0.share"),
        ("clips = 4", "clips = 4\ncrop = 64", "stage.0.source.0.crop"),
        ("clips = 4", "clips = 4\ncrop = [64, 40]", "stage.0.source.0.crop: multiples of 16"),
        ("clips = 4", "clips = 4\ncrop = [80, 64]", "source.0.crop: multiples of 16 up to"),
        ("clips = 4", 'clips = 4\nmotions = ["flies"]', "stage.0.source.0.motions"),
        ("[[stage.source]]", "[stage.other]", "stage.0.other: unknown key"),
    ],
)
def test_the_field_at_fault_is_named(old: str, new: str, field: str, tmp_path: Path) -> None:
    assert old in GOOD
    assert field in read(tmp_path, GOOD.replace(old, new, 1))


def test_a_recipe_needs_a_stage(tmp_path: Path) -> None:
    assert "stage" in read(tmp_path, GOOD.split("[[stage]]")[0])


def test_clips_are_cut_from_longer_ones(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    for cut_from, cached in ((0, 4), (2, 4), (10, 10)):
        lines = f"latent_frames = 3\ncut_from = {cut_from}\ncrop = [64, 32]"
        path.write_text(GOOD.replace("latent_frames = 1", lines))
        (source,) = read_recipe(path).stage[0].source
        assert (source.crop, source.cached_frames) == ((64, 32), cached)


def test_stages_have_names_of_their_own(tmp_path: Path) -> None:
    stage = GOOD[GOOD.index("[[stage]]") :]
    assert "stage.1.name: 'first' is taken" in read(tmp_path, GOOD + stage)


def test_heads_divide_the_text_width(tmp_path: Path) -> None:
    wider = GOOD.replace("width = 64", "width = 96").replace("text_dims = [64]", "text_dims = [96]")
    assert "text.width: 96 is not a multiple of the head size" in read(tmp_path, wider)


def test_what_is_no_toml(tmp_path: Path) -> None:
    assert "not valid TOML" in read(tmp_path, "name = = 3")
    assert "not valid TOML" in read(tmp_path, "name = " + "[" * 100_000)
    path = tmp_path / "latin.toml"
    path.write_bytes(b'name = "\xff"')
    with pytest.raises(RecipeError, match=r"latin\.toml:1: not valid UTF-8"):
        read_recipe(path)
    with pytest.raises(FileNotFoundError):
        read_recipe(tmp_path / "none.toml")
