"""One list says which files in a folder are videos: for Tab, galleries and trainings."""

from pathlib import Path

import pytest

from lingen_cli.datasets.footage import read_footage
from lingen_cli.errors import LingenError
from lingen_cli.gallery.collect import find_videos
from lingen_cli.inputs.output_path import SUFFIXES
from lingen_cli.usage.completion import VIDEOS, completed


@pytest.mark.parametrize("suffix", sorted(VIDEOS))
def test_a_video_is_found_everywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    monkeypatch.chdir(tmp_path)
    path = Path(f"clip{suffix.upper()}")
    path.write_bytes(b"no video")
    complete = completed("video")
    assert complete is not None and complete("cl") == [path.name]
    assert list(find_videos([Path()])) == ([] if suffix == ".gif" else [path])
    assert path.name in read_footage(Path()).problems[0]


def test_other_files_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("clip.txt").write_text("a ball")
    complete = completed("video")
    assert complete is not None and complete("cl") == []
    assert list(find_videos([Path()])) == []
    with pytest.raises(LingenError, match="no videos or images"):
        read_footage(Path())


def test_what_lingen_writes_is_among_them() -> None:
    assert set(SUFFIXES) - {".png"} <= VIDEOS
