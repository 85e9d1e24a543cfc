"""`lingen plugins install` and `uninstall`: real ones in their own environment, and refusals."""

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from lingen_cli.errors import NotAvailableError
from lingen_cli.installation import installing
from lingen_cli.installation import pip as lingen_pip
from tests.cli.protocols import Fails, RunHere

BROKEN = "import os\nopen(os.environ['IMPORTED'], 'w').close()\nimport no_such_module\n"


def make_wheel(folder: Path, name: str, source: str, entry_points: str = "") -> Path:
    """A wheel with one module, by hand: a build takes seconds."""
    info = f"{name}-1.0.dist-info"
    files = {
        f"{name}.py": source,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": entry_points,
    }
    files[f"{info}/RECORD"] = "".join(f"{file},,\n" for file in [*files, f"{info}/RECORD"])
    wheel = folder / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for file, text in files.items():
            archive.writestr(file, text)
    return wheel


def test_installed_listed_and_uninstalled_without_being_imported(
    other_python: Path, clean_environment: Path, tmp_path: Path
) -> None:
    imported = tmp_path / "imported"
    (clean_environment / "pip.py").write_text("raise SystemExit('not pip at all')")
    entry = "[lingen]\nbroken = broken_thing\n$(touch hacked) --help = broken_thing\n"
    wheels = [
        make_wheel(tmp_path, "broken_thing", BROKEN, entry),
        make_wheel(tmp_path, "plain_thing", ""),
    ]
    ours = {"PIP_NO_INDEX": "1", "IMPORTED": str(imported), "PYTHONPATH": ""}

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [other_python, "-m", "lingen_cli", "plugins", *map(str, arguments)],
            env=os.environ | ours,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    first = run("install", *wheels)
    assert first.returncode == 0, first.stderr
    assert first.stdout == "installed broken_thing 1.0 ($(touch hacked) --help, broken)\n"
    assert "plain_thing was installed, but is no plugin: it has no entry point" in first.stderr
    assert not imported.exists()
    again = run("install", *wheels)
    assert (again.returncode, again.stdout) == (0, "")
    assert "nothing new: all of it was installed before" in again.stderr
    failed = json.loads(run("list", "--json").stdout)["failed"]
    assert [one["name"] for one in failed] == ["$(touch hacked) --help", "broken"]
    imported.unlink()
    plain = run("uninstall", "--yes", "broken", "plain-thing")
    assert plain.returncode == 2 and "'plain-thing' is installed, but is no plugin" in plain.stderr
    gone = run("uninstall", "--yes", "broken", "$(touch hacked) --help", "Broken.Thing")
    assert gone.stdout == "uninstalled broken_thing 1.0 ($(touch hacked) --help, broken)\n"
    assert not imported.exists() and not (clean_environment / "hacked").exists()
    assert json.loads(run("list", "--json").stdout)["failed"] == []


