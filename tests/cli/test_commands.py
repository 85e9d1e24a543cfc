"""`lingen train` and `lingen doctor`."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest

from lingen_cli import TESTED, exit_codes
from lingen_cli.planning import diagnose as doctor
from lingen_cli.planning.diagnose import Finding, diagnose
from lingen_plugins.registry import collect
from lingen_training.optimization.loop import DivergedError
from lingen_training.shipped import shipped_recipes
from tests.cli.protocols import Fails, RunHere


def test_a_recipe_that_is_not_there(lingen_here: RunHere, fails: Fails) -> None:
    fails(lingen_here("train", "no.toml"), 66, "no such file: no.toml")
    fails(lingen_here("train", "."), 66, "not a regular file")


def test_a_device_that_is_none(lingen_here: RunHere, fails: Fails, clean_environment: Path) -> None:
    (clean_environment / "recipe.toml").write_text("")
    fails(lingen_here("train", "recipe.toml", "--device", "tpu"), 2, "--device must be")
    fails(lingen_here("train", "recipe.toml", "--start-from", "no"), 66, "no such folder")


@pytest.mark.parametrize("text", ["seed = ", "no_such_key = 1", "\0"])
def test_a_recipe_that_is_wrong(
    lingen_here: RunHere, fails: Fails, clean_environment: Path, text: str
) -> None:
    (clean_environment / "recipe.toml").write_text(text)
    fails(lingen_here("train", "recipe.toml"), 65, "recipe.toml")


def test_the_doctor_looks_at_everything(lingen_here: RunHere) -> None:
    result = lingen_here("doctor", "--json")
    findings = json.loads(result.stdout)
    checks = {finding["check"] for finding in findings}
    assert {"lingen", "torch", "device", "bfloat16", "encoder", "kernels"} <= checks
    assert {"lingen-mini", "other models", "output folder", "OMP_WAIT_POLICY"} <= checks
    assert {"self-test", "matplotlib", "ray", "submitit"} <= checks
    problems = [finding for finding in findings if finding["state"] == "problem"]
    assert result.returncode == (69 if problems else 0)


def test_a_problem_is_an_exit_code_and_a_check_that_breaks_is_a_problem(
    lingen_here: RunHere, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> None:
        raise RuntimeError("no luck")

    monkeypatch.setattr(doctor, "_encoder", broken)
    assert Finding("encoder", "problem", "RuntimeError: no luck") in list(diagnose())
    result = lingen_here("doctor")
    assert result.returncode == 69
    assert "problem  encoder          RuntimeError: no luck\n" in result.stdout
    assert "lingen: error: cannot make videos here: encoder" in result.stderr


def test_versions_newer_than_any_that_was_tested(
    lingen_here: RunHere, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = {"torch": "99.0.1+cu130", "av": TESTED["av"] + ".7"}
    for module in (doctor, exit_codes):
        plain = module.version
        monkeypatch.setattr(
            module, "version", lambda one, plain=plain: found.get(one) or plain(one)
        )
    result = lingen_here("doctor")
    newer = f"hint     torch            99.0.1+cu130 is newer than {TESTED['torch']}, the newest"
    assert newer in result.stdout and "av               19.0.7\n" in result.stdout
    assert result.returncode == 0


def test_a_torch_without_a_part_still_makes_videos(
    lingen_here: RunHere, tiny_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    options = ("--weights", tiny_weights, "--size", 32, "--frames", 9, "--steps", 2, "--seed", 1)
    with monkeypatch.context() as patch:
        for place, name in ((torch._C, "_len_torch_dispatch_stack"), (torch, "_foreach_copy_")):
            patch.delattr(place, name)
        assert lingen_here("generate", "a red ball", *options, "-o", "a.mp4").returncode == 0
        said = lingen_here("doctor").stdout
    assert lingen_here("generate", "a red ball", *options, "-o", "b.mp4").returncode == 0
    one, other = (
        np.stack([frame.to_ndarray() for frame in av.open(name).decode(video=0)]).astype(int)
        for name in ("a.mp4", "b.mp4")
    )
    assert one.shape == other.shape and np.abs(one - other).mean() < 1
    missing = "torch parts      no torch._C._len_torch_dispatch_stack in this torch: the C kernels"
    assert f"hint     {missing}" in said


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Stand in for the trainer, and remember how it was called."""
    calls = []

    def train(
        recipe: Any,
        folder: Path,
        *,
        device: Any,
        report: Any,
        resume: Any,
        start_from: Any,
        model: Any,
        teacher: Any,
        registry: Any,
        processes: Any,
        shard: Any,
        split_clips: Any,
        footage: Any,
        watchers: Any,
        roll_call: Any,
    ) -> None:
        assert "tae" in registry.autoencoders and footage is None
        divided = (processes, shard, split_clips)
        calls.append((recipe, folder, device, resume, start_from, model, teacher, *divided))
        report("stage: 1/1")
        if recipe.stem == "diverges":
            raise DivergedError("decoder", 22, 0)

    monkeypatch.setitem(sys.modules, "lingen_training.trainer", SimpleNamespace(train=train))
    return calls


def test_training_is_handed_what_was_asked_for(
    lingen_here: RunHere, trained: list[Any], clean_environment: Path
) -> None:
    recipe = Path("mine.toml")
    recipe.write_bytes(shipped_recipes()["short-clips"].read_bytes())
    result = lingen_here("train", recipe, "--device", "cpu")
    assert (result.returncode, result.stdout) == (0, "runs/mine\n")
    assert "stage: 1/1" in result.stderr
    for part in ("denoiser", "text_encoder"):
        Path(f"{part}.safetensors").write_bytes(b"")
    again = ("--device", "cpu", "-o", "x", "--start-from", ".", "--no-resume", "--teacher", ".")
    assert lingen_here("train", recipe, *again, "--processes", "3", "--shard").returncode == 0
    assert lingen_here("train", recipe, "--device", "cpu", "--model", "dit-mini").returncode == 0
    assert lingen_here("train", recipe, "--device", "cpu", "--split-clips").returncode == 0
    dit = collect().model_variants["dit-mini"].config
    assert dit["mixer"] == "attention"
    assert trained == [
        (recipe, Path("runs/mine"), "cpu", True, None, None, None, None, False, False),
        (recipe, Path("x"), "cpu", False, Path(), None, Path(), 3, True, False),
        (recipe, Path("runs/dit-mini"), "cpu", True, None, dit, None, None, False, False),
        (recipe, Path("runs/mine"), "cpu", True, None, None, None, None, False, True),
    ]


def test_weights_to_begin_from_are_looked_for_first(
    lingen_here: RunHere, fails: Fails, trained: list[Any]
) -> None:
    Path("mine.toml").write_text("")
    Path("denoiser.safetensors").write_bytes(b"")
    result = lingen_here("train", "mine.toml", "--start-from", ".")
    fails(result, 66, "no text_encoder weights: text_encoder.safetensors")
    result = lingen_here("train", "mine.toml", "--teacher", "nowhere")
    fails(result, 66, "no such folder of weights: nowhere")
    assert trained == []


def test_a_training_that_diverges_says_what_to_do(
    lingen_here: RunHere, fails: Fails, trained: list[Any]
) -> None:
    Path("diverges.toml").write_bytes(shipped_recipes()["short-clips"].read_bytes())
    result = lingen_here("train", "diverges.toml", "--device", "cpu")
    told = "decoder: no finite gradient in steps 3 to 22; lower decoder_learning_rate of "
    fails(result, 65, f"{told}[autoencoder] in diverges.toml, and train into another folder")
