from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lingen_cli.errors import ConfigFileError, InvalidOptionError
from lingen_cli.inputs.settings import Settings, load, nearest_file, user_file

EXAMPLE = Path(__file__).parents[2] / "lingen.toml"


@pytest.fixture(autouse=True)
def _clean(clean_environment: Path) -> Iterator[None]:
    yield


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_defaults_are_enough() -> None:
    loaded = load()
    assert loaded.values == Settings.model_validate({})
    assert set(loaded.sources.values()) == {"default"}


def test_flag_wins_over_variable_over_project_over_user(monkeypatch: pytest.MonkeyPatch) -> None:
    everything = 'model = "{0}"\nsteps = {1}\nguidance = {1}.0\ncrf = {1}\n'
    file = user_file()
    assert file is not None
    user = write(file, everything.format("user", 11) + "seconds = 11.0\n")
    project = write(Path("lingen.toml"), everything.format("project", 12)).absolute()
    monkeypatch.setenv("LINGEN_STEPS", "13")
    monkeypatch.setenv("LINGEN_GUIDANCE", "13")
    loaded = load({"guidance": 14.0, "model": None})
    values: Any = loaded.values
    sources = loaded.sources
    assert (values.guidance, sources["guidance"]) == (14.0, "--guidance")
    assert (values.steps, sources["steps"]) == (13, "LINGEN_STEPS")
    assert (values.crf, sources["crf"]) == (12, str(project))
    assert (values.model, sources["model"]) == ("project", str(project))
    assert (values.seconds, sources["seconds"]) == (11.0, str(user))
    assert (values.device, sources["device"]) == ("auto", "default")


def test_the_nearest_file_upwards_is_the_projects(clean_environment: Path) -> None:
    write(clean_environment / "lingen.toml", "steps = 1")
    near = write(clean_environment / "a" / "lingen.toml", "steps = 2")
    deep = clean_environment / "a" / "b" / "c"
    deep.mkdir(parents=True)
    assert nearest_file(deep) == near
    values: Any = load(start=deep).values
    assert values.steps == 2


@pytest.mark.parametrize(
    ("text", "line", "parts"),
    [
        ("steps = 3\nstepz = 3", 2, ["unknown key 'stepz'", "did you mean 'steps'?"]),
        ("\n[generate]\nsteps = 3", 2, ["unknown key 'generate'"]),
        ("# steps\nsteps = '3'", 2, ["steps must be a whole number", "'3'"]),
        ("steps = 0", 1, ["greater than or equal to 1", "not 0"]),
        ("seconds = nan", 1, ["finite"]),
        ("device = 'gpu'", 1, ["'auto', 'cpu' or 'cuda'"]),
        ("a = 1\nx = [", 2, []),
        ("preview = 'yes'", 1, ["valid boolean"]),
        ("output_folder = '../elsewhere'", 1, ["inside the folder of this file"]),
        ("output_folder = '/tmp'", 1, ["inside the folder of this file"]),
        ("weights = '../../w'", 1, ["inside the folder of this file"]),
    ],
)
def test_mistakes_in_a_file_name_the_line_and_the_way_out(
    text: str, line: int, parts: list[str]
) -> None:
    path = write(Path("lingen.toml"), text).absolute()
    with pytest.raises(ConfigFileError) as caught:
        load()
    message = str(caught.value)
    assert message.startswith(f"{path}:{line}: ")
    for part in parts:
        assert part in message


def test_a_file_that_is_not_utf8() -> None:
    Path("lingen.toml").write_bytes(b"steps = 3\nmodel = '\xff'")
    with pytest.raises(ConfigFileError, match=r"lingen\.toml:2: not valid UTF-8"):
        load()


def test_mistakes_in_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LINGEN_STEPS", "many")
    with pytest.raises(InvalidOptionError, match="LINGEN_STEPS must be a whole number"):
        load()
    monkeypatch.delenv("LINGEN_STEPS")
    monkeypatch.setenv("LINGEN_STEP", "3")
    with pytest.raises(InvalidOptionError, match="unknown variable LINGEN_STEP; did you mean"):
        load()
    monkeypatch.delenv("LINGEN_STEP")
    monkeypatch.setenv("LINGEN_DISABLE_PLUGINS", "all")
    assert load().values == Settings.model_validate({})


def test_mistakes_in_flags() -> None:
    with pytest.raises(InvalidOptionError, match="--steps must be less than or equal to 1000"):
        load({"steps": 1001})


def test_folders_are_relative_to_the_file_that_names_them(clean_environment: Path) -> None:
    write(clean_environment / "lingen.toml", 'output_folder = "videos"')
    deep = clean_environment / "deep"
    deep.mkdir()
    assert load(start=deep).values.output_folder == clean_environment / "videos"


def test_a_users_own_file_may_name_any_folder() -> None:
    file = user_file()
    assert file is not None
    write(file, 'output_folder = "/tmp/videos"')
    assert load().values.output_folder == Path("/tmp/videos")


def test_the_example_in_the_repository_holds_the_defaults(tmp_path: Path) -> None:
    copy = write(tmp_path / "example" / "lingen.toml", EXAMPLE.read_text())
    loaded = load(start=copy.parent)
    assert loaded.values == Settings.model_validate({})
    assert str(copy) in loaded.sources.values()


def test_every_key_of_the_example_is_right_when_uncommented(tmp_path: Path) -> None:
    text = EXAMPLE.read_text()
    lines = [line.removeprefix("# ") for line in text.splitlines()]
    settings = [line for line in lines if "=" in line and line.split("=")[0].strip().isidentifier()]
    write(tmp_path / "example" / "lingen.toml", "\n".join(settings))
    loaded = load(start=tmp_path / "example")
    missing = [name for name, source in loaded.sources.items() if source == "default"]
    assert missing == []
