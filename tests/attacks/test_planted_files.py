"""Videos, weights, lists and journals that somebody planted: nothing runs, nothing escapes."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from lingen_cli.files.sealed import sealed
from lingen_cli.media.metadata import read_recipe
from tests.cli.protocols import RunHere

ESCAPE = "\x1b[31m\x07\x9b31m\u202ered\r\nlingen: all is well"


class Evil:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, ("touch executed",)


COMMAND = ("generate", "a red ball", "--frames", "9", "--steps", "2", "--size", "64", "--seed", "1")


@pytest.fixture(scope="module")
def made(tiny_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video of our own."""
    from lingen_cli.app import run

    video = tmp_path_factory.mktemp("made") / "a.mp4"
    assert run([*COMMAND, "--weights", str(tiny_weights), "-q", "-o", str(video)]) == 0
    return video


@pytest.fixture
def make(made: Path, clean_environment: Path) -> Path:
    """A copy of it in the current folder."""
    return Path(shutil.copy(made, "a.mp4"))


@pytest.fixture
def plant(
    make: Path, with_recipe: Callable[[Path, Path, Mapping[str, Any]], Path]
) -> Callable[..., Path]:
    """Return a function that gives a copy of the video another recipe."""

    def run(**changes: Any) -> Path:
        recipe = read_recipe(make)
        assert recipe is not None
        return with_recipe(make, Path("planted.mp4"), recipe | changes)

    return run


def is_harmless(result: subprocess.CompletedProcess[str]) -> subprocess.CompletedProcess[str]:
    """No control character reaches the terminal, and nothing was run."""
    for text in (result.stdout, result.stderr):
        assert all(c.isprintable() for c in text.replace("\n", "")), text
        assert not any(line.startswith("lingen: all is well") for line in text.splitlines())
    assert not Path("executed").exists()
    return result


SAMPLING = {"steps": 2, "guidance_scale": 2.0, "sampler": "euler", "seed": 1}
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
        {"sampling": SAMPLING | {"negative_prompt": ESCAPE}},
        {"model": ESCAPE},
        {"sampling": SAMPLING | {"sampler": ESCAPE}},
        {"sampling": SAMPLING | {ESCAPE: 1}},
        {"sampling": ESCAPE},
        {"format": ESCAPE},
        {"weights_folder": ESCAPE},
        {"weights_folder": "../../../../etc"},
        {"weights_folder": "x" * 10_000},
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
def test_a_recipe_that_was_planted(
    plant: Callable[..., Path],
    lingen_here: RunHere,
    command: tuple[object, ...],
    changes: dict[str, Any],
) -> None:
    video = plant(**changes)
    Path("out").mkdir()
    before = set(Path().rglob("*"))
    name, *rest = command
    result = is_harmless(lingen_here(name, video, *rest))
    assert result.returncode in (0, 1, 2, 65, 66, 69, 78), result.stderr
    assert set(Path().rglob("*")) - before <= {Path("out/b.mp4")}


def test_weights_in_a_recipe_are_never_unpickled(
    plant: Callable[..., Path], lingen_here: RunHere, tiny_weights: Path
) -> None:
    folder = Path("evil")
    folder.mkdir()
    for file in tiny_weights.iterdir():
        (folder / file.name).write_bytes(pickle.dumps(Evil()))
    result = is_harmless(lingen_here("rerun", plant(weights_folder="evil"), "-o", "b.mp4"))
    assert result.returncode == 65
    assert "must be safetensors" in result.stderr


@pytest.fixture
def stopped(
    clean_environment: Path,
    lingen_here: RunHere,
    tiny_weights: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., None]:
    """Return a function that puts what a stopped run has left into a folder, and changes it."""
    from lingen_cli.generation import encode

    monkeypatch.setenv("LINGEN_JOURNAL_SECONDS", "0")
    with monkeypatch.context() as patch:
        patch.setattr(encode, "decoded", lambda *_: 1 / 0)
        result = lingen_here(*COMMAND, "--weights", tiny_weights, "-o", "a.mp4")
    assert result.returncode == 70
    left = Path(".a.mp4.lingen").rename("../left")

    def plant(
        folder: str = ".a.mp4.lingen", recipe: Mapping[str, Any] | None = None, **changes: Any
    ) -> None:
        shutil.copytree(left, folder)
        file = Path(folder, "journal/job.json")
        job = json.loads(file.read_text())
        job["recipe"] |= recipe or {}
        del job["sha256"]  # who plants a journal can write its checksum too
        file.write_bytes(sealed(job | changes))

    return plant


def test_a_journal_that_was_not_planted_goes_on(
    stopped: Callable[..., None], lingen_here: RunHere
) -> None:
    stopped()
    assert lingen_here("resume").stdout == "a.mp4\n"


@pytest.mark.parametrize(
    "name", ["../escaped.mp4", "/tmp/escaped.mp4", ESCAPE + ".mp4", "mine.mp4"]
)
def test_a_journal_with_the_name_of_another_file(
    stopped: Callable[..., None], lingen_here: RunHere, name: str
) -> None:
    Path("mine.mp4").write_text("mine")
    stopped(name=name, overwrite=True)
    before = set(Path("..").rglob("*"))
    for arguments in ((), ("a.mp4",)):
        result = is_harmless(lingen_here("resume", *arguments))
        assert result.returncode == 66
    assert Path("mine.mp4").read_text() == "mine"
    assert set(Path("..").rglob("*")) == before


def test_a_journal_in_a_folder_that_cannot_be_printed(
    stopped: Callable[..., None], lingen_here: RunHere
) -> None:
    name = "\x1b[31m.mp4"
    stopped(f".{name}.lingen", name=name)
    assert is_harmless(lingen_here("resume")).returncode == 66


