"""`benchmarks/broken_data.py`, on few files: what is broken is named, and a training goes on."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.cli.test_data import run


def test_every_broken_file_is_named(benchmark_script: Callable[[str], Any], tmp_path: Path) -> None:
    script = benchmark_script("broken_data")
    script.SHARE = 0.6
    clips, prepared, recipe = tmp_path / "clips", tmp_path / "made", tmp_path / "recipe.toml"
    broken = script.build(clips, 30, hours=0.1)
    assert len(set(broken.values())) == 17
    recipe.write_text(script.RECIPE.replace("steps = 6", "steps = 1"), encoding="utf-8")
    options = ("--recipe", recipe, "--start-from", script.write_weights(tmp_path / "weights"))
    done = run("data", "prepare", clips, "-o", prepared, *options)
    assert done.returncode == 0, done.stderr
    report = (prepared / "report.txt").read_text(encoding="utf-8")
    assert script.unnamed(broken, report) == []
    trained = run("train", recipe, "--data", prepared, "--processes", "1", "-o", tmp_path / "out")
    assert trained.returncode == 0, trained.stderr
    assert (tmp_path / "out" / "denoiser.safetensors").exists()
