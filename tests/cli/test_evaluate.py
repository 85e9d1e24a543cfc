"""`lingen evaluate`: the command around the measurement."""

import json
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lingen_models.sampling.denoise import SamplingMethod
from lingen_models.sampling.params import SamplingParams
from lingen_models.sampling.solvers import dpm_multistep
from lingen_plugins.registry import collect
from tests.cli.protocols import Fails, RunHere


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Stand in for the measurement, and remember how it was called."""
    calls = []

    def evaluate(
        pipe: Any,
        params: Any,
        method: Any,
        *,
        report: Any,
        progress: Any,
        into: Any,
        seen: Any = None,
        **options: Any,
    ) -> None:
        calls.append(options | {"params": params, "method": method})
        report("1/1 clips")
        into["short"] = {"color": [1, 1]}

    def markdown_table(result: dict[str, Any]) -> str:
        return f"| color | {result['short']['color']} |"

    stand_in = SimpleNamespace(evaluate=evaluate, markdown_table=markdown_table)
    monkeypatch.setitem(sys.modules, "lingen_training.evaluation.quality_table", stand_in)
    monkeypatch.setattr("lingen_training.evaluation.quality_table", stand_in, raising=False)
    return calls


def test_the_table_is_printed_and_the_result_kept(
    lingen_here: RunHere, measured: list[Any], tiny_weights: Path
) -> None:
    options = ("--clips", "1", "--long-clips", "0", "--steps", "2", "--seed", "5")
    result = lingen_here("evaluate", "--weights", tiny_weights, *options, "--device", "cpu")
    assert (result.returncode, result.stdout) == (0, "| color | [1, 1] |\n")
    assert "1/1 clips" in result.stderr
    variant = collect().model_variants["lingen-mini"]
    assert measured == [
        {
            "clips": 1,
            "seconds": 4.0,
            "natural_clips": 60,
            "long_clips": 0,
            "long_seconds": 60.0,
            "size": variant.size,
            "params": SamplingParams(
                steps=2, guidance_scale=variant.guidance, sampler="dpm-multistep", seed=5
            ),
            "method": SamplingMethod(dpm_multistep, "shifted", 0.05),
        }
    ]
    kept = json.loads(Path("results.json").read_text(encoding="utf-8"))
    assert kept["short"] == {"color": [1, 1]}
    assert kept["model"] == "lingen-mini"
    assert set(kept["weights"]) == {"denoiser", "autoencoder", "text_encoder"}
    assert "torch" in kept["versions"]


@pytest.fixture
def tiny_dit(tiny_weights: Path, tmp_path: Path) -> Path:
    """The folder of `tiny_weights` with a diffusion transformer for a denoiser."""
    import torch

    from lingen_models.checkpoints.safetensors import save_network
    from lingen_plugins.registry import collect

    folder = shutil.copytree(tiny_weights, tmp_path / "tiny-dit")
    variant = collect().model_variants["dit-mini"]
    torch.manual_seed(0)
    network = variant.build(variant.tiny_config)
    metadata = {"kind": "lingen", "config": dict(variant.tiny_config)}
    save_network(folder / "denoiser.safetensors", network, metadata)
    return folder


def test_models_side_by_side(lingen_here: RunHere, tiny_weights: Path, tiny_dit: Path) -> None:
    """Without a stand-in: losses on real held-out clips, only shorter ones, and an image."""
    named = f"lingen-mini={tiny_weights},dit-mini={tiny_dit}"
    lengths = ("--seconds", 1, "--clips", 2, "--long-clips", 0, "--loss-clips", 2, "--steps", 1)
    more = ("--loss-seconds", "0.5,1,3", "--size", 64, "--natural-clips", 1)
    result = lingen_here("evaluate", "--models", named, *lengths, *more, "-o", "both.json")
    assert result.returncode == 0, result.stderr
    head, _, *rows = [" ".join(line.split()) for line in result.stdout.splitlines()]
    assert head.startswith("| model | color | ")
    assert head.endswith("| against lingen-mini at 3 s |")
    assert [row.split(" | ")[0] for row in rows] == ["| lingen-mini", "| dit-mini"]
    assert rows[1].endswith("| +0.00% ± 0.00% |")  # untrained, both predict nothing
    found = json.loads(Path("both.json").read_text(encoding="utf-8"))
    losses = found["lingen-mini"]["losses"]
    assert {length: len(rows[0]) for length, rows in losses.items()} == {"0.5": 2, "1": 3, "3": 7}
    assert losses == found["dit-mini"]["losses"]
    assert found["lingen-mini"]["weights"] != found["dit-mini"]["weights"]
    assert found["dit-mini"]["natural"]["count"][1] == 1
    assert Path("both.png").read_bytes().startswith(b"\x89PNG")


def test_one_model_with_two_weights(
    lingen_here: RunHere, tiny_weights: Path, tmp_path: Path
) -> None:
    other = shutil.copytree(tiny_weights, tmp_path / "other")
    named = [f"lingen-mini={folder}" for folder in (tiny_weights, other)]
    lengths = ("--clips", 0, "--long-clips", 0, "--loss-clips", 2, "--loss-seconds", 0.5)
    result = lingen_here("evaluate", "--models", ",".join(named), *lengths, "--size", 64)
    assert result.returncode == 0, result.stderr
    assert [row.split(" | ")[0].rstrip() for row in result.stdout.splitlines()[2:]] == [
        f"| {one}" for one in named
    ]


def test_nothing_is_measured_for_an_output_that_exists(
    lingen_here: RunHere, fails: Fails, measured: list[Any], tiny_weights: Path
) -> None:
    Path("results.json").write_text("mine")
    fails(lingen_here("evaluate", "--weights", tiny_weights), 73, "results.json")
    assert measured == []
    assert lingen_here("evaluate", "--weights", tiny_weights, "--overwrite").returncode == 0
    assert json.loads(Path("results.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("arguments", "code", "part"),
    [
        (["--clips", "0"], 2, "--clips"),
        (["--models", "lingen-mini,lingen-mini"], 2, "--models must be different names"),
        (["--models", "lingen-mini,dit-mimi"], 2, "did you mean 'dit-mini'?"),
        (["--models", "lingen-mini", "--weights", "x"], 2, "NAME=FOLDER"),
        (["--models", "lingen-mini,lingen-4b=nowhere"], 66, "nowhere"),
        (["--loss-seconds", "4,long"], 2, "--loss-seconds must be seconds between commas"),
        (["--size", "100"], 2, "--size must be"),
        (["--seconds", "nan"], 2, "--seconds must be above 0"),
        (["--long-seconds", "-1"], 2, "--long-seconds must be above 0"),
        (["-o", "results.txt"], 2, "must end in .json"),
        (["--device", "tpu"], 2, "--device must be"),
        (["--model", "lingen-mimi"], 2, "did you mean 'lingen-mini'?"),
        (["--weights", "nowhere"], 66, "nowhere"),
    ],
)
def test_wrong_arguments(
    lingen_here: RunHere,
    fails: Fails,
    clean_environment: Path,
    arguments: list[str],
    code: int,
    part: str,
) -> None:
    fails(lingen_here("evaluate", *arguments), code, part)
    assert list(clean_environment.iterdir()) == []


def test_clips_are_counted_kept_and_shown(
    lingen_here: RunHere, tiny_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a stand-in: bars are for terminals; here the last line of each phase is."""
    from lingen_cli.terminal import progress

    monkeypatch.setattr(progress, "_SECONDS_BETWEEN_LINES", 0.0)
    counts = ("--clips", 3, "--natural-clips", 1, "--long-clips", 2, "--steps", 2)
    lengths = ("--seconds", 0.5, "--long-seconds", 11, "--size", 64)
    found = lingen_here("evaluate", "--weights", tiny_weights, *counts, *lengths)
    assert found.returncode == 0, found.stderr
    for line in ("clips 2/2", "long clips 1/4", "long clips 4/4", "natural prompts 2/2"):
        assert f"lingen: {line}, " in found.stderr
    table = [line for line in found.stdout.splitlines() if line.startswith("| color")]
    assert "3" in table[0]
    clips = sorted(Path("results/lingen-mini").glob("*.mp4"))
    assert [clip.name[:4] for clip in clips] == ["0001", "0002", "0003", "0004", "0005", "0006"]
    page = Path("results.html").read_text(encoding="utf-8")
    rows = json.loads(page.split('id="data">')[1].split("</script>")[0])
    assert [row["url"] for row in rows] == [clip.as_posix() for clip in clips]
    assert all(row["prompt"] and row["model"] == "lingen-mini" for row in rows)
    judged = json.loads(Path("results.json").read_text())["failures"]
    wrong = {row["prompt"]: row["problem"] for row in rows[:3]}
    assert judged and all(
        wrong[one["prompt"]] == f"wrong: {', '.join(one['wrong'])}" for one in judged
    )
    again = lingen_here("evaluate", "--weights", tiny_weights, "--clips", 1, "-o", "results.json")
    assert again.returncode == 73


def test_ctrl_c_keeps_what_was_judged(
    lingen_here: RunHere, tiny_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lingen_training.evaluation import quality_table

    made = []

    def stopped(self: Any, *_: object) -> None:
        made.append(self.phase)
        if self.phase == "long clips":
            raise KeyboardInterrupt

    monkeypatch.setattr(quality_table._Generator, "_stepped", stopped)
    counts = ("--clips", 2, "--natural-clips", 0, "--long-clips", 1, "--steps", 1)
    lengths = ("--seconds", 0.5, "--long-seconds", 1, "--size", 64)
    found = lingen_here("evaluate", "--weights", tiny_weights, *counts, *lengths)
    assert found.returncode == 130
    assert "what was judged is kept in results.partial.json" in found.stderr
    kept = json.loads(Path("results.partial.json").read_text())
    assert (kept["model"], kept["short"]["color"][1], kept["long"]["color"]) == (
        "lingen-mini",
        2,
        [0, 0],
    )
    assert not Path("results.json").exists() and Path("results.html").exists()
