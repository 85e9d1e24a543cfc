"""Ctrl-C keeps what was sampled, however little that is."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from lingen_cli.exit_codes import Terminated
from lingen_cli.generation.journal import SECONDS_VARIABLE
from tests.cli.forked import Forked
from tests.cli.protocols import RunHere

STEPS = 120
"""More than a run makes until a signal has reached it."""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("sampler", ["dpm-multistep", "euler"])
def test_a_short_run_goes_on_after_a_signal(
    clean_environment: Path,
    lingen_here: RunHere,
    tiny_weights: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: signal.Signals,
    sampler: str,
) -> None:
    """Long before the journal is due, and ends in the bytes of an uninterrupted run."""
    monkeypatch.setenv(SECONDS_VARIABLE, "3600")
    common = ["generate", "a red ball", "--frames", "17", "--seed", "3", "--steps", str(STEPS)]
    common += ["--sampler", sampler, "--weights", str(tiny_weights)]
    with Forked(*common, "-o", "a.mp4", "--json") as process:
        for line in process.stdout:
            event = json.loads(line)
            if event.get("phase") == "sample" and event["done"] >= 3:
                break
        process.send_signal(number)
        _, err = process.communicate()
    assert process.returncode == 128 + number
    assert "press Ctrl-C again to stop now" in err
    assert "what was sampled is kept; to go on: lingen resume a.mp4" in err
    again = lingen_here("resume", "a.mp4", "--json")
    events = [json.loads(line) for line in again.stdout.splitlines()]
    sampled = [one["done"] for one in events if one.get("phase") == "sample" and one["done"]]
    assert again.returncode == 0 and 3 <= sampled[0] < STEPS
    assert lingen_here(*common, "-o", "b.mp4").returncode == 0
    assert (clean_environment / "a.mp4").read_bytes() == (clean_environment / "b.mp4").read_bytes()


@pytest.mark.parametrize("error", [KeyboardInterrupt, Terminated])
def test_what_is_sampled_is_kept_while_it_is_decoded(
    clean_environment: Path,
    lingen_here: RunHere,
    tiny_weights: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: Any,
) -> None:
    from lingen_cli.generation import encode

    def stopped(*_: object) -> None:
        raise error

    monkeypatch.setenv(SECONDS_VARIABLE, "3600")
    common = ["generate", "a red ball", "--frames", "9", "--steps", "2", "-o", "a.mp4"]
    with monkeypatch.context() as patch:
        patch.setattr(encode, "decoded", stopped)
        found = lingen_here(*common, "--weights", tiny_weights)
    assert "lingen resume a.mp4" in found.stderr
    assert lingen_here("decode", "a.mp4").returncode == 0
    assert [path.name for path in clean_environment.iterdir()] == ["a.mp4"]


def test_nothing_is_kept_of_nothing(
    clean_environment: Path,
    lingen_here: RunHere,
    tiny_weights: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from lingen_cli.generation import sample

    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(sample, "layouts_of", stopped)
    found = lingen_here("generate", "a red ball", "--frames", "9", "--weights", tiny_weights)
    assert found.returncode == 130
    assert "nothing was sampled yet, so nothing is kept" in found.stderr
    assert list(clean_environment.iterdir()) == []
