"""`licence` and `colour` of before are still read: options, lists, records and caches."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from lingen_cli.inputs.request import GenerateRequest
from lingen_cli.inputs.request_options import parse_request
from lingen_cli.zoo.licenses import is_accepted
from lingen_playground import Scene, sample_scene
from lingen_plugins.hub.families.wan import WAN
from tests.cli.protocols import Fails, RunHere


def test_the_option(lingen_here: RunHere, fails: Fails) -> None:
    """Read as the one of today, it goes no further than the same mistake."""
    for option in ("--accept-license", "--accept-licence"):
        fails(lingen_here("generate", "a ball", option, "--seconds", -3), 2, "--seconds must be")
    assert "licence" not in lingen_here("generate", "--help").stdout


def test_a_key_of_a_list() -> None:
    for key in ("accept_license", "accept_licence", "accept-licence"):
        request = parse_request("generate", {"prompt": "a ball", key: "yes"})
        assert isinstance(request, GenerateRequest) and request.accept_license


def test_a_license_that_was_accepted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LINGEN_STATE_DIR", str(tmp_path))
    record = {"model": WAN.name, "licence": WAN.license, "url": WAN.license_url}
    (tmp_path / "licences").mkdir()
    (tmp_path / "licences" / f"{WAN.name}.json").write_text(json.dumps(record))
    assert is_accepted(WAN)
    assert not is_accepted(replace(WAN, license="another"))


def test_a_cached_scene() -> None:
    scene = sample_scene(3)
    now = json.dumps(scene.to_dict())
    assert '"color"' in now
    assert Scene.from_dict(json.loads(now.replace('"color"', '"colour"'))) == scene