@pytest.mark.parametrize(
    "changes",
    [
        {"recipe": {"prompt": ESCAPE}},
        {"recipe": {"sampling": SAMPLING | {"sampler": ESCAPE}}},
        {"recipe": {"device": "cpu", "dtype": ESCAPE}},
        {"recipe": {"weights_folder": ESCAPE}},
        {"recipe": {"versions": {"torch": ESCAPE}}},
        {"recipe": {"threads": 10**9}},
        {"history": ESCAPE},
        *(
            {
                "origin": {
                    "path": path,
                    "fingerprint": "0" * 64,
                    "done": n,
                    "latents": None,
                    "copy_packets": True,
                    "hashes": [],
                }
            }
            for path, n in (("/etc/passwd", 0), (ESCAPE, 9), ("\0", 1))
        ),
    ],
    ids=lambda changes: next(iter(changes.get("recipe", changes))),
)
def test_a_journal_that_was_planted(
    stopped: Callable[..., None], lingen_here: RunHere, changes: dict[str, Any]
) -> None:
    stopped(**changes)
    before = set(Path().rglob("*"))
    result = is_harmless(lingen_here("resume", "a.mp4"))
    assert result.returncode in (0, 2, 65, 66), result.stderr
    assert set(Path().rglob("*")) - before <= {Path("a.mp4")}


@pytest.mark.parametrize("link", ["journal", "journal/pieces", "journal/0.safetensors"])
def test_a_journal_with_links_to_elsewhere(
    stopped: Callable[..., None], lingen_here: RunHere, tiny_weights: Path, link: str
) -> None:
    stopped()
    elsewhere = Path("../elsewhere")
    elsewhere.mkdir()
    (elsewhere / "0-9.mp4").write_text("mine")
    (elsewhere / "state.safetensors").write_text("mine")
    place = Path(".a.mp4.lingen", link)
    if place.is_dir():
        shutil.rmtree(place)
    place.unlink(missing_ok=True)
    place.symlink_to(elsewhere.absolute())
    is_harmless(lingen_here("resume"))
    command = ("generate", "a red ball", "--frames", 9, "--steps", 2, "--size", 64, "--seed", 1)
    result = is_harmless(lingen_here(*command, "--weights", tiny_weights, "-o", "a.mp4"))
    assert result.returncode == 0
    assert sorted(os.listdir(elsewhere)) == ["0-9.mp4", "state.safetensors"]
    assert all(path.read_text() == "mine" for path in elsewhere.iterdir())
    assert os.listdir() == ["a.mp4"]


@pytest.mark.parametrize("step", ["x", "-1", "1e3", "9" * 5000, ESCAPE])
def test_a_state_with_a_step_that_is_none(
    stopped: Callable[..., None], lingen_here: RunHere, step: str
) -> None:
    from lingen_models.checkpoints.safetensors import load_tensors, save_tensors

    stopped()
    journal = Path(".a.mp4.lingen/journal")
    (journal / "0.safetensors").unlink()
    tensors, facts = load_tensors(journal / "state.safetensors")
    save_tensors(journal / "state.safetensors", tensors, facts | {"step": step})
    assert is_harmless(lingen_here("resume")).returncode == 0


def test_names_that_are_derived_can_be_printed(make: Path, lingen_here: RunHere) -> None:
    video = make.rename("\x1b[31m\n.mp4")
    assert is_harmless(lingen_here("rerun", video)).stdout == "_[31m_-again.mp4\n"
    assert is_harmless(lingen_here("extend", video, "--seconds", 0.5)).returncode == 0


@pytest.mark.parametrize(
    ("part", "key", "value"),
    [
        ("denoiser", "width", 32_768),
        ("denoiser", "depth", 1000),
        ("denoiser", "depth", 10**7),
        ("denoiser", "window", None),
        ("denoiser", "mixer", ESCAPE),
        ("autoencoder", "patch", 4096),
        ("autoencoder", "widths", [[8]]),
        ("text_encoder", "max_tokens", 10**9),
    ],
)
def test_weights_that_ask_for_more_than_they_hold(
    lingen_here: RunHere,
    tiny_weights: Path,
    clean_environment: Path,
    part: str,
    key: str,
    value: Any,
) -> None:
    from lingen_models.checkpoints.safetensors import load_tensors, read_metadata, save_tensors

    file = Path(shutil.copytree(tiny_weights, "weights")) / f"{part}.safetensors"
    facts = read_metadata(file)
    facts["config"][key] = value
    save_tensors(file, load_tensors(file)[0], {"lingen": json.dumps(facts)})
    result = is_harmless(lingen_here("generate", "x", "--weights", "weights", "--frames", 1))
    assert result.returncode == 65, result.stderr
    assert "damaged weights file" in result.stderr
    assert os.listdir() == ["weights"]


@pytest.mark.parametrize("name", ["jobs.toml", "jobs.jsonl"])
def test_a_list_that_is_nested_too_deep(
    clean_environment: Path, lingen_here: RunHere, name: str
) -> None:
    Path(name).write_text("x = " * name.endswith("toml") + "[" * 100_000)
    assert is_harmless(lingen_here("batch", name)).returncode == 65


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
def test_a_line_of_a_batch_stays_in_its_folder(
    clean_environment: Path, lingen_here: RunHere, tiny_weights: Path, line: dict[str, Any]
) -> None:
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
def test_templates_know_names_only(
    clean_environment: Path, lingen_here: RunHere, template: str
) -> None:
    Path("jobs.txt").write_text("a ball\n")
    result = is_harmless(lingen_here("batch", "jobs.txt", "--name", template))
    assert result.returncode in (2, 65)
    assert [path.name for path in Path().iterdir()] == ["jobs.txt"]
