from itertools import islice
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lingen_cli.files.names import MAX_BYTES, free_names, slug


@pytest.mark.parametrize(
    ("prompt", "name"),
    [
        ("a red ball bounces on green grass", "a-red-ball-bounces-on-green-grass"),
        ("  Two STARS, spinning! ", "two-stars-spinning"),
        ("../../etc/passwd", "etc-passwd"),
        ("ein grüner Bär", "ein-grüner-bär"),
        ("赤いボール", "赤いボール"),
        ("...", "video"),
        ("CON", "lingen-con"),
        ("com1", "lingen-com1"),
    ],
)
def test_slugs_are_readable(prompt: str, name: str) -> None:
    assert slug(prompt) == name


def test_long_prompts_are_cut_at_a_word_and_stay_different() -> None:
    first, second = slug("red ball " * 30 + "one"), slug("red ball " * 30 + "two")
    assert first != second
    assert first.startswith("red-ball-red-ball-")
    assert len(first.encode()) <= MAX_BYTES


@given(st.text(max_size=300))
def test_no_prompt_leaves_the_folder(prompt: str) -> None:
    name = slug(prompt)
    assert 0 < len(name.encode("utf-8", "surrogatepass")) <= MAX_BYTES
    assert not set(name) & set("/\\:.\0\n")


def test_free_names_pass_over_files_and_dangling_links(tmp_path: Path) -> None:
    (tmp_path / "ball.mp4").touch()
    (tmp_path / "ball-2.mp4").symlink_to("nowhere")
    names = [path.name for path in islice(free_names(tmp_path, "ball"), 2)]
    assert names == ["ball-3.mp4", "ball-4.mp4"]