@pytest.fixture
def no_pip(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """pip is not run; the list of what it would have been asked."""
    asked = []
    monkeypatch.setattr(installing, "run_pip", lambda *words, **_: asked.append(words))
    return asked


@pytest.fixture
def pretended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return a function that writes the metadata of a distribution with a plugin."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(folder: str, plugin: str, name: str | None = None) -> None:
        info = tmp_path / f"{folder}-1.0.dist-info"
        info.mkdir()
        text = f"Metadata-Version: 2.1\nName: {name or folder}\nVersion: 1.0\n"
        (info / "METADATA").write_text(text)
        (info / "entry_points.txt").write_text(f"[lingen]\n{plugin} = no_such_module\n")

    return write


@pytest.mark.parametrize("spec", ["--index-url=https://example.org", "-r", "-e", "", " "])
def test_a_spec_is_never_an_option(
    lingen_here: RunHere, fails: Fails, no_pip: list[tuple[str, ...]], spec: str
) -> None:
    fails(lingen_here("plugins", "install", "--", "fine", spec), 2, "names no package")
    assert no_pip == []


def test_pip_that_fails(
    lingen_here: RunHere, fails: Fails, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    result = lingen_here("plugins", "install", "no-such-package-at-all")
    fails(result, 69, "pip could not install no-such-package-at-all; pip's messages are above")
    assert "No matching distribution" in result.stderr


def test_no_pip_at_all(lingen_here: RunHere, fails: Fails, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lingen_pip, "find_spec", lambda name: None)
    fails(lingen_here("plugins", "install", "thing"), 69, "there is no pip for", "uv pip install")


def test_metadata_that_says_the_name_of_another_package(
    lingen_here: RunHere,
    fails: Fails,
    no_pip: list[tuple[str, ...]],
    pretended: Callable[..., None],
) -> None:
    pretended("harmless", "evil", name="pytest")
    fails(lingen_here("plugins", "uninstall", "--yes", "evil"), 69, "remove its files by hand")
    fails(lingen_here("plugins", "uninstall", "--yes", "pytest"), 69, "remove its files by hand")
    assert no_pip == []


def test_a_name_in_two_distributions(
    lingen_here: RunHere,
    fails: Fails,
    no_pip: list[tuple[str, ...]],
    pretended: Callable[..., None],
) -> None:
    pretended("first", "same")
    pretended("second", "same")
    result = lingen_here("plugins", "uninstall", "--yes", "same")
    fails(result, 2, "is in more than one distribution: name 'first' or 'second'")
    assert no_pip == []


def test_what_pip_left_is_noticed(
    lingen_here: RunHere,
    fails: Fails,
    no_pip: list[tuple[str, ...]],
    pretended: Callable[..., None],
) -> None:
    pretended("stays", "stays")
    fails(lingen_here("plugins", "uninstall", "--yes", "stays"), 69, "stays is still there")
    assert no_pip == [("uninstall", "--yes", "--", "stays")]


class Terminal:
    """Standard input with somebody at it."""

    def __init__(self, answer: str | BaseException) -> None:
        self.answer = answer

    def isatty(self) -> bool:
        return True

    def readline(self) -> str:
        if isinstance(self.answer, str):
            return self.answer
        raise self.answer


@pytest.mark.parametrize(
    ("answer", "code", "asked"),
    [
        ("y\n", 69, 1),  # pip is not run here, so the plugin is still there
        ("YES\n", 69, 1),
        ("n\n", 0, 0),
        ("\n", 0, 0),
        ("", 0, 0),
        (KeyboardInterrupt(), 130, 0),
    ],
)
def test_the_question(
    lingen_here: RunHere,
    no_pip: list[tuple[str, ...]],
    pretended: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    answer: str | BaseException,
    code: int,
    asked: int,
) -> None:
    pretended("mine", "mine")
    monkeypatch.setattr(sys, "stdin", Terminal(answer))
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    result = lingen_here("plugins", "uninstall", "mine")
    assert "lingen: uninstall mine 1.0 (mine)? y/N" in result.stderr
    assert (result.returncode, len(no_pip)) == (code, asked)
    assert ("nothing was uninstalled" in result.stderr) == (code == 0)


def test_nobody_to_ask(
    lingen_here: RunHere,
    fails: Fails,
    no_pip: list[tuple[str, ...]],
    pretended: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pretended("mine", "mine")
    monkeypatch.setattr(sys, "stdin", None)
    fails(lingen_here("plugins", "uninstall", "mine"), 2, "add --yes to uninstall mine 1.0")
    assert no_pip == []


def test_what_pip_says_is_harmless(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code = "print('\\x1b[31mred'); import sys; print(repr(sys.stdin.read())); sys.exit(4)"
    monkeypatch.setattr(lingen_pip, "pip_command", lambda *_: [sys.executable, "-c", code])
    with pytest.raises(NotAvailableError, match="it did not work; pip's messages are above"):
        lingen_pip.run_pip("install", failure="it did not work")
    assert capsys.readouterr().err == "\\x1b[31mred\n''\n"
