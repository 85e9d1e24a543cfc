"""The quality table: what is counted, how it is drawn, and one tiny evaluation end to end."""

from __future__ import annotations

import math

import torch

from lingen_models.network_config import LinGenConfig, TAEConfig, WordsConfig
from lingen_models.networks.denoiser import LinGen
from lingen_models.networks.video_autoencoder import TemporalAutoencoder
from lingen_models.networks.word_encoder import WordEncoder
from lingen_models.pipelines.text_to_video import TextToVideo
from lingen_models.sampling.denoise import SamplingMethod
from lingen_models.sampling.params import SamplingParams
from lingen_playground import vocabulary
from lingen_training.evaluation.quality_table import MARKS, evaluate, markdown_table


def tiny_pipeline() -> TextToVideo:
    torch.manual_seed(0)
    denoiser = LinGen(LinGenConfig(width=64, depth=1, expand=1, state_size=16, text_dims=(64,)))
    autoencoder = TemporalAutoencoder(TAEConfig(widths=(16, 16, 32)))
    words = WordEncoder(WordsConfig(words=vocabulary(), width=64, depth=1))
    return TextToVideo(denoiser, autoencoder, [words])


def test_evaluation_judges_every_clip_and_the_real_renders_beside_it() -> None:
    lines: list[str] = []
    result = evaluate(
        tiny_pipeline(),
        SamplingParams(steps=1),
        SamplingMethod(),
        clips=3,
        seconds=1.5,
        natural_clips=2,
        long_clips=1,
        long_seconds=5.5,
        size=64,
        batch=2,
        report=lines.append,
    )
    assert len(lines) == 4
    assert result["settings"]["seconds"] == 25 / 16
    for mark in MARKS:
        right, asked = result["short"][mark]
        assert 0 <= right <= asked <= 3
        assert result["real"][mark][1] == result["restored"][mark][1] == asked
    assert result["real"]["color"] == [3, 3]
    assert result["real"]["background"] == [3, 3]
    assert result["real"]["count"] == [3, 3]
    assert result["long"]["color"][1] == 1
    objects = result["splits"]["objects"]
    assert sum(tally["count"][1] for tally in objects.values()) == 3
    assert {"objects", "motion", "speed", "camera"} == set(result["splits"])
    natural = result["natural"]
    # "two red balls bounce" and "a red ball bounces": color, shape and motion.
    assert (natural["said"][1], natural["shape"][1], natural["direction"][1]) == (6, 2, 0)
    assert natural["background"][1] == natural["count"][1] == 2
    assert [one["prompt"] for one in result["natural_failures"]] == [
        "two red balls bounce",
        "a red ball bounces",
    ]


def test_without_natural_clips_there_is_no_such_section() -> None:
    result = evaluate(
        tiny_pipeline(),
        SamplingParams(steps=1),
        SamplingMethod(),
        clips=1,
        seconds=0.5,
        natural_clips=0,
        long_clips=0,
        size=64,
        report=lambda line: None,
    )
    assert "natural" not in result
    assert "people" not in markdown_table(result)


def test_table_gives_share_interval_and_target() -> None:
    result = {
        "settings": {
            "clips": 200,
            "seconds": 4.0,
            "natural_clips": 60,
            "long_clips": 20,
            "long_seconds": 60.0,
            "steps": 20,
            "guidance": 3.0,
            "seed": 0,
        },
        "short": {mark: [190, 200] for mark in MARKS} | {"direction": [0, 0]},
        "real": {mark: [199, 200] for mark in MARKS},
        "restored": {mark: [195, 200] for mark in MARKS},
        "long": {"color": [18, 20], "size": [20, 20]},
        "splits": {
            "objects": {
                "1": {mark: [100, 120] for mark in MARKS},
                "2": {mark: [41, 80] for mark in MARKS},
            },
            "camera": {"zooms in": {"shape": [1, 2], "motion": [0, 2], "count": [2, 2]}},
        },
        "natural": {"said": [150, 160], "background": [60, 60], "count": [57, 60]},
    }
    table = markdown_table(result)
    row = next(line for line in table.splitlines() if line.startswith("| color | 95.0%"))
    low, high = (float(part.strip().rstrip("%")) for part in row.split("|")[3].split(" to "))
    # Wilson's bounds solve |share - p| = z sqrt(p (1 - p) / n).
    for p in (low / 100, high / 100):
        assert math.isclose(abs(0.95 - p), 1.96 * math.sqrt(p * (1 - p) / 200), abs_tol=1e-3)
    assert ">= 97%" in row
    assert "99.5% (199/200)" in row
    assert "97.5% (195/200)" in row
    assert "| direction | - | - |" in table
    assert "| size | 100.0% (20/20) |" in table
    assert "| motion | 95.0% (190/200) | 91.0% to 97.3% | >= 80% |" in table
    assert table.splitlines()[11:17] == [
        "",
        "| clips with | shape | motion | count |",
        "|---|---|---|---|",
        "| objects: 1 | 100/120 | 100/120 | 100/120 |",
        "| objects: 2 | 41/80 | 41/80 | 41/80 |",
        "| camera: zooms in | 1/2 | 0/2 | 2/2 |",
    ]
    assert "| what the prompt says | 93.8% (150/160) | 88.9% to 96.6% | >= 85% |" in table
    assert "| one background | 100.0% (60/60) | 94.0% to 100.0% | >= 97% |" in table
