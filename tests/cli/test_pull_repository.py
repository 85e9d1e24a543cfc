"""Whole repositories from a hub, which `hub_server` stands for."""

import json

import pytest

from tests.cli.hub_server import Hub
from tests.cli.protocols import Fails, RunHere

NAME = "someone/tiny-video"


@pytest.fixture
def published(hub: Hub) -> Hub:
    """A pipeline and what lies beside it are on the hub."""
    hub.files |= {
        "model_index.json": b"{}",
        "vae/config.json": b"[]",
        "vae/diffusion_pytorch_model.safetensors": b"numbers" * 100,
        "vae/diffusion_pytorch_model.bin": b"pickle",
        "demo.mp4": b"film",
    }
    return hub


def test_what_lingen_reads_is_downloaded_once(published: Hub, lingen_here: RunHere) -> None:
    result = lingen_here("models", "pull", NAME, "--json")
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    folder = published.cache / "models--someone--tiny-video" / "snapshots" / published.commit
    assert found == {"name": NAME, "folder": str(folder), "commit": published.commit}
    names = sorted(path.name for path in folder.rglob("*") if path.is_file())
    assert names == ["config.json", "diffusion_pytorch_model.safetensors", "model_index.json"]
    assert (folder / "vae" / "diffusion_pytorch_model.safetensors").read_bytes() == b"numbers" * 100
    published.requests.clear()
    again = lingen_here("models", "pull", f"{NAME}@{published.commit}")
    assert again.returncode == 0 and again.stdout.strip() == str(folder)
    assert not [path for method, path, _ in published.requests if "resolve" in path]
    assert lingen_here("models", "pull", NAME, "--offline").returncode == 0


def test_what_cannot_be_downloaded(
    published: Hub, lingen_here: RunHere, fails: Fails, monkeypatch: pytest.MonkeyPatch
) -> None:
    fails(lingen_here("models", "pull", f"{NAME}@v9"), 69, "has no commit v9")
    fails(lingen_here("models", "pull", "nobody/nothing"), 69, "there is no", "nobody/nothing")
    fails(lingen_here("models", "pull", NAME, "--offline"), 69, f"offline: {NAME} at main")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    fails(lingen_here("models", "pull", NAME), 69, "offline")
    published.status = (503, "Busy")
    monkeypatch.delenv("HF_HUB_OFFLINE")
    fails(lingen_here("models", "pull", NAME), 69, NAME)
    assert not list(published.cache.glob("models--*/snapshots/*/*"))
