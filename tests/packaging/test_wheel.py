"""What an installed lingen contains: built here, and looked into."""

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from lingen_cli import TESTED

ROOT = Path(__file__).parents[2]
PACKAGES = {
    "lingen": ROOT / "lingen",
    "lingen_cli": ROOT / "lingen_cli",
    "lingen_models": ROOT / "models" / "lingen_models",
    "lingen_playground": ROOT / "playground" / "lingen_playground",
    "lingen_plugins": ROOT / "plugins" / "lingen_plugins",
    "lingen_training": ROOT / "training" / "lingen_training",
}
DATA = ("*.safetensors", "*.toml", "*.c", "py.typed")


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> tuple[set[str], set[str], str]:
    """The names inside the wheel and inside the source archive, and the wheel's metadata."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (wheel,), (source,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    with zipfile.ZipFile(wheel) as file:
        names = set(file.namelist())
        (metadata,) = [name for name in names if name.endswith(".dist-info/METADATA")]
        text = file.read(metadata).decode()
    with tarfile.open(source) as tar:
        inside = {name.split("/", 1)[1] for name in tar.getnames() if "/" in name}
    return names, inside, text


def test_the_wheel_holds_every_module_and_all_data(
    archives: tuple[set[str], set[str], str],
) -> None:
    wheel, source, _ = archives
    for package, folder in PACKAGES.items():
        files = [path for pattern in ("*.py", *DATA) for path in folder.rglob(pattern)]
        assert files
        for path in files:
            assert f"{package}/{path.relative_to(folder)}" in wheel
            assert str(path.relative_to(ROOT)) in source


def test_the_wheel_holds_nothing_else(archives: tuple[set[str], set[str], str]) -> None:
    wheel, _, _ = archives
    tops = {name.split("/")[0] for name in wheel}
    data, information = sorted(tops - set(PACKAGES))
    assert information.endswith(".dist-info") and data.endswith(".data")
    files = {name for name in wheel if name.startswith(data)}
    assert files == {f"{data}/data/share/man/man1/lingen.1"}
    assert f"{information}/licenses/LICENSE" in wheel


def test_the_metadata(archives: tuple[set[str], set[str], str]) -> None:
    text = archives[2]
    assert "License-Expression: Apache-2.0" in text
    assert "Requires-Python: >=3.11" in text
    assert "Requires-Dist: torch<3,>=2.9" in text
    assert "Project-URL: Source, https://" in text and "Project-URL: Issues, https://" in text
    required = [line for line in text.splitlines() if line.startswith("Requires-Dist:")]
    assert not any("mamba" in line for line in required)  # its build needs CUDA


def test_ci_runs_the_torch_that_is_called_tested() -> None:
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert f"pip install --quiet 'torch=={TESTED['torch']}." in script
