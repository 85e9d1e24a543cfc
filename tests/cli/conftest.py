import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.cli.hub_server import Hub
from tests.cli.protocols import Fails, Run, RunHere


@pytest.fixture
def clean_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder, and no settings of this user or this shell."""
    kept = "LINGEN_C_KERNELS_FOLDER"  # compiled once for all tests
    for name in [one for one in os.environ if one.startswith("LINGEN_") and one != kept]:
        monkeypatch.delenv(name)
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(work)
    return work


@pytest.fixture
def lingen(clean_environment: Path) -> Run:
    """Return a function that runs `lingen` as a process of its own, in an empty folder."""

    def run(
        *arguments: object, prefix: Sequence[str] = (), **options: Any
    ) -> subprocess.CompletedProcess[str]:
        settings: dict[str, Any] = {
            "capture_output": True,
            "text": True,
            "timeout": 120,
            "check": False,
        }
        return subprocess.run(
            [*prefix, sys.executable, "-m", "lingen_cli", *map(str, arguments)],
            **settings | options,
        )

    return run


@pytest.fixture
def lingen_here(clean_environment: Path, capsys: pytest.CaptureFixture[str]) -> RunHere:
    """As `lingen`, inside this process: torch is imported once for all tests."""
    from lingen_cli.app import run as run_here

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        capsys.readouterr()
        words = [str(argument) for argument in arguments]
        code = run_here(words)
        out, err = capsys.readouterr()
        return subprocess.CompletedProcess(words, code, out, err)

    return run


def check_failure(result: subprocess.CompletedProcess[str], code: int, *parts: str) -> None:
    """One line on standard error, the documented code, nothing on standard output."""
    assert result.returncode == code, result.stderr
    lines = [line for line in result.stderr.splitlines() if "lingen: error:" in line]
    assert len(lines) == 1, result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""
    for part in parts:
        assert part in lines[0]


@pytest.fixture
def fails() -> Fails:
    """The check that every failing run must pass."""
    return check_failure


@pytest.fixture
def with_recipe() -> Callable[[Path, Path, Mapping[str, Any]], Path]:
    """Return a function that writes a copy of a video with another recipe."""
    import av

    from lingen_cli.media.metadata import recipe_tags

    def copy(video: Path, target: Path, facts: Mapping[str, Any]) -> Path:
        with av.open(str(video)) as source, av.open(str(target), "w") as container:
            container.metadata.update(recipe_tags(facts))
            stream = container.add_stream_from_template(source.streams.video[0])
            for packet in source.demux(source.streams.video[0]):
                if packet.dts is not None:
                    packet.stream = stream
                    container.mux(packet)
        return target

    return copy


@pytest.fixture
def format_1() -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    """Return a function that writes a recipe as lingen did before it had SamplingParams."""
    from lingen_models.sampling.params import options

    def flat(part: Mapping[str, Any]) -> dict[str, Any]:
        part = dict(part)
        sampling = part.pop("sampling", {})
        return part | {old: sampling[new] for old, new in options().items() if new in sampling}

    def rewrite(recipe: Mapping[str, Any]) -> dict[str, Any]:
        return flat(recipe) | {"format": 1, "edits": [flat(one) for one in recipe["edits"]]}

    return rewrite


PLUGIN = """
import json
import os
from pathlib import Path

from lingen_plugins import ModelVariant, Weights, hookimpl
from lingen_plugins.builtin.variants import build_lingen


@hookimpl
def register_model_variants():
    records = json.loads(Path(os.environ["TINY_VIDEO_RECORDS"]).read_text())
    return [
        ModelVariant(
            name=name, summary="very small", build=build_lingen, config=one["config"],
            tiny_config=one["config"], autoencoder="tae", text_encoders=("playground-words",),
            scan_order="rms", review="both", sampler="euler", license="CC0-1.0",
            trained_seconds=2.0, steps=1, weights=Weights(**one["weights"]),
        )
        for name, one in records.items()
    ]
"""


@pytest.fixture
def tiny_models(
    clean_environment: Path, tiny_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., None]:
    """Install a plugin whose models have the architecture of `tiny_weights`.

    Returns a function: name of a model -> fields of its `Weights`.
    """
    from lingen_models.checkpoints.safetensors import read_metadata

    folder = tmp_path / "plugin"
    info = folder / "tiny_video-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: tiny-video\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[lingen]\ntiny = tiny_video_plugin\n")
    (folder / "tiny_video_plugin.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(folder)
    path = os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])
    monkeypatch.setenv("PYTHONPATH", path)
    records = tmp_path / "records.json"
    monkeypatch.setenv("TINY_VIDEO_RECORDS", str(records))
    config = read_metadata(tiny_weights / "denoiser.safetensors")["config"]

    def register(**weights: Mapping[str, Any]) -> None:
        found = {name.replace("_", "-"): one for name, one in weights.items()}
        content = {name: {"config": config, "weights": one} for name, one in found.items()}
        records.write_text(json.dumps(content))

    register()
    return register


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub on this machine, also for huggingface_hub where it is imported already."""
    import huggingface_hub.constants

    cache = tmp_path / "cache"
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HUB_OFFLINE", "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(cache))
    with Hub() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.address)
        template = f"{server.address}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        constants = huggingface_hub.constants
        monkeypatch.setattr(constants, "ENDPOINT", server.address)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 4096)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", True)
        server.cache = cache / "hub"
        yield server


@pytest.fixture
def ffmpeg(clean_environment: Path) -> Callable[..., subprocess.CompletedProcess[bytes]]:
    """Run ffmpeg, which makes the videos of tests, and must play results without a word."""
    if shutil.which("ffmpeg") is None:
        pytest.skip("ffmpeg is not installed")

    def run(*arguments: object) -> subprocess.CompletedProcess[bytes]:
        command = ["ffmpeg", "-hide_banner", "-v", "warning", "-y", *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr
        return done

    return run


@pytest.fixture
def extended(
    lingen_here: RunHere,
    tiny_weights: Path,
    clean_environment: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., tuple[Path, Any, list[Any]]]:
    """Extend a video by a second with the tiny model, which must work.

    Returns the new file, what was said, and the events.
    """
    monkeypatch.setenv("LINGEN_CACHE_DIR", str(clean_environment / "cache"))

    def run(
        video: Any, *options: object, output: str = "out.mp4", prompt: str = "a red ball"
    ) -> tuple[Path, Any, list[Any]]:
        sampling = ("--seconds", "1", "--steps", "1", "--seed", "3", "--weights", tiny_weights)
        said = ("--prompt", prompt) if prompt else ()
        events = Path("events.jsonl")
        events.unlink(missing_ok=True)
        arguments = ("extend", video, *said, *sampling, *options, "-o", output, "--events", events)
        result = lingen_here(*arguments)
        assert result.returncode == 0, result.stderr
        found = [json.loads(line) for line in events.read_text(encoding="utf-8").splitlines()]
        return Path(output), result.stderr, found

    return run


@pytest.fixture
def probe_file(ffmpeg: Callable[..., subprocess.CompletedProcess[bytes]]) -> Callable[..., Any]:
    """Return a function that gives what ffprobe knows of a file."""

    def run(path: Path) -> Any:
        command = ["ffprobe", "-v", "error", "-of", "json", "-show_streams", "-show_format"]
        command += ["-show_chapters", str(path)]
        done = subprocess.run(command, capture_output=True, check=True)
        return json.loads(done.stdout)

    return run
