"""`lingen bench`: the command around the measurement."""

import json
from pathlib import Path

import pytest

from lingen_models.network_config import PRESETS
from lingen_plugins.builtin.variants import tiny
from tests.cli.protocols import Fails, RunHere

SMALL = ("--lengths", "1", "--size", "32x16", "--rounds", "1", "--device", "cpu")


@pytest.fixture(autouse=True)
def tiny_mini(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PRESETS, "mini", tiny(PRESETS["mini"]))


def test_a_table_and_files_that_are_not_replaced_unasked(
    lingen_here: RunHere, fails: Fails
) -> None:
    result = lingen_here("bench", *SMALL)
    assert result.returncode == 0, result.stderr
    assert "| 1 s | 6 |" in " ".join(result.stdout.split())
    folder = Path("bench")
    kept = json.loads((folder / "bench.json").read_text(encoding="utf-8"))
    assert kept["rows"][0]["width"] == 32 and kept["rows"][0]["height"] == 16
    assert (folder / "bench.md").read_text(encoding="utf-8") == result.stdout
    assert {path.suffix for path in folder.iterdir()} <= {".json", ".md", ".png"}
    before = (folder / "bench.json").read_bytes()
    fails(lingen_here("bench", *SMALL), 73, "already exists")
    assert (folder / "bench.json").read_bytes() == before
    again = lingen_here("bench", *SMALL, "--overwrite", "--json", "--clock", "processor")
    assert json.loads(again.stdout)["clock"] == "processor"


def test_the_rows_of_the_paper_without_a_gpu(lingen_here: RunHere) -> None:
    options = ("--preset", "paper", "--device", "cpu", "--output", "a/b", "--json")
    result = lingen_here("bench", *options)
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    assert len(found["rows"]) == 11
    assert not any(row["step_seconds"] for row in found["rows"])
    assert "waits for a GPU" in Path("a/b/bench.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("options", "code", "part"),
    [
        (("--preset", "huge"), 2, "--preset must be one of mini,"),
        (("--lengths", "4,x"), 2, "--lengths must be seconds"),
        (("--lengths", "0"), 2, "--lengths must be seconds"),
        (("--lengths", "nan"), 2, "--lengths must be seconds"),
        (("--size", "100"), 2, "--size must be"),
        (("--limit", "nan"), 2, "--limit must be"),
        (("--clock", "sun"), 2, "--clock must be"),
        (("--device", "tpu"), 2, "--device must be"),
        (("--preset", "paper", "--lengths", "4"), 2, "--preset paper has lengths"),
        (("--preset", "paper", "--size", "128"), 2, "--preset paper has lengths"),
    ],
)
def test_what_cannot_be_measured(
    lingen_here: RunHere, fails: Fails, options: tuple[str, ...], code: int, part: str
) -> None:
    fails(lingen_here("bench", *options), code, part)
    assert not Path("bench").exists()


def test_an_absent_gpu_leaves_nothing(
    lingen_here: RunHere, fails: Fails, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    fails(lingen_here("bench", "--device", "cuda"), 69, "cuda is not available")
    assert not Path("bench").exists()


def test_an_output_that_is_a_file(lingen_here: RunHere, fails: Fails) -> None:
    Path("taken").write_text("mine")
    fails(lingen_here("bench", *SMALL, "-o", "taken"), 74, "taken")
    assert Path("taken").read_text() == "mine"
