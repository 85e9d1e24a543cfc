"""`benchmarks/editing.py`, on a model of test size."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from lingen_playground import canonical_caption


def test_a_seam_is_found_where_it_is(benchmark_script: Callable[[str], Any]) -> None:
    editing = benchmark_script("editing")
    steady = torch.arange(40)[:, None, None, None].expand(-1, 4, 4, 3).to(torch.uint8)

    def measured(video: torch.Tensor, seams: list[int]) -> tuple[float, float, float]:
        found = editing.seams_of(video, seams, 8)
        return (found.median, found.largest, found.largest_inside)

    assert measured(steady, [10, 20]) == pytest.approx((1.0, 1.0, 1.0))
    jump = steady.clone()
    jump[20:] += 50
    assert measured(jump, [10, 20, 20]) == pytest.approx((51.0, 51.0, 1.0))
    assert measured(jump, [10, 20, 30]) == pytest.approx((1.0, 51.0, 1.0))
    shaky = steady.clone()
    shaky[17:] += 50  # the first frame of a latent frame, and no seam
    assert measured(shaky, [10, 20, 30]) == pytest.approx((1.0, 1.0, 51.0))


def test_new_prompts_keep_the_background_and_do_not_name_it(
    benchmark_script: Callable[[str], Any],
) -> None:
    editing = benchmark_script("editing")
    for before, after in editing.pairs(20):
        assert before.background == after.background
        assert editing.canonical_place(after) in canonical_caption(after)


def test_a_small_run(
    benchmark_script: Callable[[str], Any],
    tiny_weights: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    editing = benchmark_script("editing")
    counts = ("--chains", "1", "--links", "2", "--prompts", "1", "--images", "1")
    options = ("--weights", tiny_weights, "--seconds", "5", "--steps", "1", "--output", tmp_path)
    assert editing.main([*counts, *(str(option) for option in options)]) == 0
    result = json.loads((tmp_path / "editing.json").read_text(encoding="utf-8"))
    assert set(result["chains"]) == {"latents", "pixels"}
    assert all(len(found["seams"]) == 1 for found in result["chains"].values())
    written = (tmp_path / "editing.md").read_text(encoding="utf-8")
    assert "| chain over latents |" in written and written in capsys.readouterr().out
