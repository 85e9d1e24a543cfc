"""Weights files: whole or refused in one line, and nothing in them is ever run."""

from __future__ import annotations

import json
import os
import pickle
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from lingen_models.checkpoints.safetensors import (
    CheckpointError,
    load_network,
    read_metadata,
    save_network,
    save_tensors,
    sha256_file,
)

METADATA = {"kind": "tae", "config": {"width": 3}, "training": {"steps": 5}}


@pytest.fixture
def good(tmp_path: Path) -> Path:
    path = tmp_path / "good.safetensors"
    save_network(path, nn.Linear(3, 2), METADATA)
    return path


def with_header(header: bytes, body: bytes = b"") -> bytes:
    return len(header).to_bytes(8, "little") + header + body


def tensor(shape: list[int], start: int, end: int) -> dict[str, Any]:
    return {"dtype": "F32", "shape": shape, "data_offsets": [start, end]}


def file_of(tensors: dict[str, Any], size: int) -> bytes:
    header = {"__metadata__": {"lingen": json.dumps(METADATA)}, **tensors}
    return with_header(json.dumps(header).encode(), bytes(size))


class Bomb:
    """Unpickling this makes a folder, which the test would see."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.folder),)


def test_round_trip(good: Path) -> None:
    assert read_metadata(good) == METADATA
    network = nn.Linear(3, 2)
    load_network(good, network)
    for name, value in load_file(good).items():
        assert torch.equal(network.state_dict()[name], value)


def test_a_network_keeps_its_own_type(good: Path) -> None:
    network = nn.Linear(3, 2).to(torch.bfloat16)
    load_network(good, network)
    assert network.weight.dtype is torch.bfloat16
    assert torch.equal(network.weight, load_file(good)["weight"].to(torch.bfloat16))


def test_sha256(tmp_path: Path) -> None:
    path = tmp_path / "abc"
    path.write_bytes(b"abc")
    assert sha256_file(path).startswith("ba7816bf8f01cfea414140de5dae2223")


@pytest.mark.parametrize("kind", ["pickle", "torch", "zip"])
def test_pickles_are_refused_unopened(kind: str, tmp_path: Path) -> None:
    path, boom = tmp_path / "model.safetensors", tmp_path / "boom"
    if kind == "pickle":
        path.write_bytes(pickle.dumps({"weight": Bomb(boom)}))
    elif kind == "torch":
        torch.save({"weight": Bomb(boom)}, path)
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("data.pkl", pickle.dumps(Bomb(boom)))
    for read in (read_metadata, lambda path: load_network(path, nn.Linear(3, 2))):
        with pytest.raises(CheckpointError, match="weights must be safetensors") as caught:
            read(path)
        assert str(path) in str(caught.value)
    assert not boom.exists()


WHOLE = {"bias": tensor([2], 0, 8), "weight": tensor([2, 3], 8, 32)}
BROKEN: dict[str, bytes] = {
    "empty": b"",
    "three bytes": b"abc",
    "text": b"this is not a weights file at all, only some text",
    "extra byte": file_of(WHOLE, 33),
    "missing byte": file_of(WHOLE, 31),
    "no tensors": file_of(WHOLE, 0),
    "overlap": file_of(WHOLE | {"weight": tensor([2, 3], 4, 28)}, 28),
    "hole": file_of(WHOLE | {"weight": tensor([2, 3], 12, 36)}, 36),
    "shape overflow": file_of(WHOLE | {"weight": tensor([2**62, 2**62], 8, 32)}, 32),
    "shape and size differ": file_of(WHOLE | {"weight": tensor([5, 5], 8, 32)}, 32),
    "negative offset": file_of(WHOLE | {"weight": tensor([2, 3], -24, 32)}, 32),
    "unknown dtype": file_of(WHOLE | {"weight": {**tensor([2, 3], 8, 32), "dtype": "X9"}}, 32),
    "offsets are words": file_of({"weight": {"dtype": "F32", "data_offsets": ["a", "b"]}}, 0),
    "entry is a list": with_header(b'{"weight": [1, 2]}'),
    "entry is empty": with_header(b'{"weight": {}}'),
    "offsets too short": with_header(b'{"weight": {"data_offsets": [0]}}'),
    "broken JSON": with_header(b'{"weight": '),
    "not UTF-8": with_header(b'{"\xff\xfe": 1}'),
    "deep nesting": with_header(b'{"a":' * 100_000),
    "header beyond the end": (2**40).to_bytes(8, "little") + b"{}" + bytes(100),
    "negative size": b"\xff" * 8 + b"{}" + bytes(100),
}


@pytest.mark.parametrize("name", BROKEN)
def test_damaged_files(name: str, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(BROKEN[name])
    with pytest.raises(CheckpointError, match="damaged weights file") as caught:
        load_network(path, nn.Linear(3, 2))
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_every_truncation_is_seen(good: Path, tmp_path: Path) -> None:
    data = good.read_bytes()
    path = tmp_path / "cut.safetensors"
    for length in range(0, len(data), 5):
        path.write_bytes(data[:length])
        with pytest.raises(CheckpointError):
            load_network(path, nn.Linear(3, 2))


def test_a_claimed_header_of_200_megabytes_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    with open(path, "wb") as file:
        file.write((200_000_000).to_bytes(8, "little") + b"{")
        file.truncate(200_000_100)  # sparse: takes no space
    began = time.process_time()
    with pytest.raises(CheckpointError, match=r"damaged weights file.*200000000 byte header"):
        read_metadata(path)
    assert time.process_time() - began < 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weight": None}, "lacks weight"),
        ({"gamma": torch.zeros(1)}, "has the foreign tensor gamma"),
        ({"weight": torch.zeros(3, 2)}, r"weight is \[3, 2\], not \[2, 3\]"),
        ({"weight": torch.full((2, 3), torch.nan)}, "contain NaN or infinity: .*: weight"),
        ({"bias": torch.tensor([0.0, -torch.inf])}, "contain NaN or infinity: .*: bias"),
    ],
    ids=["missing", "foreign", "shape", "NaN", "infinity"],
)
def test_tensors_that_do_not_fit(
    change: dict[str, torch.Tensor | None], message: str, good: Path
) -> None:
    tensors = {k: v for k, v in {**load_file(good), **change}.items() if v is not None}
    save_file(tensors, good)
    network = nn.Linear(3, 2)
    before = network.weight.clone()
    with pytest.raises(CheckpointError, match=message) as caught:
        load_network(good, network)
    assert "\n" not in str(caught.value)
    assert torch.equal(network.weight, before)


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}, {"lingen": "{"}])
def test_foreign_files_have_no_metadata(metadata: dict[str, str] | None, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_file({"weight": torch.zeros(2)}, path, metadata)
    with pytest.raises(CheckpointError, match=r"foreign weights file: .* has no lingen metadata"):
        read_metadata(path)
    save_file({"weight": torch.zeros(2)}, path, {"lingen": "[1, 2]"})
    with pytest.raises(CheckpointError, match="lingen metadata is not an object"):
        read_metadata(path)


def test_a_missing_file_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_metadata(tmp_path / "none.safetensors")


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_saving_is_whole_or_absent(
    failing: str, good: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = good.read_bytes()

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(f"lingen_models.checkpoints.safetensors.os.{failing}", fail)
        with pytest.raises(OSError, match="No space left"):
            save_tensors(good, {"other": torch.ones(4)}, {})
    assert good.read_bytes() == before
    assert [path.name for path in good.parent.iterdir()] == ["good.safetensors"]
    save_tensors(good, {"other": torch.ones(4)}, {"note": "new"})
    assert list(load_file(good)) == ["other"]


def test_views_are_saved_as_they_look(tmp_path: Path) -> None:
    path = tmp_path / "views.safetensors"
    base = torch.arange(6.0).view(2, 3)
    save_tensors(path, {"turned": base.T, "part": base[:, 1]}, {})
    loaded = load_file(path)
    assert torch.equal(loaded["turned"], base.T)
    assert torch.equal(loaded["part"], base[:, 1])


@pytest.mark.e2e
def test_a_header_as_long_as_a_pickle_begins_is_no_pickle(tmp_path: Path) -> None:
    """Its length is the first bytes of the file: 0x0280 bytes look like the start of a pickle."""
    for padding in range(1200):
        path = tmp_path / "weights.safetensors"
        save_tensors(path, {"a": torch.zeros(1)}, {"lingen": json.dumps({"kind": "x" * padding})})
        if path.read_bytes()[:2] in (b"\x80\x02", b"\x80\x04"):
            assert read_metadata(path)["kind"] == "x" * padding
            break
    else:
        raise AssertionError("no header of that length")
