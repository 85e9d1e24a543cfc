"""`lingen train --dry-run`."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.protocols import Fails, RunHere

HUGE = """
name = "huge"

[autoencoder]
steps = 10

[model]
preset = "base"
overrides = { text_dims = [256] }

[[stage]]
name = "all-at-once"
steps = 1000
batches = 8
learning_rate = 1e-4

[[stage.source]]
size = 512
latent_frames = 137
batch = 1
clips = 1000
"""


def test_nothing_is_made_and_all_is_told(lingen_here: RunHere) -> None:
    command = ("train", "finetune", "--start-from", "lingen-mini", "--dry-run")
    done = lingen_here(*command, "--device-kind", "h100", "--json")
    assert done.returncode == 0 and done.stderr == "", done.stderr
    found = json.loads(done.stdout)
    decoder, stage = found["stages"]  # the encoder of lingen-mini is there
    assert (decoder["name"], decoder["steps"], decoder["tokens"]) == ("autoencoder", 400, 0)
    assert (stage["name"], stage["steps"], stage["tokens_per_step"]) == ("finetune", 200, 7680)
    assert found["tokens"] == 200 * 7680 and found["flops"] == decoder["flops"] + stage["flops"]
    assert stage["memory"]["total"] == sum(
        count for name, count in stage["memory"].items() if name != "total"
    )
    assert found["device"]["kind"] == "h100" and found["device"]["utilization"] == 0.35
    assert found["days"] == (decoder["seconds"] + stage["seconds"]) / 86400
    latents = 16 * 2 * (192 * 6 * 256 + 818 * 10 * 64 + 204 * 10 * 256)
    assert found["disk"]["latents"] == latents and found["fits"]
    told = lingen_here(*command)
    assert told.returncode == 0, told.stderr
    for words in ("tokens/step".upper(), "35% are" if "cuda" in told.stdout else "20% are", "EMA"):
        assert words in told.stdout
    assert list(Path().iterdir()) == []


def test_too_little_memory_is_69_after_the_figures(lingen_here: RunHere) -> None:
    Path("huge.toml").write_text(HUGE, encoding="utf-8")
    options = ("--dry-run", "--json", "--devices", "8", "--device-kind", "h100")
    done = lingen_here("train", "huge.toml", *options)
    assert done.returncode == 69 and not json.loads(done.stdout)["fits"]
    (line,) = done.stderr.splitlines()
    assert "h100 has 80.0 GB" in line and "checkpoint_blocks = true" in line
    text = HUGE.replace("batches = 8", "batches = 8\ncheckpoint_blocks = true")
    Path("huge.toml").write_text(text, encoding="utf-8")
    assert lingen_here("train", "huge.toml", *options).returncode == 0


def test_settings_that_make_no_sense_are_one_line(lingen_here: RunHere, fails: Fails) -> None:
    plan = ("train", "finetune", "--dry-run")
    fails(lingen_here(*plan, "--device-kind", "h10"), 2, "unknown kind 'h10'", "h100")
    fails(lingen_here(*plan, "--devices", "2"), 2, "say which with --device-kind")
    more = ("--devices", "9", "--device-kind", "h100")
    fails(lingen_here(*plan, *more), 2, "a step has 2 batches, too few for 9 devices")
    fails(lingen_here("train", "finetune", "--devices", "2"), 2, "--devices belongs to --dry-run")
    fails(lingen_here("train", "finetune", "--json"), 2, "--json belongs to --dry-run")
    split = ("--split-clips", "--processes", "1", "--device", "cpu")
    fails(lingen_here(*plan, *split), 65, "one process has nothing to split clips with")
    fails(lingen_here("train", "convert", "--dry-run"), 65, "--teacher")
    fails(lingen_here(*plan, "--data", "nowhere"), 66, "no such folder")
    assert list(Path().iterdir()) == []
