"""Weights from a hub: whole and right, or not there; `hub_server` stands for huggingface.co."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lingen_plugins.hub_cache import cache_root
from tests.cli.hub_server import Hub
from tests.cli.protocols import Fails, Run, RunHere

PARTS = ("denoiser", "autoencoder", "text_encoder")


def record_of(hub: Hub, files: dict[str, Any], folder: str = "") -> dict[str, Any]:
    """The fields of `Weights` for bytes by part, which the hub has from now on."""
    for part, data in files.items():
        hub.files[f"{folder}/{part}.safetensors" if folder else f"{part}.safetensors"] = data
    return {
        "folder": folder,
        "repository": hub.repository,
        "revision": hub.commit,
        "sha256": {part: hashlib.sha256(data).hexdigest() for part, data in files.items()},
        "sizes": {part: len(data) for part, data in files.items()},
    }


def left_in(folder: Path) -> list[str]:
    """Files, not locks and not the tag of a cache, in the folder of the cache."""
    return sorted(
        path.name
        for path in folder.rglob("*")
        if path.is_file() and ".locks" not in path.parts and path.name != "CACHEDIR.TAG"
    )


@pytest.fixture
def tiny_files(tiny_weights: Path) -> dict[str, bytes]:
    return {part: (tiny_weights / f"{part}.safetensors").read_bytes() for part in PARTS}


@pytest.fixture
def any_files() -> dict[str, Any]:
    """Bytes that are no weights: a download does not look into them."""
    return {part: hashlib.shake_256(part.encode()).digest(20_000) for part in PARTS}


@pytest.fixture
def published(hub: Hub, tiny_models: Callable[..., None], any_files: dict[str, Any]) -> Hub:
    """The model tiny-video is on the hub."""
    tiny_models(tiny_video=record_of(hub, any_files))
    return hub


@pytest.fixture
def pull(lingen_here: RunHere) -> Callable[..., subprocess.CompletedProcess[str]]:
    return lambda *arguments: lingen_here("models", "pull", "tiny-video", *arguments)


def test_from_the_hub_to_a_video(
    lingen: Run,
    fails: Fails,
    hub: Hub,
    tiny_models: Callable[..., None],
    tiny_files: dict[str, bytes],
    clean_environment: Path,
) -> None:
    """The real command line, as a user meets it: told, pulled, used, there for the next time."""
    from huggingface_hub import try_to_load_from_cache

    tiny_models(tiny_video=record_of(hub, tiny_files, "mini"))
    make = ("generate", "a red ball", "--model", "tiny-video", "--frames", 9, "--size", 64)
    fails(lingen(*make), 69, "'tiny-video' are not here: `lingen models pull tiny-video`", "kB)")
    assert os.listdir(clean_environment) == [] and hub.requests == []
    result = lingen("models", "pull", "tiny-video", "--json")
    assert result.returncode == 0, result.stderr
    told = json.loads(result.stdout)
    assert told["downloaded"] == list(PARTS)
    assert told["bytes"] == sum(map(len, tiny_files.values()))
    for part, path in told["files"].items():
        assert Path(path).read_bytes() == tiny_files[part]
        name = f"mini/{part}.safetensors"
        theirs = try_to_load_from_cache(hub.repository, name, hub.cache, hub.commit)
        assert path == theirs
    assert hub.gets() == [(f"{part}.safetensors", None) for part in PARTS]
    assert {path for _, path, _ in hub.requests} == {
        f"/{hub.repository}/resolve/{hub.commit}/mini/{part}.safetensors" for part in PARTS
    }
    asked = len(hub.requests)
    video = lingen(*make, "-q")
    assert video.returncode == 0, video.stderr
    again = lingen("models", "pull", "tiny-video", "--offline")
    assert (again.returncode, again.stdout.splitlines()) == (0, list(told["files"].values()))
    assert len(hub.requests) == asked


def test_before_and_after(
    published: Hub, lingen_here: RunHere, pull: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    def row() -> Any:
        rows = json.loads(lingen_here("models", "list", "--json").stdout)
        (found,) = [one for one in rows if one["name"] == "tiny-video"]
        return found

    before = row()
    assert before == {
        "name": "tiny-video",
        "weights": False,
        "state": "to pull",
        "bytes": 60_000,
        "license": "CC0-1.0",
        "trained_seconds": 2.0,
        "get": "lingen models pull tiny-video",
        "plugin": "tiny",
        "summary": "very small",
    }
    shown = json.loads(lingen_here("models", "show", "tiny-video", "--json").stdout)
    assert (shown["repository"], shown["revision"]) == (published.repository, published.commit)
    assert shown["weights"]["denoiser"] | {"path": "", "sha256": ""} == {
        "path": "",
        "here": False,
        "bytes": 20_000,
        "parameters": None,
        "sha256": "",
        "pinned": True,
    }
    text = lingen_here("models", "list", "--all")
    assert "tiny-video" in text.stdout and "60.0 kB" in text.stdout
    assert "lingen: weights of tiny-video: lingen models pull NAME" in text.stderr
    assert published.requests == []
    assert pull("-q").returncode == 0
    assert row() == before | {"weights": True, "state": "ready", "get": None}


def test_a_connection_that_is_lost_is_taken_up(
    published: Hub,
    pull: Callable[..., subprocess.CompletedProcess[str]],
    any_files: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda _: None)
    published.cut_after = 9000
    result = pull()
    assert result.returncode == 0, result.stderr
    assert published.gets()[:2] == [
        ("denoiser.safetensors", None),
        ("denoiser.safetensors", "bytes=8192-"),
    ]
    assert "lingen: warning: Error while downloading from" in result.stderr
    assert [Path(line).read_bytes() for line in result.stdout.splitlines()] == list(
        any_files.values()
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_stopped_download_goes_on(
    hub: Hub,
    tiny_models: Callable[..., None],
    lingen: Run,
    any_files: dict[str, Any],
    number: signal.Signals,
) -> None:
    """In chunks of 10 MB, as they are outside this process: whole files stay, the one that was not
    whole begins again, in place of a part that may be damaged."""
    large = hashlib.shake_256(b"large").digest(1000) * 12_000
    tiny_models(tiny_video=record_of(hub, any_files | {"autoencoder": large}))
    hub.stall_after = 11_000_000
    command = [sys.executable, "-m", "lingen_cli", "models", "pull", "tiny-video"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    blobs = hub.cache / "models--someone--tiny-video" / "blobs"
    until = time.monotonic() + 30
    while time.monotonic() < until and not any(
        path.stat().st_size >= 10_000_000 for path in blobs.glob("*.incomplete")
    ):
        time.sleep(0.02)
    process.send_signal(number)
    process.communicate(timeout=30)
    expected = {signal.SIGINT: 130, signal.SIGKILL: -signal.SIGKILL}
    assert process.returncode == expected[number]
    hub.stall_after = None
    hub.requests.clear()
    result = lingen("models", "pull", "tiny-video")
    assert result.returncode == 0, result.stderr
    assert hub.gets() == [("autoencoder.safetensors", None), ("text_encoder.safetensors", None)]
    assert Path(result.stdout.splitlines()[1]).read_bytes() == large
    assert lingen("models", "remove", "tiny-video", "--yes").returncode == 0
    assert left_in(hub.cache) == []  # with what the killed process had begun


@pytest.mark.parametrize("part", PARTS)
def test_wrong_bytes_are_not_kept(
    published: Hub,
    pull: Callable[..., subprocess.CompletedProcess[str]],
    fails: Fails,
    any_files: dict[str, Any],
    part: str,
) -> None:
    wrong = b"w" * 20_000
    published.files[f"{part}.safetensors"] = wrong
    result = pull("-q")
    fails(
        result,
        65,
        f"wrong hash: {part}.safetensors of someone/tiny-video has the SHA-256",
        hashlib.sha256(wrong).hexdigest(),
        hashlib.sha256(any_files[part]).hexdigest(),
        "not kept",
    )
    before = PARTS[: PARTS.index(part)]
    assert left_in(published.cache) == sorted(
        [hashlib.sha256(any_files[one]).hexdigest() for one in before]
        + [f"{one}.safetensors" for one in before]
    )


def test_another_size_is_told_before_anything_is_downloaded(
    published: Hub, pull: Callable[..., subprocess.CompletedProcess[str]], fails: Fails
) -> None:
    published.files["text_encoder.safetensors"] = b"short"
    fails(pull(), 65, "wrong size: text_encoder.safetensors", "has 5 bytes", "has 20000")
    assert published.gets() == [] and left_in(published.cache) == []


@pytest.mark.parametrize(
    ("status", "told"),
    [
        ((404, "EntryNotFound"), "has no file denoiser.safetensors at 0123"),
        ((404, "RevisionNotFound"), "someone/tiny-video has no commit 0123456789"),
        ((404, "RepoNotFound"), "there is no http://127.0.0.1"),
        ((401, ""), "it is private: then log in with `hf auth login`"),
        ((403, "GatedRepo"), "asks for its license to be accepted"),
        ((418, ""), "answers with the error 418"),
    ],
)
def test_a_hub_that_refuses(
    published: Hub,
    pull: Callable[..., subprocess.CompletedProcess[str]],
    fails: Fails,
    status: tuple[int, str],
    told: str,
) -> None:
    published.status = status
    fails(pull(), 69, told)
    assert left_in(published.cache) == []


def test_no_hub(
    published: Hub,
    pull: Callable[..., subprocess.CompletedProcess[str]],
    fails: Fails,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    nowhere = "http://127.0.0.1:9/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", nowhere)
    fails(pull(), 69, "cannot reach", "someone/tiny-video")


@pytest.mark.parametrize("how", ["option", "variable"])
def test_offline(
    published: Hub,
    pull: Callable[..., subprocess.CompletedProcess[str]],
    fails: Fails,
    monkeypatch: pytest.MonkeyPatch,
    how: str,
) -> None:
    if how == "variable":
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    result = pull(*["--offline"] if how == "option" else [])
    fails(result, 69, "offline: denoiser.safetensors", "the denoiser of 'tiny-video', is not here")
    assert published.requests == []


def test_without_the_package(
    published: Hub,
    pull: Callable[..., subprocess.CompletedProcess[str]],
    fails: Fails,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import importlib.util

    found = importlib.util.find_spec
    monkeypatch.setattr(
        "lingen_cli.zoo.hub_client.find_spec",
        lambda name: None if name == "huggingface_hub" else found(name),
    )
    fails(pull(), 69, "pip install 'lingen[hub]'")
    assert published.requests == []


def test_too_little_space(
    published: Hub,
    pull: Callable[..., subprocess.CompletedProcess[str]],
    fails: Fails,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    usage = shutil.disk_usage("/")
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage._replace(free=59_999))
    fails(pull(), 74, "disk full", "has 60.0 kB left, the download needs 60.0 kB")
    assert published.gets() == []


def test_a_damaged_file_is_refused_by_name_and_mended(
    hub: Hub,
    tiny_models: Callable[..., None],
    tiny_files: dict[str, bytes],
    lingen_here: RunHere,
    pull: Callable[..., subprocess.CompletedProcess[str]],
    fails: Fails,
    clean_environment: Path,
) -> None:
    tiny_models(tiny_video=record_of(hub, tiny_files))
    path = Path(pull("-q").stdout.splitlines()[1])
    damaged = tiny_files["autoencoder"][:-1] + b"\xff"
    path.resolve().write_bytes(damaged)
    told = (f"wrong hash: {path} (autoencoder)", "`lingen models pull tiny-video` gets it again")
    fails(lingen_here("generate", "x", "--model", "tiny-video", "--frames", 1), 65, *told)
    fails(lingen_here("models", "verify", "tiny-video"), 65, *told)
    assert os.listdir(clean_environment) == []
    fails(pull("--offline"), 69, "is not what it should be")
    result = pull()
    assert result.returncode == 0 and "has the wrong hash" in result.stderr
    assert path.read_bytes() == tiny_files["autoencoder"]
    assert lingen_here("models", "verify", "tiny-video").returncode == 0


def test_two_at_once_download_once(
    hub: Hub, tiny_models: Callable[..., None], any_files: dict[str, Any], lingen: Run
) -> None:
    tiny_models(tiny_video=record_of(hub, any_files))
    command = [sys.executable, "-m", "lingen_cli", "models", "pull", "tiny-video"]
    both = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    for process in both:
        _, told = process.communicate(timeout=60)
        assert process.returncode == 0, told
    assert sorted(hub.gets()) == sorted((f"{part}.safetensors", None) for part in PARTS)


def test_models_without_a_download(
    lingen_here: RunHere, fails: Fails, tiny_models: Callable[..., None], tiny_weights: Path
) -> None:
    result = lingen_here("models", "pull", "lingen-mini")
    assert result.returncode == 0 and "all weights of lingen-mini are here" in result.stderr
    told = "lingen train ablation --model dit-mini"
    fails(lingen_here("models", "pull", "dit-mini"), 69, "no weights of 'dit-mini' exist", told)
    fails(lingen_here("models", "pull", "lingen-mimi"), 2, "did you mean 'lingen-mini'?")
    tiny_models(tiny_video={"folder": str(tiny_weights / "nowhere")})
    fails(lingen_here("models", "pull", "tiny-video"), 69, "are not installed", "put it there")


class TestRemove:
    def test_everything_of_it(
        self,
        published: Hub,
        pull: Callable[..., subprocess.CompletedProcess[str]],
        lingen_here: RunHere,
        fails: Fails,
    ) -> None:
        assert pull("-q").returncode == 0
        fails(lingen_here("models", "remove", "tiny-video"), 2, "add --yes to remove the weights")
        assert len(left_in(published.cache)) == 6
        result = lingen_here("models", "remove", "tiny-video", "--yes")
        assert result.stdout == "removed 3 files of tiny-video, 60.0 kB\n", result.stderr
        assert left_in(published.cache) == []
        assert not (published.cache / "models--someone--tiny-video").exists()
        again = lingen_here("models", "remove", "tiny-video", "--json")
        assert json.loads(again.stdout) == {"name": "tiny-video", "removed": [], "bytes": 0}

    def test_what_came_of_a_stopped_download(
        self, published: Hub, lingen_here: RunHere, any_files: dict[str, Any]
    ) -> None:
        digest = hashlib.sha256(any_files["denoiser"]).hexdigest()
        partial = published.cache / "models--someone--tiny-video/blobs" / f"{digest}.1.incomplete"
        partial.parent.mkdir(parents=True)
        partial.write_bytes(b"abc")
        result = lingen_here("models", "remove", "tiny-video", "--yes", "--json")
        assert json.loads(result.stdout)["bytes"] == 3
        assert not partial.exists()

    def test_what_others_need_stays(
        self,
        hub: Hub,
        tiny_models: Callable[..., None],
        any_files: dict[str, Any],
        lingen_here: RunHere,
        pull: Callable[..., subprocess.CompletedProcess[str]],
    ) -> None:
        """Another model with the same autoencoder, and a program with its own file and link."""
        record = record_of(hub, any_files)
        other = record | {"denoiser": "large.safetensors"}
        hub.files["large.safetensors"] = any_files["denoiser"]
        tiny_models(tiny_video=record, large_video=other)
        assert pull("-q").returncode == 0
        assert lingen_here("models", "pull", "large-video", "-q").returncode == 0
        result = lingen_here("models", "remove", "tiny-video", "--yes", "--json")
        assert json.loads(result.stdout) == {
            "name": "tiny-video",
            "removed": ["denoiser"],
            "bytes": 0,
        }
        rows = json.loads(lingen_here("models", "list", "--json").stdout)
        states = {one["name"]: one["state"] for one in rows}
        assert (states["tiny-video"], states["large-video"]) == ("to pull", "ready")

    @pytest.mark.parametrize(
        ("name", "told"),
        [
            ("lingen-mini", "part of the plugin 'variants' and cannot be removed"),
            ("dit-mini", "there are no weights of 'dit-mini'"),
            ("tiny-video", "is yours to delete"),
            ("lingen-mimi", "did you mean"),
        ],
    )
    def test_refused(
        self,
        lingen_here: RunHere,
        fails: Fails,
        tiny_models: Callable[..., None],
        tiny_weights: Path,
        name: str,
        told: str,
    ) -> None:
        tiny_models(tiny_video={"folder": str(tiny_weights)})
        before = left_in(tiny_weights)
        fails(lingen_here("models", "remove", name, "--yes"), 2, told)
        assert left_in(tiny_weights) == before

    def test_while_it_is_downloaded(
        self,
        published: Hub,
        pull: Callable[..., subprocess.CompletedProcess[str]],
        lingen_here: RunHere,
        fails: Fails,
        any_files: dict[str, Any],
    ) -> None:
        from filelock import FileLock

        assert pull("-q").returncode == 0
        digest = hashlib.sha256(any_files["denoiser"]).hexdigest()
        with FileLock(published.cache / f".locks/models--someone--tiny-video/{digest}.lock"):
            result = lingen_here("models", "remove", "tiny-video", "--yes")
        fails(result, 75, "another process downloads denoiser.safetensors")
        assert len(left_in(published.cache)) == 6


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"XDG_CACHE_HOME": "/x/cache"},
        {"HF_HOME": "~/hf", "XDG_CACHE_HOME": "/x/cache"},
        {"HUGGINGFACE_HUB_CACHE": "/old", "HF_HOME": "/hf"},
        {"HF_HUB_CACHE": "$HOME/new", "HUGGINGFACE_HUB_CACHE": "/old", "HF_HOME": "/hf"},
    ],
    ids=lambda variables: "+".join(variables) or "none",
)
def test_the_cache_is_where_the_library_has_it(
    variables: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    ask = "from huggingface_hub.constants import HF_HUB_CACHE; print(HF_HUB_CACHE)"
    theirs = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True)
    assert str(cache_root()) == theirs.stdout.strip()
