"""Every sampling parameter travels from its option to the recipe, and from there to a rerun."""

import json
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import typer

from lingen_cli.app import app
from lingen_cli.inputs.settings import load, sampling_given
from lingen_cli.requests.edits import Added, Retaken
from lingen_cli.requests.recipe import Recipe, recipe_from_video
from lingen_models.sampling.params import SamplingParams, options
from tests.cli.protocols import RunHere

OTHER = SamplingParams(
    steps=3,
    guidance_scale=2.5,
    guidance_interval=(0.1, 0.8),
    step_cache=0.3,
    sampler="heun",
    negative_prompt="a star",
    shift=2.0,
    plan_layout=False,
    seed=7,
)
"""Each field differs from what the models and the tests below have."""
FIELDS = [field.name for field in fields(SamplingParams)]
OWN = [name for name in FIELDS if name != "shift"]
"""Those that lingen's own models follow."""
COMMANDS = ("generate", "extend", "continue", "branch", "retake", "evaluate")
SMALL = ("--size", "32", "--frames", "9")


def option_of(name: str) -> tuple[str, str]:
    """The name of the setting, and the value of the field as a command line has it."""
    (option,) = [option for option, field in options().items() if field == name]
    value = getattr(OTHER, name)
    if isinstance(value, bool):
        return option, str(value).lower()
    return option, ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def flag_name(name: str) -> str:
    return "--" + option_of(name)[0].replace("_", "-")


def flag_of(name: str) -> tuple[str, ...]:
    """The option with its value, as words of a command line."""
    if getattr(OTHER, name) is False:
        return (flag_name(name).replace("--", "--no-", 1),)
    return flag_name(name), option_of(name)[1]


@pytest.fixture
def done(lingen_here: RunHere) -> Callable[..., Recipe]:
    """Return a function that runs a command, which succeeds, and gives the recipe it wrote."""

    def run(*arguments: object) -> Recipe:
        result = lingen_here(*arguments, "-o", "made.mp4", "--overwrite", "--quiet")
        assert result.returncode == 0, result.stderr
        return recipe_from_video(Path("made.mp4"))

    return run


@pytest.fixture
def first(lingen_here: RunHere, tiny_weights: Path) -> Path:
    """A video of which each field is another."""
    options = ("--steps", "1", "--seed", "1", "--weights", tiny_weights, "-o", "first.mp4")
    result = lingen_here("generate", "a red ball", *SMALL, *options)
    assert result.returncode == 0, result.stderr
    return Path("first.mp4")


@pytest.mark.parametrize("name", OWN)
def test_from_the_option_to_the_recipe_to_the_rerun(
    lingen_here: RunHere, done: Callable[..., Recipe], first: Path, tiny_weights: Path, name: Any
) -> None:
    base = recipe_from_video(first).sampling
    expected = replace(base, **{name: getattr(OTHER, name)})
    assert expected != base
    fixed = ("--steps", "1", "--seed", "1", "--weights", tiny_weights)
    made = done("generate", "a red ball", *SMALL, *fixed, *flag_of(name))
    assert made.sampling == expected
    again = lingen_here("rerun", "made.mp4", "-o", "again.mp4")
    assert again.returncode == 0, again.stderr
    assert recipe_from_video(Path("again.mp4")).sampling == expected
    assert Path("again.mp4").read_bytes() == Path("made.mp4").read_bytes()


@pytest.mark.parametrize("name", OWN)
def test_edits_take_it_too(done: Callable[..., Recipe], first: Path, name: Any) -> None:
    base = recipe_from_video(first).sampling
    expected = replace(base, **{name: getattr(OTHER, name)})
    longer = done("extend", first, "--seconds", "0.5", *flag_of(name))
    (added,) = longer.edits
    assert isinstance(added, Added)
    assert (longer.sampling, added.sampling) == (base, expected)
    retake = done("retake", first, "--from", "0.2", "--prompt", "a red ball", *flag_of(name))
    (retaken,) = retake.edits
    assert isinstance(retaken, Retaken)
    assert (retake.sampling, retaken.sampling) == (base, expected)


@pytest.mark.parametrize("name", FIELDS)
def test_it_is_a_setting_and_a_variable(
    clean_environment: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    option, value = option_of(name)
    monkeypatch.setenv(f"LINGEN_{option.upper()}", value)
    loaded = load()
    assert loaded.sampling.values == {name: getattr(OTHER, name)}
    assert loaded.sampling.sources[name] == f"LINGEN_{option.upper()}"
    monkeypatch.delenv(f"LINGEN_{option.upper()}")
    text = getattr(OTHER, name)
    Path("lingen.toml").write_text(f"{option} = {json.dumps(text)}\n")
    loaded = load()
    assert loaded.sampling.values == {name: text}
    assert loaded.sampling.sources[name] == str(Path("lingen.toml").absolute())
    assert sampling_given({option: text}).sources == {name: flag_name(name)}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_that_samples_has_every_option(command: str) -> None:
    params = typer.main.get_group(app).commands[command].params
    known = {option for param in params for option in param.opts}
    assert {flag_name(name) for name in FIELDS} <= known


def test_a_line_of_a_batch_takes_them_all(
    lingen_here: RunHere, tiny_weights: Path, clean_environment: Path
) -> None:
    line = {"prompt": "a red ball", "size": 32, "frames": 9, "weights": str(tiny_weights)}
    line |= dict(map(option_of, OWN))
    Path("jobs.jsonl").write_text(json.dumps(line))
    result = lingen_here("batch", "jobs.jsonl", "--name", "one", "-q")
    assert result.returncode == 0, result.stderr
    (made,) = clean_environment.rglob("one.mp4")
    assert recipe_from_video(made).sampling == replace(OTHER, shift=0.0)


@pytest.mark.parametrize("command", ["generate", "extend"])
@pytest.mark.parametrize(
    ("options", "part"),
    [
        (("--steps", "0"), "--steps must be greater than or equal to 1, not 0"),
        (("--guidance", "nan"), "--guidance must be a finite number"),
        (("--step-cache", "11"), "--step-cache must be less than or equal to 10"),
        (("--guidance-interval", "1,0"), "--guidance-interval must be two times"),
        (("--seed", "-2"), "--seed must be"),
        (("--negative", "\x1b"), "--negative has a control character"),
    ],
)
def test_one_mistake_has_one_message_and_ends_the_events(
    lingen_here: RunHere, first: Path, command: str, options: tuple[str, str], part: str
) -> None:
    what = {"generate": "a red ball", "extend": first}[command]
    result = lingen_here(command, what, *options, "--json")
    error, end = map(json.loads, result.stdout.splitlines()[-2:])
    assert (error["event"], end["event"]) == ("error", "end")
    assert (result.returncode, part in error["message"]) == (2, True), error


@pytest.mark.parametrize("command", ["generate", "extend", "rerun", "retake"])
def test_broken_settings_end_the_events(lingen_here: RunHere, first: Path, command: str) -> None:
    Path("lingen.toml").write_text("steps = 0")
    more = ("--from", "0.1") if command == "retake" else ()
    what = "a red ball" if command == "generate" else first
    result = lingen_here(command, what, *more, "--json")
    assert [json.loads(line)["event"] for line in result.stdout.splitlines()][-1] == "end"
    assert result.returncode == 78
