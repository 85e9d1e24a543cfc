"""`lingen plan` and `generate --dry-run`, with real probes of networks of test size."""

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lingen_cli.planning.fit import parse_budget, parse_size
from lingen_models.pipelines.text_to_video import TextToVideo
from tests.cli.protocols import Fails, RunHere

SHORT = ("--seconds", 1, "--size", 64)


@pytest.fixture
def planned(lingen_here: RunHere, tiny_weights: Path) -> Callable[..., Any]:
    """Return a function that plans with tiny networks, and gives what is printed as JSON."""

    def plan(*options: object) -> Any:
        result = lingen_here("plan", "a red ball", "--weights", tiny_weights, *options, "--json")
        assert result.returncode == 0, result.stderr
        return json.loads(result.stdout)

    return plan


def test_what_a_video_needs(planned: Callable[..., Any], clean_environment: Path) -> None:
    plan = planned(*SHORT, "--steps", 3)
    assert (plan["frames"], plan["width"], plan["height"], plan["steps"]) == (16, 64, 64, 3)
    # 16 frames are 3 latent frames of 8 x 8, and a token has 2 x 2; the first step is not guided
    assert (plan["tokens"], plan["passes"]) == (3 * 4 * 4, 5)
    assert list(plan["time"]) == ["load", "sample", "decode", "write"]
    assert min(plan["time"].values()) > 0
    assert plan["total_seconds"] == pytest.approx(sum(plan["time"].values()))
    assert plan["disk"]["latents"] == 4 * 16 * 3 * 8 * 8
    assert 100e6 < plan["ram"] < 4e9  # torch alone is above, tiny networks far below
    assert (plan["gpu"], plan["download"], plan["unknown"]) == (None, 0, [])
    assert list(clean_environment.iterdir()) == []


