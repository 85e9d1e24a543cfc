"""`lingen train --shard`: processes that share one network."""

from collections.abc import Callable
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch

from lingen_cli.exit_codes import Terminated
from lingen_models.checkpoints.safetensors import load_tensors
from lingen_training import trainer
from lingen_training.optimization.launched import RollCall
from lingen_training.optimization.loop import DivergedError
from lingen_training.optimization.parallel import LostProcessError
from lingen_training.optimization.state_files import find_state
from tests.cli import forked
from tests.cli.protocols import Fails, RunHere
from tests.tiny_recipe import tiny_recipe

RECIPE = tiny_recipe("""
[[stage]]
name = "short"
steps = 3
batches = 2
layout = 0.5
alignment = 0.1
learning_rate = 1e-3
validate_every = 3
[[stage.source]]
size = 64
latent_frames = 2
batch = 2
clips = 2
""")


@pytest.fixture
def recipe(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes the recipe, with some text replaced."""

    def write(*changes: tuple[str, str]) -> Path:
        text = RECIPE
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        path = tmp_path / "tiny.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_two_processes_train_what_one_does(
    recipe: Callable[..., Path], lingen_here: RunHere, tmp_path: Path
) -> None:
    """As far as bf16 goes, and with a state of two parts. What both refuse, one says."""
    command = ("train", str(recipe()), "--device", "cpu", "-o")
    alone = lingen_here(*command, tmp_path / "one", "--processes", 1)
    shared = forked.run(*command, tmp_path / "two", "--processes", 2, "--shard")
    for name, result in (("one", alone), ("two", shared)):
        assert result.returncode == 0, result.stderr
        assert result.stdout.count(str(tmp_path / name)) == 1
    one, two = (
        load_tensors(tmp_path / name / "denoiser.safetensors")[0] for name in ("one", "two")
    )
    assert one.keys() == two.keys()
    for name, values in one.items():
        assert torch.allclose(values.float(), two[name].float(), atol=4e-3), name
    state = find_state(tmp_path / "two", "short")
    assert state is not None
    assert len(list(state.glob("*.distcp"))) == 2
    recipe(("learning_rate = 1e-3", "learning_rate = 1e-2"))
    again = (*command, tmp_path / "two", "--shard")
    (first, said), (second, silent) = forked.slurm_step(*again)
    assert (first, second, silent) == (65, 65, "")
    assert said.count("\n") == 1 and "stage short differs from what" in said


def test_what_shards_cannot(
    recipe: Callable[..., Path], lingen_here: RunHere, fails: Fails, tmp_path: Path
) -> None:
    def refused(*words: str) -> None:
        command = ("train", str(tmp_path / "tiny.toml"), "-o", str(tmp_path / "out"), "--shard")
        fails(lingen_here(*command, "--processes", "2"), 65, *words)
        assert not (tmp_path / "out" / "recipe.json").exists()

    recipe(("batches = 2", "batches = 3"))
    refused("stage short has 3 batches in a step", "batches = 2")
    recipe(("clips = 2\n", "clips = 2\nreplay = true\n"))
    refused("stage short has layouts in some of its sources alone", "leave out --shard")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (DivergedError("short", 30, 0), 65),
        (LostProcessError("another process has ended"), 71),
        (KeyboardInterrupt(), 130),
        (Terminated(), 143),
        (None, 2),
    ],
)
@pytest.mark.parametrize("rank", [0, 1])
def test_what_all_processes_meet_the_first_says(
    recipe: Callable[..., Path],
    lingen_here: RunHere,
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException | None,
    code: int,
    rank: int,
) -> None:
    """A stage that diverges, a process that is lost, a signal, a wrong command line."""
    for name in ("MASTER_ADDR", "MASTER_PORT", "WORLD_SIZE"):
        monkeypatch.setenv(name, "2")
    monkeypatch.setenv("RANK", str(rank))
    monkeypatch.setattr(RollCall, "_call", lambda roll_call, failure, patience: [None] * 2)
    monkeypatch.setattr(trainer, "train", Mock(side_effect=error))
    wrong = [] if error is not None else ["--procesess", "2"]
    result = lingen_here("train", recipe(), "--device", "cpu", *wrong)
    assert result.returncode == code, result.stderr
    assert result.stderr.count("lingen: error: ") == 1 - rank, result.stderr
