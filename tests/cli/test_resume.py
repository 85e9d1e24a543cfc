"""Runs that are stopped, and go on: `lingen resume`, and the same command again."""

from __future__ import annotations

import errno
import itertools
import json
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from lingen_cli.files.sealed import sealed
from lingen_cli.generation.journal import SECONDS_VARIABLE
from lingen_cli.media.images.image_files import write_png
from tests.cli.forked import Forked
from tests.cli.protocols import Fails, RunHere

PROMPT = "a red ball"


@pytest.fixture(autouse=True)
def small(clean_environment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make small videos, if a test does not say otherwise."""
    monkeypatch.setenv("LINGEN_SIZE", "64")


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write the journal at every step."""
    monkeypatch.setenv(SECONDS_VARIABLE, "0")


@pytest.fixture
def stopped(clean_environment: Path, tiny_weights: Path) -> Callable[..., int]:
    """Return a function that kills a run of `lingen` after a few of its sampling steps."""

    def stop(*arguments: object, number: signal.Signals = signal.SIGKILL) -> int:
        words = [*map(str, arguments), "--weights", str(tiny_weights), "--json"]
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(SECONDS_VARIABLE, "0")
            process = Forked(*words)
        with process:
            for line in process.stdout:
                event = json.loads(line)
                if event.get("phase") == "sample" and event["done"] >= 4:
                    break
            process.send_signal(number)
        return process.returncode

    return stop


def journals(folder: Path) -> list[Path]:
    return sorted(folder.glob(".*/journal"))


def events_of(result: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


@pytest.mark.parametrize(
    ("number", "sampler"), [(signal.SIGKILL, "dpm-multistep"), (signal.SIGTERM, "euler")]
)
def test_the_same_command_goes_on_and_ends_in_the_same_bytes(
    clean_environment: Path,
    lingen_here: RunHere,
    stopped: Callable[..., int],
    tiny_weights: Path,
    number: signal.Signals,
    sampler: str,
) -> None:
    common = (PROMPT, "--frames", 17, "--seed", 3, "--steps", 100, "--sampler", sampler)
    assert stopped("generate", *common, "-o", "a.mp4", number=number) in (-9, 143)
    assert not (clean_environment / "a.mp4").exists()
    (journal,) = journals(clean_environment)
    assert {path.name for path in journal.iterdir()} >= {"job.json", "state.safetensors"}

    again = lingen_here("generate", *common, "-o", "a.mp4", "--weights", tiny_weights, "--json")
    assert again.returncode == 0, again.stderr
    events = events_of(again)
    assert any(event["event"] == "resume" for event in events)
    sampled = [e["done"] for e in events if e.get("phase") == "sample" and e["done"]]
    assert sampled[0] > 3  # the steps before were not made again
    assert sampled == list(range(sampled[0], 101))
    assert journals(clean_environment) == []
    assert [path.name for path in clean_environment.iterdir()] == ["a.mp4"]

    whole = lingen_here("generate", *common, "-o", "b.mp4", "--weights", tiny_weights)
    assert whole.returncode == 0, whole.stderr
    assert (clean_environment / "a.mp4").read_bytes() == (clean_environment / "b.mp4").read_bytes()


def test_resume_takes_the_name_and_the_seed_that_were_drawn(
    clean_environment: Path, lingen_here: RunHere, stopped: Callable[..., int]
) -> None:
    stopped("generate", PROMPT, "--frames", 9, "--steps", 100)
    (journal,) = journals(clean_environment)
    seed = json.loads((journal / "job.json").read_text())["recipe"]["sampling"]["seed"]
    result = lingen_here("resume")
    assert result.returncode == 0, result.stderr
    assert result.stdout == "a-red-ball.mp4\n"
    shown = json.loads(lingen_here("show", "a-red-ball.mp4", "--json").stdout)
    assert shown["recipe"]["sampling"]["seed"] == seed
    assert journals(clean_environment) == []


@pytest.mark.parametrize("command", ["resume", "generate"])
def test_a_journal_with_a_recipe_of_format_1(
    clean_environment: Path,
    lingen_here: RunHere,
    stopped: Callable[..., int],
    tiny_weights: Path,
    format_1: Callable[[Mapping[str, Any]], dict[str, Any]],
    command: str,
) -> None:
    options = ("generate", PROMPT, "--frames", 9, "--steps", 100)
    stopped(*options)
    (journal,) = journals(clean_environment)
    begun = json.loads((journal / "job.json").read_text())
    seed = begun["recipe"]["sampling"]["seed"]
    begun["recipe"] = format_1(begun["recipe"])
    del begun["sha256"]
    (journal / "job.json").write_bytes(sealed(begun))
    again = {"resume": ("resume",), "generate": (*options, "--weights", tiny_weights)}
    events = events_of(lingen_here(*again[command], "--json"))
    assert next(one for one in events if one["event"] == "start")["seed"] == seed
    assert any(one["event"] == "resume" for one in events)


def test_the_same_command_without_a_seed_goes_on_too(
    clean_environment: Path, lingen_here: RunHere, stopped: Callable[..., int], tiny_weights: Path
) -> None:
    stopped("generate", PROMPT, "--frames", 9, "--steps", 100)
    (journal,) = journals(clean_environment)
    seed = json.loads((journal / "job.json").read_text())["recipe"]["sampling"]["seed"]
    result = lingen_here(
        "generate", PROMPT, "--frames", 9, "--steps", 100, "--weights", tiny_weights, "--json"
    )
    start = next(event for event in events_of(result) if event["event"] == "start")
    assert start["seed"] == seed


def test_other_settings_never_take_it_over(
    clean_environment: Path,
    lingen_here: RunHere,
    stopped: Callable[..., int],
    tiny_weights: Path,
    fails: Fails,
) -> None:
    common = ("--frames", 9, "--weights", tiny_weights)
    stopped("generate", PROMPT, "--frames", 9, "--steps", 100, "--seed", 1, "-o", "a-red-ball.mp4")
    other = lingen_here("generate", PROMPT, *common, "--steps", 2, "-o", "a-red-ball.mp4")
    fails(other, 73, "a run with other settings was stopped there", "lingen resume")
    assert len(journals(clean_environment)) == 1
    named = lingen_here("generate", PROMPT, *common, "--steps", 2)
    assert named.stdout == "a-red-ball-2.mp4\n"
    assert len(journals(clean_environment)) == 1
    dropped = lingen_here(
        "generate", PROMPT, *common, "--steps", 2, "-o", "a-red-ball.mp4", "--overwrite"
    )
    assert dropped.returncode == 0, dropped.stderr
    assert journals(clean_environment) == []


def test_resume_says_what_there_is(
    clean_environment: Path, lingen_here: RunHere, stopped: Callable[..., int], fails: Fails
) -> None:
    fails(lingen_here("resume"), 66, "nothing to resume in this folder")
    fails(lingen_here("resume", "a.mp4"), 66, "no interrupted run for a.mp4")
    for name in ("a.mp4", "b.mp4"):
        stopped("generate", PROMPT, "--frames", 9, "--steps", 100, "-o", name)
    fails(lingen_here("resume"), 2, "several runs were interrupted here, name one: a.mp4, b.mp4")
    assert lingen_here("resume", "b.mp4").stdout == "b.mp4\n"
    assert lingen_here("resume").stdout == "a.mp4\n"


@pytest.fixture
def made(clean_environment: Path, lingen_here: RunHere, tiny_weights: Path) -> Path:
    """A video of two seconds."""
    result = lingen_here(
        *("generate", PROMPT, "--seconds", 2, "--seed", 1, "--steps", 2),
        *("--weights", tiny_weights, "-o", "made.mp4"),
    )
    assert result.returncode == 0, result.stderr
    return clean_environment / "made.mp4"


class DecoderError(RuntimeError):
    """Stands for anything that goes wrong after the sampling."""


@pytest.mark.parametrize("every", [0, 3, 5])
def test_latents_are_safe_before_they_are_decoded(
    clean_environment: Path,
    lingen_here: RunHere,
    made: Path,
    monkeypatch: pytest.MonkeyPatch,
    every: int,
) -> None:
    """However many windows have waited when the journal falls due; the clock counts its looks."""
    from lingen_cli.generation import encode, journal
    from lingen_models.networks.denoiser import LinGen

    monkeypatch.setenv(SECONDS_VARIABLE, str(every))
    ticks = itertools.count()
    monkeypatch.setattr(journal, "time", SimpleNamespace(monotonic=lambda: next(ticks)))

    command = ("extend", made, "--seconds", 40, "--steps", 2, "--seed", 2)

    def broken(*_: object) -> None:
        raise DecoderError

    with monkeypatch.context() as patch:
        patch.setattr(encode, "decoded", broken)
        failed = lingen_here(*command, "-o", "long.mp4")
    assert failed.returncode == 70
    assert "to go on: lingen resume long.mp4" in failed.stderr
    (left,) = journals(clean_environment)
    windows = sorted(path.name for path in left.glob("[0-9]*"))
    assert windows == ["0.safetensors", "1.safetensors", "2.safetensors", "3.safetensors"]

    with monkeypatch.context() as patch:
        patch.setattr(LinGen, "forward", broken)
        resumed = lingen_here("resume", "long.mp4")
    assert resumed.returncode == 0, resumed.stderr
    assert lingen_here(*command, "-o", "whole.mp4").returncode == 0
    long, whole = clean_environment / "long.mp4", clean_environment / "whole.mp4"
    assert long.read_bytes() == whole.read_bytes()


def test_decoding_alone_never_samples(
    clean_environment: Path,
    lingen_here: RunHere,
    stopped: Callable[..., int],
    tiny_weights: Path,
    fails: Fails,
) -> None:
    from lingen_cli.generation import encode

    options = ("--steps", 12, "--frames", 17, "--size", 64, "--seed", 1, "-o", "a.mp4")
    assert stopped("generate", PROMPT, *options) == -signal.SIGKILL
    fails(lingen_here("decode"), 65, "not all is sampled yet; to go on: lingen resume a.mp4")
    assert journals(clean_environment)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encode, "decoded", lambda *_: 1 / 0)
        assert lingen_here("resume").returncode == 70
    result = lingen_here("decode", "a.mp4")
    assert (result.returncode, result.stdout) == (0, "a.mp4\n")
    assert journals(clean_environment) == []
    whole = lingen_here("generate", PROMPT, *options[:-1], "whole.mp4", "--weights", tiny_weights)
    assert whole.returncode == 0
    assert Path("a.mp4").read_bytes() == Path("whole.mp4").read_bytes()


def test_pieces_that_were_encoded_are_not_encoded_again(
    clean_environment: Path,
    lingen_here: RunHere,
    tiny_weights: Path,
    always: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from lingen_cli.generation import encode

    command = ["generate", PROMPT, "--frames", 700, "--steps", 2, "--size", 64, "--seed", 1]
    command += ["--weights", tiny_weights]
    assert lingen_here(*command, "-o", "whole.mp4").returncode == 0
    decoded = encode.decoded

    def breaks(pipe: Any, latents: Any, first: int, last: int) -> Iterator[Any]:
        for number, chunk in enumerate(decoded(pipe, latents, first, last)):
            if number == 40:  # of 16 frames each: after two pieces of 233
                raise OSError(errno.EIO, "gone")
            yield chunk

    with monkeypatch.context() as patch:
        patch.setattr(encode, "decoded", breaks)
        assert lingen_here(*command, "-o", "a.mp4").returncode == 74
    (journal,) = journals(clean_environment)
    pieces = sorted(path.name for path in (journal / "pieces").iterdir())
    assert pieces == ["0-233.json", "0-233.mp4", "233-466.json", "233-466.mp4"]
    begins = []

    def watched(pipe: Any, latents: Any, first: int, last: int) -> Iterator[Any]:
        begins.append(first)
        return decoded(pipe, latents, first, last)

    monkeypatch.setattr(encode, "decoded", watched)
    (journal / "pieces" / "233-466.mp4").write_bytes(b"damaged")
    assert lingen_here("resume").returncode == 0
    assert begins == [233]
    assert Path("a.mp4").read_bytes() == Path("whole.mp4").read_bytes()
    assert journals(clean_environment) == []


def test_a_run_that_is_asked_to_writes_its_journal_and_goes_on(
    clean_environment: Path, tiny_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SECONDS_VARIABLE, "3600")
    command = ["generate", PROMPT, "--steps", 300, "--frames", 49, "--size", 64]
    seen = []
    with Forked(*command, "--weights", tiny_weights, "--json") as process:
        for line in process.stdout:
            event = json.loads(line)
            if event.get("phase") == "sample":
                if event["done"] == 4:
                    assert journals(clean_environment) == []
                    process.send_signal(signal.SIGUSR1)
                elif event["done"] >= 4 and journals(clean_environment):
                    seen.append(event["done"])
        _, err = process.communicate()
    assert process.returncode == 0, err
    assert seen
    assert "is written down after this step" in err
    assert journals(clean_environment) == []


def test_a_run_killed_after_it_had_published_leaves_nothing_for_long(
    clean_environment: Path,
    lingen_here: RunHere,
    tiny_weights: Path,
    always: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from lingen_cli.files.work_folder import WorkFolder

    command = ["generate", PROMPT, "--frames", 9, "--steps", 2, "--size", 64, "-o", "a.mp4"]
    command += ["--weights", tiny_weights]
    with monkeypatch.context() as patch:
        patch.setattr(WorkFolder, "_remove", lambda self: self._lock.release(force=True))
        assert lingen_here(*command).returncode == 0
    assert journals(clean_environment) != []
    before = Path("a.mp4").stat()
    again = lingen_here("resume", "a.mp4", "--json")
    assert (again.returncode, events_of(again)[-1]["skipped"]) == (0, True)
    assert list(clean_environment.iterdir()) == [clean_environment / "a.mp4"]
    assert Path("a.mp4").stat().st_mtime_ns == before.st_mtime_ns


def test_a_damaged_file_is_sampled_again(
    clean_environment: Path,
    lingen_here: RunHere,
    made: Path,
    always: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from lingen_cli.generation import encode

    command = ("extend", made, "--seconds", 40, "--steps", 2, "--seed", 2)
    with monkeypatch.context() as patch:
        patch.setattr(encode, "decoded", lambda *_: 1 / 0)
        lingen_here(*command, "-o", "long.mp4")
    (journal,) = journals(clean_environment)
    second = journal / "1.safetensors"
    second.write_bytes(second.read_bytes()[:-4] + b"\1\2\3\4")
    (journal / "3.safetensors").write_bytes(b"")
    resumed = lingen_here("resume")
    assert resumed.returncode == 0, resumed.stderr
    assert lingen_here(*command, "-o", "whole.mp4").returncode == 0
    long, whole = clean_environment / "long.mp4", clean_environment / "whole.mp4"
    assert long.read_bytes() == whole.read_bytes()


def test_a_retake_with_a_drawn_seed_goes_on(
    clean_environment: Path,
    lingen_here: RunHere,
    made: Path,
    always: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from lingen_cli.generation import encode

    command = ("retake", made, "--from", "0.5", "--to", "1", "--steps", 3)
    with monkeypatch.context() as patch:
        patch.setattr(encode, "decoded", lambda *_: 1 / 0)
        lingen_here(*command)
    (journal,) = journals(clean_environment)
    seed = json.loads((journal / "job.json").read_text())["recipe"]["edits"][0]["sampling"]["seed"]
    result = lingen_here(*command, "--json")
    start, *rest = events_of(result)
    assert start["seed"] == seed
    assert any(event["event"] == "resume" for event in rest)


def test_a_journal_that_cannot_be_written_stops_nothing(
    clean_environment: Path,
    lingen_here: RunHere,
    tiny_weights: Path,
    always: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from lingen_models.checkpoints import safetensors

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(safetensors, "save_tensors", full)
    result = lingen_here(
        *("generate", PROMPT, "--frames", 9, "--steps", 4),
        *("--weights", tiny_weights, "-o", "a.mp4"),
    )
    assert result.returncode == 0, result.stderr
    assert result.stderr.count("tried again: No space left on device") == 1
    assert journals(clean_environment) == []


def test_a_short_run_leaves_nothing(
    clean_environment: Path,
    lingen_here: RunHere,
    tiny_weights: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from lingen_cli.generation import encode

    monkeypatch.setenv(SECONDS_VARIABLE, "3600")  # shorter than that, on any machine
    monkeypatch.setattr(encode, "decoded", lambda *_: 1 / 0)
    result = lingen_here("generate", PROMPT, "--frames", 9, "--steps", 2, "--weights", tiny_weights)
    assert result.returncode == 70
    assert "lingen resume" not in result.stderr
    assert list(clean_environment.iterdir()) == []


def test_an_image_that_changed_is_another_run(
    clean_environment: Path,
    lingen_here: RunHere,
    stopped: Callable[..., int],
    tiny_weights: Path,
    fails: Fails,
) -> None:
    image = np.zeros((64, 64, 3), np.uint8)
    write_png(Path("first.png"), image)
    common = ("generate", PROMPT, "--frames", 9, "--image", "first.png", "--size", 64)
    stopped(*common, "--steps", 100, "--seed", 1, "-o", "a.mp4")
    write_png(Path("first.png"), image + 255)
    fails(lingen_here("resume", "a.mp4"), 73, "other settings")
