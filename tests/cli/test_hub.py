"""What is said of open weights from elsewhere before anything of them is loaded."""

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lingen_cli.zoo import locate_hub
from lingen_cli.zoo.licenses import accept, is_accepted
from lingen_plugins import sums
from lingen_plugins.contracts import HubModel
from lingen_plugins.hub import register_hub_models
from lingen_plugins.hub.families.wan import WAN
from tests.cli.protocols import Fails, Run, RunHere

WISH = ("generate", "a red cat", "--model", "wan-1.3b")


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clean_environment: Path) -> Path:
    monkeypatch.setenv("LINGEN_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    return tmp_path / "state"


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return a function that makes packages look installed, in these versions, or not."""

    def pretend(**versions: str | None) -> None:
        def version(package: str) -> str:
            found = versions.get(package, "9.9.9")
            if found is None:
                raise PackageNotFoundError(package)
            return found

        monkeypatch.setattr(locate_hub, "version", version)

    return pretend


@pytest.mark.parametrize(
    ("wish", "said"),
    [
        pytest.param(("--seconds", "6"), "at most 5.062 s, not 6 s", id="too long"),
        pytest.param(("--frames", "122", "--fps", "24"), "at most 5.062 s", id="too many frames"),
        pytest.param(("--size", "200x120"), "a multiple of 16", id="size"),
        pytest.param(("--sampler", "heun"), "leave out --sampler", id="sampler"),
        pytest.param(("--guidance-interval", "0,1"), "leave out --guidance-", id="interval"),
    ],
)
def test_what_it_cannot_do(
    lingen_here: RunHere, fails: Fails, state: Path, wish: tuple[str, ...], said: str
) -> None:
    fails(lingen_here(*WISH, *wish, "--accept-license"), 2, said)
    assert not state.exists()  # not even the license was looked at


@pytest.mark.parametrize(
    ("name", "value"),
    [("guidance_interval", "0.1,0.8"), ("sampler", "heun")],
)
def test_a_setting_that_it_cannot_follow_is_named(
    lingen_here: RunHere, fails: Fails, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    file = Path("lingen.toml").absolute()
    file.write_text(f'{name} = "{value}"\n')
    fails(lingen_here(*WISH), 2, "wan-1.3b", f"{name} is set by {file}")
    monkeypatch.setenv(f"LINGEN_{name.upper()}", value)
    fails(lingen_here(*WISH), 2, f"{name} is set by LINGEN_{name.upper()}")


def test_as_long_as_it_can(lingen_here: RunHere, fails: Fails) -> None:
    for wish in (("--frames", "81"), ("--frames", "121", "--fps", "24")):
        fails(lingen_here(*WISH, *wish), 69, "license")


def test_images_and_stories(lingen_here: RunHere, fails: Fails) -> None:
    from lingen_cli.media.images.image_files import write_png

    write_png(Path("first.png"), np.zeros((32, 32, 3), np.uint8))
    for option in ("--image", "--last-image"):
        fails(lingen_here(*WISH, option, "first.png"), 2, "takes no images")
    shot = '[[shot]]\nprompt = "a red cat"\nseconds = 1\n'
    Path("story.toml").write_text(shot + shot)
    story = ("generate", "--story", "story.toml", "--model", "wan-1.3b")
    fails(lingen_here(*story), 2, "cannot go on")


def test_going_on_with_any_video(lingen_here: RunHere, fails: Fails, tiny_weights: Path) -> None:
    made = lingen_here("generate", "a red ball", "--weights", tiny_weights, "--size", "32",
                       "--frames", "3", "--steps", "1", "--no-metadata", "-o", "v.mp4")  # fmt: skip
    assert made.returncode == 0, made.stderr
    wish = ("extend", "v.mp4", "--prompt", "a red cat", "--model", "wan-1.3b")
    fails(lingen_here(*wish), 2, "cannot go on")


def test_models_that_are_measured_on_the_playground(lingen_here: RunHere, fails: Fails) -> None:
    fails(lingen_here("evaluate", "--model", "wan-1.3b"), 2, "unknown model")


def test_the_license_is_asked_for_once(
    lingen_here: RunHere, fails: Fails, installed: Callable[..., None], state: Path
) -> None:
    installed()
    asked = lingen_here(*WISH)
    fails(asked, 69, WAN.license, WAN.license_url, "--accept-license", "lingen models pull")
    installed(ftfy=None)  # all that is lacking is said at once
    asked = lingen_here(*WISH)
    fails(asked, 69, WAN.license, "the package ftfy", "lingen models pull", "GB of memory")
    installed()
    fails(lingen_here(*WISH, "--accept-license"), 69, "lingen models pull wan-1.3b")
    fails(lingen_here(*WISH), 69, "lingen models pull wan-1.3b")
    (file,) = (state / "licences").iterdir()
    record = json.loads(file.read_text())
    assert record["license"] == WAN.license
    other: Any
    for other in (record | {"license": "another"}, [], None):
        file.write_text(json.dumps(other))
        assert not is_accepted(WAN)
    accept(WAN)
    assert is_accepted(WAN)


def test_a_state_folder_that_cannot_be_written(
    lingen_here: RunHere, fails: Fails, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LINGEN_STATE_DIR", str(tmp_path / "file"))
    fails(lingen_here(*WISH, "--accept-license"), 66, "no such folder", "file")


def test_packages_that_are_missing_or_old(
    lingen_here: RunHere, fails: Fails, installed: Callable[..., None]
) -> None:
    accept(WAN)
    installed(ftfy=None)
    fails(lingen_here(*WISH), 69, "the package ftfy", "pip install 'lingen[hub]'")
    installed(diffusers="0.9.12")
    fails(lingen_here(*WISH), 69, f"needs diffusers {WAN.since}, 0.9.12 is installed")


def test_folders_that_hold_nothing(
    lingen_here: RunHere, fails: Fails, installed: Callable[..., None], tmp_path: Path
) -> None:
    accept(WAN)
    installed()
    fails(lingen_here(*WISH, "--weights", tmp_path / "none"), 66, "no such folder")
    fails(lingen_here(*WISH, "--weights", tmp_path), 66, "no model_index.json")


@pytest.mark.parametrize("model", register_hub_models(), ids=lambda one: one.name)
def test_every_model_is_listed_and_described(lingen_here: RunHere, model: HubModel) -> None:
    rows = json.loads(lingen_here("models", "list", "--json").stdout)
    (row,) = [row for row in rows if row["name"] == model.name]
    assert (row["license"], row["weights"]) == (model.license, False)
    facts = json.loads(lingen_here("models", "show", model.name, "--json").stdout)
    assert facts["license"] == model.license and facts["accepted"].startswith("no")
    assert "counted" in facts["memory"]


def test_listing_imports_nothing_heavy(lingen: Run) -> None:
    code = (
        "import sys; from lingen_cli.app import run; run(['models', 'list']); "
        "print([m for m in ('torch', 'diffusers', 'huggingface_hub') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_sums_of_files_that_huggingface_hub_keeps_are_not_counted_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    entry = tmp_path / "models--someone--video"
    blobs, part = entry / "blobs", entry / "snapshots" / "main" / "vae"
    blobs.mkdir(parents=True)
    part.mkdir(parents=True)
    (blobs / ("a" * 64)).write_bytes(b"large")
    (part / "model.safetensors").symlink_to(blobs / ("a" * 64))
    before = sums.folder_sum(part)
    assert sums._sha256(part / "model.safetensors", 0, 0, 0) == "a" * 64
    (part / "config.json").write_text("{}")
    assert sums.folder_sum(part) != before


def test_the_name_of_a_file_elsewhere_is_not_its_sum(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    for blobs in (tmp_path / "x" / "blobs", tmp_path / "cache" / "blobs"):
        blobs.mkdir(parents=True)
        kept = blobs / ("a" * 64)
        kept.write_bytes(b"other")
        (link := blobs.parent / "model.safetensors").symlink_to(kept)
        assert sums._sha256(link, 0, 0, 0) == hashlib.sha256(b"other").hexdigest()
