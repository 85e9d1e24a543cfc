"""The example is a plugin that works: installed by `lingen plugins install`, used, and removed."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "lingen-plugin-example"


@pytest.fixture(scope="module")
def run(
    other_python: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return a function that runs a module in that environment, with nothing of this shell."""
    home = tmp_path_factory.mktemp("home")
    kept = {
        name: os.environ[name]
        for name in ("PATH", "OMP_NUM_THREADS", "OMP_WAIT_POLICY", "LINGEN_C_KERNELS_FOLDER")
        if name in os.environ
    }
    offline = {"PIP_NO_INDEX": "1", "PIP_NO_DEPS": "1", "PIP_CONFIG_FILE": os.devnull}
    ours = {"HOME": str(home), "PYTHONDONTWRITEBYTECODE": "1"}

    def command(*arguments: object, cwd: Path = home) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [other_python, "-m", *map(str, arguments)],
            cwd=cwd,
            env=kept | offline | ours,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return command


@pytest.fixture(scope="module")
def installed(
    run: Callable[..., subprocess.CompletedProcess[str]], tmp_path_factory: pytest.TempPathFactory
) -> subprocess.CompletedProcess[str]:
    """What `lingen plugins install` says of the example's wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=EXAMPLE, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    return run("lingen_cli", "plugins", "install", wheel)


def test_it_is_installed_and_found(
    run: Callable[..., subprocess.CompletedProcess[str]],
    installed: subprocess.CompletedProcess[str],
) -> None:
    assert (installed.returncode, installed.stdout) == (
        0,
        "installed lingen-plugin-example 1.0 (example)\n",
    ), installed.stderr
    report = json.loads(run("lingen_cli", "plugins", "list", "--json").stdout)
    (plugin,) = [one for one in report["loaded"] if one["name"] == "example"]
    assert (plugin["distribution"], plugin["version"]) == ("lingen-plugin-example", "1.0")
    assert plugin["hooks"] == [
        "register_model_variants",
        "register_samplers",
        "register_scan_orders",
    ]
    assert report["failed"] == report["disabled"] == []


def test_its_model_is_described(
    run: Callable[..., subprocess.CompletedProcess[str]],
    installed: subprocess.CompletedProcess[str],
) -> None:
    shown = run("lingen_cli", "models", "show", "example-mini", "--json")
    facts = json.loads(shown.stdout)
    assert facts["scan order"] == "example-columns" and facts["sampler"] == "example-midpoint"
    assert shown.stderr == ""


def test_its_own_tests_pass_where_it_is_installed(
    run: Callable[..., subprocess.CompletedProcess[str]],
    installed: subprocess.CompletedProcess[str],
    tmp_path: Path,
) -> None:
    tests = tmp_path / "tests"
    tests.mkdir()
    (tests / "test_plugin.py").write_text((EXAMPLE / "tests" / "test_plugin.py").read_text())
    result = run("pytest", "-q", "-p", "no:cacheprovider", "-W", "error", tests, cwd=tmp_path)
    assert "2 passed" in result.stdout, result.stdout + result.stderr


def test_its_sampler_makes_a_video_and_it_is_removed_again(
    run: Callable[..., subprocess.CompletedProcess[str]],
    installed: subprocess.CompletedProcess[str],
    tiny_weights: Path,
    tmp_path: Path,
) -> None:
    video = tmp_path / "v.mp4"
    wishes = ("--size", "32", "--frames", "9", "--steps", "2", "--sampler", "example-midpoint")
    result = run(
        "lingen_cli", "generate", "a red ball", "--weights", tiny_weights, *wishes, "-o", video
    )
    assert result.returncode == 0 and video.stat().st_size > 0, result.stderr
    gone = run("lingen_cli", "plugins", "uninstall", "--yes", "example")
    assert gone.stdout == "uninstalled lingen-plugin-example 1.0 (example)\n", gone.stderr
    assert "example" not in run("lingen_cli", "plugins", "list").stdout


def test_the_readme_is_short() -> None:
    assert len((EXAMPLE / "README.md").read_text(encoding="utf-8").splitlines()) <= 25
