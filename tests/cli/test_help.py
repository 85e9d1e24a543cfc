"""Help pages, and what a shell offers behind Tab."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer

from lingen_cli.app import app
from lingen_cli.usage import help
from tests.cli.protocols import RunHere

COMMAND = typer.main.get_group(app)
NAMES = [
    " ".join((name, inner)).strip()
    for name, command in COMMAND.commands.items()
    for inner in getattr(command, "commands", {"": None})
]


def test_every_command_has_examples_and_nothing_else_has() -> None:
    assert sorted(help.EXAMPLES) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_examples_can_be_run(name: str) -> None:
    """Each is a command line of the command that it is shown for, with options that exist."""
    for example in help.EXAMPLES[name]:
        program, *words = shlex.split(example.split(" > ")[0])
        assert program == "lingen" and words[: len(name.split())] == name.split()
        context = COMMAND.make_context("lingen", words, resilient_parsing=False)
        rest = [*context._protected_args, *context.args]
        command: Any = COMMAND
        while hasattr(command, "commands"):
            command = command.commands[rest.pop(0)]
        command.make_context(name, list(rest))


@pytest.mark.parametrize("name", NAMES)
def test_help_pages_show_their_examples(
    name: str, lingen_here: RunHere, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    page = lingen_here(*name.split(), "--help").stdout
    for example in help.EXAMPLES[name]:
        assert example in page


def test_commands_stand_in_groups(lingen_here: RunHere) -> None:
    page = lingen_here("--help").stdout
    titles = (help.MAKE, help.LOOK, help.BATCH, help.MODELS, help.RESEARCH, help.SETUP)
    assert all(f"─ {title} ─" in page for title in titles)
    assert "─ Commands ─" not in page


@pytest.mark.parametrize(
    ("command", "option", "default"),
    [
        ("generate", "--seconds", "4"),
        ("generate", "--steps", "the model's"),
        ("generate", "--size", "the model's"),
        ("generate", "--seed", "random"),
        ("generate", "--step-cache", "0"),
        ("generate", "--model", "lingen-mini"),
        ("generate", "--output", "a free name in the output folder"),
        ("extend", "--seconds", "4"),
        ("extend", "--fit", "stretch"),
        ("retake", "--to", "the end of the video"),
        ("train", "--processes", "one per thread"),
        ("bench", "--lengths", "4,10,17,34,60"),
    ],
)
def test_defaults_are_visible(
    command: str, option: str, default: str, lingen_here: RunHere, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    lines = lingen_here(command, "--help").stdout.splitlines()
    (line,) = [line for line in lines if re.match(rf"│ [* ]*{option}\b", line)]
    assert f"[default: ({default})]" in line


def offered(*words: str, folder: Path) -> Any:
    """What bash would be offered for the last word."""
    variables = {
        "_LINGEN_COMPLETE": "complete_bash",
        "COMP_WORDS": " ".join(words),
        "COMP_CWORD": str(len(words) - 1),
    }
    script = "import sys; sys.argv = ['lingen']; from lingen_cli.app import main; main()"
    found = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | variables,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
    )
    return found.stdout.split()


@pytest.mark.parametrize(
    ("words", "values"),
    [
        (("models", "show", "lingen-m"), {"lingen-mini", "lingen-mini-4step"}),
        (("generate", "x", "--model", "wan-1"), {"wan-1.3b"}),
        (("generate", "x", "--sampler", "dpm"), {"dpm-multistep"}),
        (("generate", "x", "--device", ""), {"auto", "cpu", "cuda"}),
        (("bench", "--preset", "p"), {"paper"}),
        (("extend", "squ"), {"square.mp4"}),
        (("extend", "sub/"), {"sub/ball.mov"}),
        (("verify", "square.mp4", ""), {"square.mp4"}),
        (("generate", "--story", ""), {"story.toml"}),
    ],
)
def test_values_are_completed(
    words: tuple[str, ...], values: set[str], clean_environment: Path
) -> None:
    (clean_environment / "sub").mkdir()
    for name in ("square.mp4", "square.txt", "story.toml", "sub/ball.mov", "sub/other.txt"):
        (clean_environment / name).touch()
    assert values <= set(offered("lingen", *words, folder=clean_environment))
    if "model" not in " ".join(words):
        assert set(offered("lingen", *words, folder=clean_environment)) == values
