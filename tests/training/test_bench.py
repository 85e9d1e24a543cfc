"""LinGen beside its twin: what is measured, what is made of it, and that it runs."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from lingen_models.flops import step_flops
from lingen_models.network_config import PRESETS
from lingen_plugins.builtin.variants import tiny
from lingen_training.bench import __main__ as script
from lingen_training.bench import measure
from lingen_training.bench.bench_report import draw, table
from lingen_training.bench.cases import (
    LINGEN,
    PAPER,
    TWIN,
    cases,
    chosen,
    latent_frames,
    paper_cases,
)
from lingen_training.bench.machine import attention_backends, describe
from lingen_training.bench.shares import shares
from lingen_training.bench.step import Step, build, growth, step_of, timed


@pytest.fixture
def tiny_mini(monkeypatch: pytest.MonkeyPatch) -> None:
    """`mini`, small enough to run here."""
    monkeypatch.setitem(PRESETS, "mini", tiny(PRESETS["mini"]))


def rows(power: float) -> list[dict[str, Any]]:
    """Steps that take `2 * tokens^power`; the twin takes the square of it."""
    return [
        {
            "video_seconds": seconds,
            "tokens": tokens,
            "step_seconds": {LINGEN: 2 * tokens**power, TWIN: 2 * tokens ** (2 * power)},
        }
        for seconds, tokens in ((10.0, 100), (30.0, 300), (60.0, 600))
    ]


def test_the_exponent_is_that_of_a_power_law() -> None:
    assert measure.exponent(rows(1.0), LINGEN) == pytest.approx(1.0)
    assert measure.exponent(rows(1.0), TWIN) == pytest.approx(2.0)
    assert measure.exponent(rows(1.0)[:1], LINGEN) is None
    assert measure.exponent(rows(1.0), "another") is None


def test_cost_per_second_of_video() -> None:
    assert measure.cost_ratio(rows(1.0), LINGEN) == pytest.approx(1.0)
    assert measure.cost_ratio(rows(1.0), TWIN) == pytest.approx(6.0)
    assert measure.cost_ratio(rows(1.0)[1:], TWIN) is None


def test_lengths_in_latent_frames_are_those_of_the_pipeline() -> None:
    from lingen_models.pipelines.text_to_video import TextToVideo

    pipe = object.__new__(TextToVideo)
    for seconds in (1 / 16, 0.5, 4.0, 60.0):
        assert latent_frames(seconds) == pipe.latent_frames(round(seconds * 16))


def test_the_rows_of_the_paper() -> None:
    """Token counts of paper.md 1.5, and FLOPs that grow with the square for the twin alone."""
    found = {case.name: case for case in paper_cases()}
    assert [found[name].tokens for name in ("256p 17 s", "512p 34 s", "512p 68 s")] == [
        8_976,
        71_808,
        143_616,
    ]
    assert found["512p 68 s, no patch"].tokens == 4 * 143_616
    assert "without TESA" in list(paper_cases())[-1].networks

    def ratio(name: str) -> float:
        case = found[name]
        totals = [
            sum(step_flops(config, case.latent_shape, text_tokens=256).values())
            for config in case.networks.values()
        ]
        return totals[1] / totals[0]

    assert ratio("512p 68 s") == pytest.approx(5.7, abs=0.1)
    assert ratio("512p 68 s, no patch") == pytest.approx(20.9, abs=0.1)


def test_what_takes_too_long_is_not_timed_but_counted() -> None:
    result = measure.bench(
        PAPER, chosen(PAPER, (), (0, 0)), device="cpu", rounds=1, limit=120, report=print
    )
    assert all(not row["step_seconds"] for row in result["rows"])
    assert all(row["flops_total"][LINGEN] > 1e14 for row in result["rows"])
    assert {why["reason"] for row in result["rows"] for why in row["untimed"].values()} == {
        "a step would take longer than the limit; time waits for a GPU"
    }
    told = table(result)
    assert "| 512p 68 s | 143,616 |" in told and "| zigzag |" in told
    assert "time waits for a GPU: 256p 17 s, LinGen (" in told
    json.dumps(result)


@pytest.mark.parametrize("network", [LINGEN, TWIN, "row by row"])
def test_shares_of_the_time(network: str, tiny_mini: None) -> None:
    case = cases("mini", [2.0], (64, 32))[0]
    case = replace(case, together=network != "row by row")
    lingen = build(case.networks.get(network, case.first), "cpu")
    parts_before = dict(lingen.blocks[0].named_modules())
    with torch.inference_mode():
        step = step_of(lingen, case, "cpu")
        found = shares(lingen, step, case.tokens, "cpu")
        assert timed(step, "cpu") > 0
    assert sum(found.values()) == pytest.approx(1)
    mixer = {"attention"} if network == TWIN else {"ma", "scan", "review", "rms", "tesa"}
    assert set(found) == mixer | {"text", "ffn", "other"}
    assert all(0 < share < 1 for share in found.values())
    assert not any(part._forward_hooks for part in parts_before.values())
    from lingen_models.networks.scan_orders import Scan

    assert Scan.flatten.__qualname__ == "Scan.flatten"


def test_memory_that_a_step_holds() -> None:
    def step() -> torch.Tensor:
        return torch.ones(64, 2**20).sum()

    found = growth(step, "cpu")
    if found is None:
        pytest.skip("only Linux counts the peak anew")
    assert 250 * 2**20 < found < 300 * 2**20


def test_torch_must_count_the_same(tiny_mini: None, monkeypatch: pytest.MonkeyPatch) -> None:
    case = cases("mini", [1.0], (32, 32))[0]
    assert set(measure.check_flops(case)) == {LINGEN, TWIN}
    monkeypatch.setattr(measure, "_counted", lambda config, case: 1)
    with pytest.raises(RuntimeError, match="LinGen: torch counts 1 FLOPs"):
        measure.check_flops(case)


def test_a_gpu_that_runs_out_of_memory_leaves_the_others(
    tiny_mini: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def full(step: Step, device: str, clock: str) -> float:
        calls.append(step)
        if len(calls) == 2:
            raise torch.OutOfMemoryError
        return timed(step, device)

    monkeypatch.setattr(measure, "timed", full)
    case = cases("mini", [1.0], (32, 32))[0]
    row = measure.measure(case, "cpu", 1, 60.0, "wall", {}, print)
    assert set(row["step_seconds"]) == {LINGEN}
    assert row["untimed"] == {TWIN: {"reason": "out of memory", "expected_seconds": None}}


def test_a_small_run(tiny_mini: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--lengths", "0.5,1", "--rounds", "2", "--size", "32", "--device", "cpu"]
    assert script.main([*options, "--output", str(tmp_path)]) == 0
    out, err = capsys.readouterr()
    assert "| 1 s | 12 |" in out and "1 s, DiT twin, round 2 of 2:" in err
    result = json.loads((tmp_path / "bench.json").read_text(encoding="utf-8"))
    assert [row["tokens"] for row in result["rows"]] == [8, 12]
    for row in result["rows"]:
        assert all(len(seconds) == 2 for seconds in row["all_step_seconds"].values())
        assert row["flops_total"].keys() == row["time_shares"].keys() == {LINGEN, TWIN}
        assert row["tokens_per_second"][LINGEN] == row["tokens"] / row["step_seconds"][LINGEN]
    assert result["exponents"][LINGEN] is not None and result["machine"]["cores"]
    assert (tmp_path / "bench.md").read_text(encoding="utf-8").strip() in out
    if draw(result, tmp_path / "again.png"):
        assert (tmp_path / "bench.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu(tiny_mini: None, tmp_path: Path) -> None:
    options = ["--lengths", "1,2", "--rounds", "1", "--size", "32", "--device", "cuda"]
    assert script.main([*options, "--output", str(tmp_path)]) == 0
    result = json.loads((tmp_path / "bench.json").read_text(encoding="utf-8"))
    for row in result["rows"]:
        assert all(row["step_seconds"][name] > 0 for name in (LINGEN, TWIN))
        assert all(row["memory_bytes"][name] > 0 for name in (LINGEN, TWIN))
        assert {"ma", "scan", "review", "tesa"} <= set(row["time_shares"][LINGEN])
    assert result["clock"] == "events of the GPU"


def test_it_needs_no_more_than_torch() -> None:
    """A machine with a GPU lacks what reads videos and settings."""
    program = """
import sys
for name in "av pydantic platformdirs typer rich pluggy filelock safetensors".split():
    sys.modules[name] = None
import lingen_training.bench.__main__ as script
script.main(["--help"])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "--preset" in done.stdout


def test_the_machine() -> None:
    facts = describe("cpu")
    assert facts["scan"] == "pytorch" and facts["attention"]
    assert set(attention_backends("cuda")) <= {
        "SDPA flash",
        "SDPA cuDNN",
        "SDPA memory-efficient",
        "SDPA math",
    }


def test_a_faster_twin_is_explained() -> None:
    from lingen_training.bench.bench_report import _twin_is_faster

    assert _twin_is_faster({"step_seconds": {"LinGen": 2.0, "DiT twin": 1.0}})
    assert not _twin_is_faster({"step_seconds": {"LinGen": 1.0, "DiT twin": 2.0}})
    assert not _twin_is_faster({"step_seconds": {"LinGen": 1.0}})
