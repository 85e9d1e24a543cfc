"""Every command line of README.md and docs/cli.md: run, or read where it needs hours or a GPU."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest
import typer

from lingen_cli.app import app
from tests.cli.protocols import RunHere

ROOT = Path(__file__).parents[2]
COMMAND = typer.main.get_command(app)
CHEAP = {"LINGEN_STEPS": "1", "LINGEN_SIZE": "64", "LINGEN_SECONDS": "1"}
"""Settings with which every video is made in a second or two."""
ONLY_READ = ("train", "report", "convert", "evaluate", "metrics", "bench", "resume", "decode")
"""Commands that need hours, weights, videos or a training of one's own, or a run that was
interrupted."""


def commands_on(page: str) -> list[Any]:
    lines = re.findall(r"^    (.*\blingen .*)$", (ROOT / page).read_text(encoding="utf-8"), re.M)
    found = [line.split(" && ")[-1] for line in lines]
    # `[...]`, words in capitals and `...` stand for something: such a line cannot be run as it is.
    return [line for line in found if not re.search(r"\[|\.\.\.|(?<![\w-])[A-Z]{4,}", line)]


def cheaper(line: Any) -> Any:
    """The same command for a second of video."""
    return re.sub(r"--minutes \d+|--seconds \d+", "--seconds 1", line)


def read(words: Any) -> Any:
    """Read the options of a command line without running it."""
    context = COMMAND.make_context("lingen", list(words))
    rest = [*context._protected_args, *context.args]
    command: Any = COMMAND
    command = command.commands[rest.pop(0)]
    if hasattr(command, "commands"):
        command = command.commands[rest.pop(0)]
    return command.make_context(command.name, rest)


@pytest.fixture
def here(clean_environment: Path, monkeypatch: pytest.MonkeyPatch, lingen_here: RunHere) -> RunHere:
    """A folder with the files that the pages name."""
    for name, value in CHEAP.items():
        monkeypatch.setenv(name, value)
    made = ("generate", "a red ball", "--seconds", "16", "-q", "-o")
    assert lingen_here(*made, "story-before.mp4").returncode == 0
    for name in ("holiday.mov", "holiday.mp4"):
        import av

        with av.open("story-before.mp4") as source, av.open(name, "w") as container:
            stream = container.add_stream_from_template(source.streams.video[0])
            for packet in source.demux(source.streams.video[0]):
                if packet.dts is not None:
                    packet.stream = stream
                    container.mux(packet)
    assert lingen_here("show", "story-before.mp4", "--sheet", "first.png").returncode == 0
    Path("my_clips").mkdir()
    Path("my_clips/holiday.mp4").write_bytes(Path("holiday.mp4").read_bytes())
    Path("my_clips/holiday.txt").write_text("a holiday")
    Path("prompts.txt").write_text("a red ball\na blue star\n")
    Path("jobs.jsonl").write_text('{"prompt": "a red ball", "seed": 1}\n')
    Path("jobs.csv").write_text("prompt,seed\n" + "a red ball,1\n" * 3)
    page = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    story = re.search("```toml\n(.*?)```", page, re.DOTALL)
    assert story is not None
    Path("story.toml").write_text(story[1])
    return lingen_here


@pytest.mark.timeout(900)
@pytest.mark.parametrize(("page", "count"), [("README.md", 12), ("docs/cli.md", 14)])
def test_the_commands_of_a_page(
    page: str, count: int, here: RunHere, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = commands_on(page)
    assert len(lines) >= count
    failed = []
    for line in lines:
        command, _, target = cheaper(line).removeprefix("lingen ").partition(" > ")
        words = shlex.split(command.split(" | ")[0])
        others = any(word == "wan-1.3b" or word.startswith("~/models/") for word in words)
        if others or words[0] in ONLY_READ:
            read(words)
            continue
        if words[0] == "retake":
            Path("story-before.mp4").replace("story.mp4")  # as long as the page has it
        if " | " in command:
            with Path("piped.mp4").open("w") as sink, monkeypatch.context() as patch:
                patch.setattr(sys, "stdout", sink)
                found = here(*words)
        else:
            found = here(*words)
        if found.returncode != 0:
            failed.append((line, found.returncode, found.stderr))
        if target:
            Path(target).write_text(found.stdout, encoding="utf-8")
    assert not failed


def test_what_a_page_says_about_files_is_there() -> None:
    """Commands that make a file and those that use it agree on its name."""
    lines = commands_on("README.md")
    assert any("-o square.mp4" in line for line in lines)
    assert any(line.startswith("lingen extend square.mp4") for line in lines)
