"""`benchmarks/speed.py`: what it computes from times, and that it runs."""

import json

import pytest

from lingen_models.config import PRESETS
from lingen_plugins.variants import tiny


def rows(power, *, constant=2.0):
    """Steps that take `constant * tokens^power`, for LinGen; the twin takes the square of it."""
    return [
        {
            "video_seconds": length,
            "latent_frames": 1,
            "tokens": tokens,
            "step_seconds": {
                "mate": constant * tokens**power,
                "attention": constant * tokens ** (2 * power),
            },
        }
        for length, tokens in ((10.0, 100), (30.0, 300), (60.0, 600))
    ]


def test_the_exponent_is_that_of_a_power_law(benchmark_script):
    speed = benchmark_script("speed")
    assert speed.exponent(rows(1.0), "mate") == pytest.approx(1.0)
    assert speed.exponent(rows(1.0), "attention") == pytest.approx(2.0)
    assert speed.exponent(rows(1.0)[:1], "mate") is None


def test_cost_per_second_of_video(benchmark_script):
    speed = benchmark_script("speed")
    ratio = speed.cost_ratio(rows(1.0), 60.0, 10.0)
    assert ratio == {"mate": pytest.approx(1.0), "attention": pytest.approx(6.0)}
    assert speed.cost_ratio(rows(1.0), 60.0, 4.0) is None


def test_lengths_in_latent_frames_are_those_of_the_pipeline(benchmark_script):
    from lingen_models.pipeline import TextToVideo

    speed = benchmark_script("speed")
    pipe = object.__new__(TextToVideo)
    for seconds in (1 / 16, 0.5, 4.0, 60.0):
        assert speed.latent_frames(seconds) == pipe.latent_frames(round(seconds * 16))


def test_a_small_run(benchmark_script, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(PRESETS, "mini", tiny(PRESETS["mini"]))
    speed = benchmark_script("speed")
    options = ["--lengths", "0.5,1", "--repeats", "1", "--size", "32", "--no-minute"]
    assert speed.main([*options, "--output", str(tmp_path)]) == 0
    assert "| 1 s | 12 |" in capsys.readouterr().out
    result = json.loads((tmp_path / "speed.json").read_text(encoding="utf-8"))
    assert [row["tokens"] for row in result["steps"]] == [8, 12]
    assert all(s > 0 for row in result["steps"] for s in row["step_seconds"].values())
    assert result["minute"] is None and result["machine"]["cores"]
    assert (tmp_path / "speed.md").is_file()
