import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture
def clean_environment(tmp_path, monkeypatch):
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
def lingen(clean_environment):
    """Return a function that runs `lingen` as a process of its own, in an empty folder."""

    def run(*arguments, prefix=(), **options):
        settings = {"capture_output": True, "text": True, "timeout": 120, "check": False}
        return subprocess.run(
            [*prefix, sys.executable, "-m", "lingen_cli", *map(str, arguments)],
            **settings | options,
        )

    return run


@pytest.fixture
def lingen_here(clean_environment, capsys):
    """As `lingen`, inside this process: torch is imported once for all tests."""
    from lingen_cli.app import run as run_here

    def run(*arguments):
        capsys.readouterr()
        code = run_here([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return subprocess.CompletedProcess(arguments, code, out, err)

    return run


def check_failure(result, code, *parts):
    """One line on standard error, the documented code, nothing on standard output."""
    assert result.returncode == code, result.stderr
    lines = [line for line in result.stderr.splitlines() if "lingen: error:" in line]
    assert len(lines) == 1, result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""
    for part in parts:
        assert part in lines[0]


@pytest.fixture
def fails():
    """The check that every failing run must pass."""
    return check_failure


@pytest.fixture
def with_recipe():
    """Return a function that writes a copy of a video with another recipe."""
    import av

    from lingen_cli.media.metadata import recipe_tags

    def copy(video, target, facts):
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
def format_1():
    """Return a function that writes a recipe as lingen did before it had SamplingParams."""
    from lingen_models.sampling.params import options

    def flat(part):
        part = dict(part)
        sampling = part.pop("sampling", {})
        return part | {old: sampling[new] for old, new in options().items() if new in sampling}

    def rewrite(recipe):
        return flat(recipe) | {"format": 1, "edits": [flat(one) for one in recipe["edits"]]}

    return rewrite


PLUGIN = """
import json
import os
from pathlib import Path

from lingen_plugins import ModelVariant, Weights, hookimpl
from lingen_plugins.variants import build_lingen


@hookimpl
def register_model_variants():
    records = json.loads(Path(os.environ["TINY_VIDEO_RECORDS"]).read_text())
    return [
        ModelVariant(
            name=name, summary="very small", build=build_lingen, config=one["config"],
            tiny_config=one["config"], autoencoder="tae", text_encoders=("playground-words",),
            scan_order="rms", review="both", sampler="euler", licence="CC0-1.0",
            trained_seconds=2.0, steps=1, weights=Weights(**one["weights"]),
        )
        for name, one in records.items()
    ]
"""


@pytest.fixture
def tiny_models(clean_environment, tiny_weights, tmp_path, monkeypatch):
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

    def register(**weights):
        found = {name.replace("_", "-"): one for name, one in weights.items()}
        content = {name: {"config": config, "weights": one} for name, one in found.items()}
        records.write_text(json.dumps(content))

    register()
    return register


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub on this machine, also for huggingface_hub where it is imported already."""
    import huggingface_hub.constants

    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    from hub_server import Hub

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