def test_passes_are_those_of_the_loop(
    planned: Callable[..., Any],
    lingen_here: RunHere,
    tiny_weights: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A solver with two passes a step, windows, and no guidance: counted, not guessed."""
    asked = []

    class Counting(TextToVideo):
        def denoiser_for(self, params: Any) -> Callable[..., Any]:
            def network(latents: Any, *rest: object) -> Any:
                asked.append(latents.shape[0])
                return self.denoiser(latents, *rest)

            return network

    options = ("--seconds", 70, "--size", 64, "--steps", 2, "--sampler", "heun", "--guidance", 2)
    plan = planned(*options)
    monkeypatch.setattr("lingen_models.pipelines.text_to_video.TextToVideo", Counting)
    made = lingen_here("generate", "a red ball", "--weights", tiny_weights, *options)
    assert made.returncode == 0, made.stderr
    assert plan["passes"] == sum(asked) > 20


def test_it_loads_nothing(planned: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*_: object) -> None:
        raise AssertionError("weights were read")

    monkeypatch.setattr("lingen_models.checkpoints.safetensors.load_tensors", load)
    monkeypatch.setattr("lingen_models.checkpoints.safetensors.load_network", load)
    assert planned(*SHORT)["weights"] > 0


def test_a_dry_run(lingen_here: RunHere, clean_environment: Path, tiny_weights: Path) -> None:
    result = lingen_here(
        "generate", "a red ball", "--weights", tiny_weights, *SHORT, "--dry-run", "-o", "a.mp4"
    )
    assert result.returncode == 0, result.stderr
    names = [line.split()[0] for line in result.stdout.splitlines()]
    assert names == ["video", "model", "sampling", "time", "memory", "disk"]
    assert list(clean_environment.iterdir()) == []


def test_more_length_needs_more(planned: Callable[..., Any]) -> None:
    short, long = planned(*SHORT), planned("--seconds", 30, "--size", 64)
    assert long["flops"] > 10 * short["flops"]
    assert long["disk"]["latents"] > 10 * short["disk"]["latents"]


def test_weights_that_are_nowhere(lingen_here: RunHere) -> None:
    result = lingen_here("plan", "a red ball", "--model", "dit-mini", "--seconds", 1)
    assert result.returncode == 0, result.stderr
    assert "weights   there are none" in result.stdout
    assert "without   the text encoders" in result.stdout


def test_a_story(
    lingen_here: RunHere, planned: Callable[..., Any], tiny_weights: Path, clean_environment: Path
) -> None:
    story = clean_environment / "story.toml"
    shots = [f'[[shot]]\nprompt = "a red ball"\nseconds = {seconds}\n' for seconds in (1, 2)]
    story.write_text("\n".join(shots))
    options = ("--weights", tiny_weights, "--story", story, "--size", 64, "--json")
    result = lingen_here("plan", *options)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["frames"] == 48


def test_fewer_steps_and_smaller_images(
    planned: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a pace and a memory of our own, whatever this machine has."""
    from lingen_cli.planning import plan as planning
    from lingen_cli.planning.time_probe import Measured

    monkeypatch.setattr(planning, "_resident", lambda: 0)
    monkeypatch.setattr(planning, "probe_denoiser", lambda *_: Measured(1e6, 1.0, 0))
    monkeypatch.setattr(planning, "probe_decoder", lambda *_, chunk: Measured(1.0, 0.0, 0))
    monkeypatch.setattr(planning, "probe_writer", lambda *_: 0.0)
    asked = ("--seconds", 1, "--size", 128, "--steps", 10)
    whole = planned(*asked)
    half = planned(*asked, "--budget", f"{whole['total_seconds'] / 2:.3f}")
    assert 2 <= half["steps"] < 10
    assert half["width"] == 128
    assert shlex.split(half["command"])[-2:] == ["--steps", str(half["steps"])]
    small = planned(*asked, "--budget", f"{whole['total_seconds'] / 8:.3f}")
    assert small["steps"] == 2
    assert 64 <= small["width"] < 128
    assert small["total_seconds"] <= whole["total_seconds"] / 8
    thrifty = planned(*asked, "--fit", f"{whole['ram'] / 1e6 * 0.8:.3f}MB")
    assert thrifty["frugal"]
    assert thrifty["command"].endswith("--save-memory")
    smaller = planned(*asked, "--fit", f"{thrifty['ram'] / 1e6 * 0.7:.3f}MB")
    assert smaller["width"] < 128
    assert smaller["ram"] <= thrifty["ram"] * 0.7


def test_what_is_chosen_can_be_made(
    lingen_here: RunHere, planned: Callable[..., Any], tiny_weights: Path
) -> None:
    plan = planned(*SHORT, "--steps", 2, "--fit", "100GB", "--budget", "1:00:00")
    assert not plan["frugal"]
    options = shlex.split(plan["command"])[2:]
    result = lingen_here("generate", *options, "--save-memory", "-o", "made.mp4")
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize(
    ("options", "code", "part"),
    [
        (["--fit", "1MB"], 69, "even with --save-memory"),
        (["--budget", "0.001", "--steps", "10"], 69, "even with --steps 2"),
        (["--budget", "0.001", "--steps", "2"], 69, "it takes 1 s; make a shorter video"),
        (["--fit", "3"], 2, "such as 12GB"),
        (["--budget", "soon"], 2, "--budget must be a time"),
        (["--budget", "0"], 2, "--budget must be above 0"),
        (["--steps", "0"], 2, "steps"),
        (["--stepz", "2"], 2, "no such option"),
        (["--model", "wan-1.3b", "--fit", "8GB"], 69, "run by diffusers"),
        (["--device", "cuda"], 69, "cuda is not available"),
    ],
)
def test_what_cannot_be_planned(
    lingen_here: RunHere,
    fails: Fails,
    clean_environment: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: list[str],
    code: int,
    part: str,
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    fails(lingen_here("plan", "a red ball", *SHORT, *options), code, part)
    assert list(clean_environment.iterdir()) == []


def test_sizes_and_times() -> None:
    assert [parse_size(text) for text in ("12GB", "800 mb", "4GiB", "1.5k")] == [
        12 * 10**9,
        8 * 10**8,
        4 * 2**30,
        1500,
    ]
    assert [parse_budget(text) for text in ("20m", "90", "1:30:00")] == [1200, 90, 5400]
