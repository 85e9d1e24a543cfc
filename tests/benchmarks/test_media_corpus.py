"""`benchmarks/media_corpus.py`: every kind of file is treated as docs/files.md says."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
_SPEC = importlib.util.spec_from_file_location(
    "media_corpus", ROOT / "benchmarks" / "media_corpus.py"
)
assert _SPEC is not None and _SPEC.loader is not None
corpus = importlib.util.module_from_spec(_SPEC)
sys.modules[_SPEC.name] = corpus
_SPEC.loader.exec_module(corpus)


@pytest.mark.parametrize("case", corpus.CASES, ids=lambda case: case.name)
def test_a_file_is_treated_as_the_table_says(
    case: Any,
    tiny_weights: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from lingen_cli.app import run

    monkeypatch.setenv("LINGEN_CACHE_DIR", str(tmp_path / "cache"))
    try:
        old = corpus.make(case, tmp_path)
    except (subprocess.CalledProcessError, FileNotFoundError):
        pytest.skip("this ffmpeg cannot make it")
    new = tmp_path / "new.mp4"
    options = ["--seconds", "1", "--size", "64", "--steps", "1", "--seed", "1"]
    options += ["--weights", str(tiny_weights), "-o", str(new)]
    code = run(["extend", str(old), "--prompt", "a red ball", *options])
    assert not corpus.differences(case, code, capsys.readouterr().err, new)
    assert new.exists() == (case.images != corpus.REFUSED)


def test_the_table_of_the_docs_is_that_of_the_script() -> None:
    assert corpus.table() in (ROOT / "docs" / "files.md").read_text(encoding="utf-8")


def test_the_script_tells_of_a_difference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case = corpus.CASES[0]
    old = corpus.make(case, tmp_path)
    said = "lingen: warning: the old frames are encoded again, not copied: it has gaps"
    problems = corpus.differences(case, 0, said, old)
    assert problems == ["its images are encoded again", "1.00 s"]
