"""`lingen models list, show and verify`, and weights that are not what they should be."""

import hashlib
import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from lingen_models.checkpoints.safetensors import (
    load_tensors,
    read_metadata,
    save_tensors,
    sha256_file,
)
from tests.cli.protocols import Fails, RunHere

PARTS = ("denoiser", "autoencoder", "text_encoder")


@pytest.fixture
def folder(tiny_weights: Path, tmp_path: Path, tiny_models: Callable[..., None]) -> Path:
    """The weights of the model tiny-video, free to be damaged."""
    copy = shutil.copytree(tiny_weights, tmp_path / "weights")
    tiny_models(tiny_video={"folder": str(copy)})
    return copy


class Bomb:
    """Unpickling this makes a folder, which the test would see."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, ("boom",)


def rewrite(
    path: Path,
    change: Callable[[dict[str, Tensor]], dict[str, Tensor]] | None = None,
    **config: Any,
) -> None:
    """Write the file again with other tensors, or another configuration."""
    tensors, _ = load_tensors(path)
    metadata = read_metadata(path)
    metadata["config"] |= config
    save_tensors(path, change(tensors) if change else tensors, {"lingen": json.dumps(metadata)})


def lose(path: Path) -> str:
    """A missing tensor."""
    lost = min(load_tensors(path)[0])
    rewrite(path, lambda tensors: {name: one for name, one in tensors.items() if name != lost})
    return f"{path} lacks {lost}"


def gain(path: Path) -> str:
    """One that no network has."""
    rewrite(path, lambda tensors: {**tensors, "zz.extra": next(iter(tensors.values())).clone()})
    return f"{path} has the foreign tensor zz.extra"


def bend(path: Path) -> str:
    """One with a row too few."""
    tensors, _ = load_tensors(path)
    name, shape = next((k, list(v.shape)) for k, v in sorted(tensors.items()) if v.ndim > 1)
    rewrite(path, lambda tensors: {**tensors, name: tensors[name][1:]})
    return f"{path}: {name} is {[shape[0] - 1, *shape[1:]]}, not {shape}"


def spoil(path: Path) -> str:
    """A number that is none."""
    name = max(load_tensors(path)[0])
    rewrite(path, lambda tensors: {**tensors, name: tensors[name] * float("nan")})
    return f"weights contain NaN or infinity: {path}: {name}"


def pickled(path: Path) -> str:
    path.write_bytes(pickle.dumps({"weight": Bomb()}))
    return f"weights must be safetensors: {path} is a pickle or a zip"


def long_header(path: Path) -> str:
    """2 GB of it; the file is sparse."""
    with open(path, "wb") as file:
        file.write((2_000_000_000).to_bytes(8, "little") + b"{")
        file.truncate(2_000_000_100)
    return f"damaged weights file: {path} claims a 2000000000 byte header"


def of_another_model(path: Path) -> str:
    """The tensors stay, what they are said to be does not."""
    faults: dict[str, tuple[str, Any, str]] = {
        "denoiser": ("review", "none", "its review is none, that of tiny-video is both"),
        "autoencoder": ("latent_channels", 8, "its latent_channels is 16, that of the autoencoder"),
        "text_encoder": ("width", 48, "its text_dims is [32], that of the text encoders"),
    }
    field, value, told = faults[path.stem]
    rewrite(path, **{field: value})
    return told


def of_another_kind(path: Path) -> str:
    """A whole file, in the place of another."""
    other = "autoencoder" if path.stem == "denoiser" else "denoiser"
    shutil.copy(path.with_stem(other), path)
    return f"weights do not fit the model: {path} is a "


FAULTS = (lose, gain, bend, spoil, pickled, long_header, of_another_model, of_another_kind)


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_weights_that_cannot_be_used(
    folder: Path,
    lingen_here: RunHere,
    fails: Fails,
    clean_environment: Path,
    fault: Callable[..., Any],
    part: str,
) -> None:
    """By the model's own name and as a folder; the check says the same as the run."""
    told = fault(folder / f"{part}.safetensors")
    make = ("generate", "a red ball", "--frames", 1, "--size", 64, "--steps", 1)
    fails(lingen_here(*make, "-q", "--model", "tiny-video"), 65, told)
    fails(lingen_here("models", "verify", "tiny-video"), 65, told)
    if fault is not of_another_model:
        fails(lingen_here(*make, "-q", "--weights", folder), 65, told)
    assert os.listdir(clean_environment) == []


@pytest.mark.parametrize("part", PARTS)
def test_a_wrong_hash(
    folder: Path,
    tiny_models: Callable[..., None],
    lingen_here: RunHere,
    fails: Fails,
    clean_environment: Path,
    part: str,
) -> None:
    """A whole file with other numbers, where the record says which."""
    sums = {one: sha256_file(folder / f"{one}.safetensors") for one in PARTS}
    tiny_models(tiny_video={"folder": str(folder), "sha256": sums})
    make = ("generate", "a red ball", "--frames", 1, "--size", 64, "-q", "--model", "tiny-video")
    path = folder / f"{part}.safetensors"
    name = min(load_tensors(path)[0])
    rewrite(path, lambda tensors: {**tensors, name: tensors[name] + 1})
    told = (f"wrong hash: {path} ({part}) has the SHA-256 {sha256_file(path)}", sums[part])
    fails(lingen_here(*make), 65, *told)
    fails(lingen_here("models", "verify", "tiny-video"), 65, *told)
    assert os.listdir(clean_environment) == []
    result = lingen_here(*make, "--weights", folder, "--steps", 1)
    assert result.returncode == 0, result.stderr  # a folder of one's own has no record


