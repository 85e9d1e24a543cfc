import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from lingen_cli.media.metadata import clean_tag, read_recipe, recipe_tags

Make = Callable[..., Path]
RECIPE: dict[str, object] = {
    "prompt": 'a "réd" \udc80 \0 ball\n<b>[red]',
    "seed": 2**63,
    "guidance": 4.5,
    "image": None,
    "files": {"denoiser": "abc"},
}


def test_a_recipe_comes_back_exactly(make_video: Make) -> None:
    assert read_recipe(make_video(metadata=recipe_tags(RECIPE, "a ball"))) == RECIPE


def test_it_survives_a_plain_copy_by_ffmpeg(make_video: Make, ffmpeg: str, tmp_path: Path) -> None:
    copy = tmp_path / "copy.mp4"
    source = make_video(metadata=recipe_tags(RECIPE))
    subprocess.run([ffmpeg, "-v", "error", "-i", source, "-c", "copy", copy], check=True)
    assert read_recipe(copy) == RECIPE


@pytest.mark.parametrize(
    "comment",
    [
        "",
        "made on a boat",
        "{",
        "[1]",
        '{"prompt": "x"}',
        '{"lingen": "x"}',
        '{"lingen": {"guidance": NaN}}',
        '{"lingen": ' * 100_000,
        '{"lingen": {"seed": ' + "9" * 5000 + "}}",
    ],
    ids=range(9),
)
def test_foreign_comments_are_no_recipe(make_video: Make, comment: str) -> None:
    assert read_recipe(make_video(metadata={"comment": comment})) is None


def test_video_without_any_tag(make_video: Make) -> None:
    assert read_recipe(make_video()) is None


def test_a_recipe_must_be_json() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        recipe_tags({"guidance": float("nan")})
    with pytest.raises(TypeError):
        recipe_tags({"path": Path("x")})
    with pytest.raises(ValueError, match="at most 1048576"):
        recipe_tags({"prompt": "x" * (1 << 20)})


def test_tags_hold_only_what_mp4_can_hold() -> None:
    assert clean_tag("a\0b\udcffc é") == "ab?c é"
    assert set(recipe_tags({}, None)) == {"comment"}
