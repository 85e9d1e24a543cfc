"""Videos, weights, lists and journals that somebody planted: nothing runs, nothing escapes."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path

import pytest

from lingen_cli.media.metadata import read_recipe

ESCAPE = "\x1b[31m\x07red\r\nlingen: all is well"


class Evil:
    def __reduce__(self):
        return os.system, ("touch executed",)


@pytest.fixture
def make(lingen_here, tiny_weights, clean_environment):
    """A video of our own."""
    result = lingen_here(
        *("generate", "a red ball", "--frames", 9, "--steps", 2, "--size", 64, "--seed", 1),
        *("--weights", tiny_weights, "-o", "a.mp4"),
    )
    assert result.returncode == 0, result.stderr
    return Path("a.mp4")


@pytest.fixture
def plant(make, with_recipe):
    """Return a function that gives a copy of the video another recipe."""

    def run(**changes):
        return with_recipe(make, Path("planted.mp4"), read_recipe(make) | changes)

    return run


def is_harmless(result):
    """No control character reaches the terminal, and nothing was run."""
    for text in (result.stdout, result.stderr):
        assert all(c.isprintable() for c in text.replace("\n", "")), text
        assert not any(line.startswith("lingen: all is well") for line in text.splitlines())
    assert not Path("executed").exists()
    return result


COMMANDS = [
    ("show",),
    ("rerun", "-o", "out/b.mp4"),
    ("extend", "--seconds", 1, "-o", "out/b.mp4"),
    ("branch", "a ball", "--at", "0.3s", "--seconds", 1, "-o", "out/b.mp4"),
    ("retake", "--from", "0.1s", "-o", "out/b.mp4"),
    ("verify",),
    ("check",),
]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
@pytest.mark.parametrize(
    "changes",
    [
        {"prompt": ESCAPE},
        {"negative": ESCAPE},
        {"model": ESCAPE},
        {"sampler": ESCAPE},
        {"weights_folder": ESCAPE},
        {"weights_folder": "../../../../etc"},
        {"versions": {ESCAPE: ESCAPE}},
        {"device": ESCAPE, "dtype": ESCAPE},
        {"image": {"path": ESCAPE, "sha256": "0" * 64}},
        {ESCAPE: ESCAPE},
        {"frames": 10**9},
        {"threads": 10**9},
        {"frame_hashes": [{"begin": 0, "end": 1, "sha256": ESCAPE}]},
    ],
    ids=lambda changes: next(iter(changes)) if ESCAPE not in changes else "key",
)
def test_a_recipe_that_was_planted(plant, lingen_here, command, changes):
    video = plant(**changes)
    Path("out").mkdir()
    before = set(Path().rglob("*"))
    name, *rest = command
    result = is_harmless(lingen_here(name, video, *rest))
    assert result.returncode in (0, 1, 2, 65, 66, 69, 78), result.stderr
    assert set(Path().rglob("*")) - before <= {Path("out/b.mp4")}


def test_weights_in_a_recipe_are_never_unpickled(plant, lingen_here, tiny_weights):
    folder = Path("evil")
    folder.mkdir()
    for file in tiny_weights.iterdir():
        (folder / file.name).write_bytes(pickle.dumps(Evil()))
    result = is_harmless(lingen_here("rerun", plant(weights_folder="evil"), "-o", "b.mp4"))
    assert result.returncode == 65
    assert "must be safetensors" in result.stderr


@pytest.mark.parametrize("name", ["../escaped.mp4", "/tmp/escaped.mp4", ESCAPE + ".mp4"])
def test_a_journal_that_was_planted(clean_environment, lingen_here, name):
    journal = Path(".a.mp4.lingen/journal")
    journal.mkdir(parents=True)
    (journal.parent / "lock").touch()
    (journal / "job.json").write_text(json.dumps({"format": 1, "name": name}))
    for arguments in ((), ("a.mp4",)):
        result = is_harmless(lingen_here("resume", *arguments))
        assert result.returncode in (65, 66)
    assert not Path("../escaped.mp4").exists()


@pytest.mark.parametrize(
    "line",
    [
        {"output": "../escaped.mp4"},
        {"output": "/tmp/escaped.mp4"},
        {"id": "../../escaped"},
        {"prompt": "../../etc/passwd"},
        {"prompt": ESCAPE},
        {"output": f"{ESCAPE}.mp4"},
        {"id": ESCAPE},
        {"seed": ESCAPE},
        {ESCAPE: 1},
        {"command": ESCAPE},
        {"weights": ESCAPE},
    ],
    ids=lambda line: f"{next(iter(line))!r}"[:20],
)
def test_a_line_of_a_batch_stays_in_its_folder(clean_environment, lingen_here, tiny_weights, line):
    common = {"prompt": "a ball", "frames": 9, "steps": 1, "size": 64, "weights": str(tiny_weights)}
    Path("jobs.jsonl").write_text(json.dumps(common | line) + "\n")
    result = is_harmless(
        lingen_here("batch", "jobs.jsonl", "--name", "{id}-{prompt}-{seed}", "-o", "out")
    )
    assert result.returncode in (0, 65), result.stderr
    new = {path for path in Path().rglob("*") if path.is_file()} - {Path("jobs.jsonl")}
    assert all(path.parent == Path("out") for path in new), new
    assert len(new) == (result.returncode == 0)
    assert not Path("../escaped.mp4").exists()


@pytest.mark.parametrize("template", ["{prompt.__class__}", "{0}", "{prompt!r}", "../{index}"])
def test_templates_know_names_only(clean_environment, lingen_here, template):
    Path("jobs.txt").write_text("a ball\n")
    result = is_harmless(lingen_here("batch", "jobs.txt", "--name", template))
    assert result.returncode in (2, 65)
    assert [path.name for path in Path().iterdir()] == ["jobs.txt"]