def test_another_variant_with_the_same_tensors(
    folder: Path, lingen_here: RunHere, fails: Fails, clean_environment: Path
) -> None:
    """They would be loaded unnoticed: review tokens and scan orders have no parameters."""
    path = folder / "denoiser.safetensors"
    rewrite(path, review="none")
    told = f"{path}: its review is none, that of lingen-mini is both"
    make = ("generate", "a red ball", "--frames", 1, "--size", 64, "--steps", 1, "-q")
    fails(lingen_here(*make, "--weights", folder), 65, told, "made as lingen-mini-no-review")
    assert os.listdir(clean_environment) == []
    result = lingen_here(*make, "--weights", folder, "--model", "lingen-mini-no-review")
    assert result.returncode == 0, result.stderr


def test_a_network_of_ones_own_is_nobody_elses(folder: Path, lingen_here: RunHere) -> None:
    """Review tokens in front, row by row: no variant is that, so no other is meant."""
    rewrite(folder / "denoiser.safetensors", review="front", scan_axes=["thw"])
    make = ("generate", "a red ball", "--frames", 1, "--size", 64, "--steps", 1, "-q")
    result = lingen_here(*make, "--weights", folder)
    assert result.returncode == 0, result.stderr


class TestVerify:
    def test_weights_that_are_right(
        self, folder: Path, lingen_here: RunHere, tiny_models: Callable[..., None]
    ) -> None:
        digest = sha256_file(folder / "denoiser.safetensors")
        tiny_models(tiny_video={"folder": str(folder), "sha256": {"denoiser": digest}})
        result = lingen_here("models", "verify", "tiny-video")
        assert (result.returncode, result.stderr) == (0, "")
        assert f"SHA-256 {digest}, as published" in result.stdout.splitlines()[0]
        report = json.loads(lingen_here("models", "verify", "tiny-video", "--json").stdout)
        (one,) = report
        assert (one["name"], one["passed"], one["problem"]) == ("tiny-video", True, None)
        for part in PARTS:
            path = folder / f"{part}.safetensors"
            found = one["parts"][part]
            tensors = load_tensors(path)[0]
            assert found == {
                "path": str(path),
                "bytes": path.stat().st_size,
                "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
                "pinned": part == "denoiser",
                "tensors": len(tensors),
                "parameters": sum(one.numel() for one in tensors.values()),
            }

    def test_a_folder(self, tiny_weights: Path, lingen_here: RunHere, fails: Fails) -> None:
        result = lingen_here("models", "verify", "lingen-mini", "--weights", tiny_weights)
        assert result.returncode == 0 and "ok, " in result.stdout.splitlines()[0]
        fails(lingen_here("models", "verify", "--weights", tiny_weights), 2, "needs the NAME")

    def test_all_that_are_here_one_of_them_damaged(
        self, folder: Path, lingen_here: RunHere
    ) -> None:
        (folder / "autoencoder.safetensors").write_bytes(b"")
        result = lingen_here("models", "verify")
        assert result.returncode == 65
        assert len(result.stdout.splitlines()) == len(PARTS)
        assert all(line.startswith("lingen-mini  ") for line in result.stdout.splitlines())
        assert result.stderr.splitlines()[-1].startswith("lingen: error: damaged weights file")
        report = lingen_here("models", "verify", "--json")
        assert report.returncode == 65
        passed = {one["name"]: one["passed"] for one in json.loads(report.stdout)}
        assert passed == {"lingen-mini": True, "tiny-video": False}

    def test_what_is_not_here(self, lingen_here: RunHere, fails: Fails) -> None:
        fails(lingen_here("models", "verify", "dit-mini"), 69, "no weights of 'dit-mini' exist")


def test_the_list_in_columns(folder: Path, lingen_here: RunHere) -> None:
    head, *rows = lingen_here("models", "list", "--all").stdout.splitlines()
    starts = [head.index(word) for word in ("NAME", "WEIGHTS", "SIZE", "LICENSE", "TRAINED")]
    cells = {row.split()[0]: [row[at:].split("  ")[0] for at in starts[1:]] for row in rows}
    assert cells["dit-mini"] == ["none", "-", "Apache-2.0", "60 s"]
    assert cells["lingen-mini"][0] == "ready" and cells["lingen-mini"][1].endswith(" MB")
    assert cells["tiny-video"][2:] == ["CC0-1.0", "2 s"]
    (folder / "text_encoder.safetensors").unlink()
    rows = json.loads(lingen_here("models", "list", "--json").stdout)
    states = {row["name"]: (row["state"], row["bytes"]) for row in rows}
    assert states["tiny-video"] == ("missing", None)


def test_show_in_words(folder: Path, lingen_here: RunHere) -> None:
    (folder / "text_encoder.safetensors").unlink()
    result = lingen_here("models", "show", "tiny-video")
    assert result.returncode == 0, result.stderr
    text = result.stdout
    digest = sha256_file(folder / "denoiser.safetensors")
    assert f"{folder / 'denoiser.safetensors'}, " in text and f"SHA-256 {digest}" in text
    assert f"{folder / 'text_encoder.safetensors'} (missing)\n" in text
    count = sum(one.numel() for one in load_tensors(folder / "denoiser.safetensors")[0].values())
    assert f"parameters:        {count:,} (denoiser)\n" in text
