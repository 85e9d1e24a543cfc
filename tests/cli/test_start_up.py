"""What must be quick never imports torch or PyAV."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.protocols import Fails, Run, RunHere

BLOCKED = (
    "import sys; sys.modules['torch'] = sys.modules['av'] = None; "
    "from lingen_cli.app import run; sys.exit(run(sys.argv[1:]))"
)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        ["generate", "--help"],
        ["models", "list"],
        ["models", "show", "lingen-4b"],
        ["models", "show", "lingen-mini"],
        ["plugins", "list"],
        ["config", "show"],
        ["config", "path"],
        ["kernels", "install", "--dry-run"],
    ],
)
def test_without_torch_and_av(clean_environment: Path, arguments: list[str]) -> None:
    result = subprocess.run(
        [sys.executable, "-c", BLOCKED, *arguments], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip()


def test_openmp_threads_wait_passively() -> None:
    code = "import os, lingen_cli; print(os.environ['OMP_WAIT_POLICY'])"
    environment = {k: v for k, v in os.environ.items() if k != "OMP_WAIT_POLICY"}
    for given, expected in (({}, "passive"), ({"OMP_WAIT_POLICY": "active"}, "active")):
        result = subprocess.run(
            [sys.executable, "-c", code], env=environment | given, capture_output=True, text=True
        )
        assert result.stdout.strip() == expected, result.stderr


def test_lists(lingen_here: RunHere) -> None:
    models = json.loads(lingen_here("models", "list", "--json").stdout)
    weights = {model["name"]: model["weights"] for model in models}
    assert next(iter(weights)) == "lingen-mini" and "lingen-4b" in weights
    assert [name for name in weights if weights[name]] == ["lingen-mini"]
    assert [model["get"] for model in models if model["name"] in ("dit-mini", "lingen-mini")] == [
        None,
        "lingen train ablation --model dit-mini",
    ]
    shown = json.loads(lingen_here("models", "show", "lingen-4b", "--json").stdout)
    assert shown["config"]["width"] == 2560 and shown["weights"] == {}
    assert shown["parameters"] == 4_147_689_472
    shown = json.loads(lingen_here("models", "show", "lingen-mini", "--json").stdout)
    (parts,) = [model for model in models if model["name"] == "lingen-mini"]
    assert (
        parts["bytes"] == shown["bytes"] == sum(one["bytes"] for one in shown["weights"].values())
    )
    plugins = json.loads(lingen_here("plugins", "list", "--json").stdout)
    assert {"variants", "token_orders"} <= {plugin["name"] for plugin in plugins["loaded"]}
    assert plugins["failed"] == []
    settings = json.loads(lingen_here("config", "show", "--json").stdout)
    assert settings["model"] == {"value": "lingen-mini", "source": "default"}


def test_a_broken_plugin_is_a_warning(
    lingen: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_plugin.py").write_text("import no_such_module")
    info = tmp_path / "broken_plugin-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken-plugin\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[lingen]\nbroken = broken_plugin\n")
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    monkeypatch.setenv("PYTHONPATH", path)
    result = lingen("plugins", "list")
    assert result.returncode == 0
    assert "plugin 'broken' of broken-plugin was skipped: ModuleNotFoundError" in result.stderr
    models = lingen("models", "list")
    assert models.returncode == 0 and "lingen-mini" in models.stdout
    assert models.stderr.startswith(result.stderr)


def test_kernels_are_refused_politely_without_a_gpu(lingen_here: RunHere, fails: Fails) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA GPU")
    fails(lingen_here("kernels", "install"), 69, "need a CUDA GPU")


def test_the_command_for_kernels(lingen_here: RunHere) -> None:
    lines = lingen_here("kernels", "install", "--dry-run").stdout.splitlines()
    assert lines[1].startswith("MAMBA_SKIP_CUDA_BUILD=TRUE MAMBA_FORCE_BUILD=TRUE ")
    assert "--no-build-isolation --no-deps mamba-ssm==" in lines[1]
