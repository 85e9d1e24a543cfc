"""A crowd of broken and hostile plugins, all installed at once: lingen goes on without them."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.cli.protocols import Run

MODEL = """
from lingen_plugins import ModelVariant, hookimpl

@hookimpl
def register_model_variants():
    return [ModelVariant(
        name={name!r}, summary="x", build=dict, config={{}}, tiny_config={{}}, autoencoder="tae",
        text_encoders=("playground-words",), scan_order="rms", review="none", sampler="euler",
    )]
"""
HOOK = "from lingen_plugins import hookimpl\n@hookimpl\ndef register_samplers():\n    "
LONG = "n" * 5000

SKIPPED = {
    # name of the plugin: its source, and the reason that is told
    "absent": ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
    "exit": ("raise SystemExit(0)", "SystemExit: 0"),
    "interrupt": ("raise KeyboardInterrupt('no')", "KeyboardInterrupt: no"),
    "base": ("class Stop(BaseException): pass\nraise Stop('\\x1b[31m')", "Stop: \x1b[31m"),
    "mute": ("class E(Exception):\n    __str__ = None\nraise E", "E: it cannot say what is wrong"),
    "variants": (MODEL.format(name="x"), "the plugin that has it ships with lingen"),
    "thief": (MODEL.format(name="lingen-mini"), "both 'variants' and 'thief'; that of 'variants'"),
    "twin-b": (MODEL.format(name="twin"), "both 'twin-a' and 'twin-b'; that of 'twin-a' is used"),
    "misspelt": (HOOK.replace("samplers", "sampler") + "return []", "hook 'register_sampler'"),
    "text": (HOOK + "return ['euler']", "a sampler must be a Sampler, not str"),
    "number": (HOOK + "return 5", "TypeError: 'int' object is not iterable"),
    "late": (HOOK + "raise SystemExit(3)", "SystemExit: 3"),
    "red": (MODEL.format(name="\x1b[31mred"), "has a name that cannot be written"),
    "unhashable": ("import sys\nsys.modules[__name__] = {}", "unhashable type: 'dict'"),
    "\x1b[31mred": ("", "its name is not one a plugin can have"),
    "../x": ("", "its name is not one a plugin can have"),
    "--help": ("", "its name is not one a plugin can have"),
    "$(touch hacked); a b": ("", "its name is not one a plugin can have"),
    LONG: ("", "its name is not one a plugin can have"),
}
WORKING = {
    "twin-a": MODEL.format(name="twin"),
    "sleepy": "import time; time.sleep(1.1)",
    "loud": "print('I am here')",
}


def write_distribution(
    folder: Path,
    name: str,
    entry_points: str,
    source: str | None = None,
    metadata: str | None = None,
    encoding: str = "utf-8",
) -> None:
    """Metadata as pip leaves it, and one module, `plugin_NAME`."""
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir()
    if metadata is None:
        metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n"
    (info / "METADATA").write_text(metadata)
    (info / "entry_points.txt").write_text(entry_points, encoding=encoding)
    if source is not None:
        noted = (
            "import os\nwith open(os.environ['IMPORTED'], 'a') as file:\n"
            "    file.write(__name__ + '\\n')\n"
        )
        (folder / f"plugin_{name}.py").write_text(noted + source)


@pytest.fixture(scope="module")
def crowd(
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[..., Any]:
    """Return a function that runs `lingen`, each command line once, among all of them."""
    folder = tmp_path_factory.mktemp("crowd")
    sources = {name: source for name, (source, _) in SKIPPED.items()} | WORKING
    for number, (name, source) in enumerate(sources.items()):
        entry = f"[lingen]\n{name} = plugin_crowd{number}\n"
        write_distribution(folder, f"crowd{number}", entry, source)
    write_distribution(folder, "nameless", "[lingen]\nnameless = plugin_none\n", metadata="")
    red = "Metadata-Version: 2.1\nName: \x1b[31mred\n  and more\nVersion: \x1b[0m\n"
    write_distribution(folder, "evil", "[lingen]\nevil = plugin_none\n", metadata=red)
    home = tmp_path_factory.mktemp("home")
    kept = "LINGEN_C_KERNELS_FOLDER"  # compiled once for all tests
    environment = {key: os.environ[key] for key in os.environ if "LINGEN_" not in key}
    environment[kept] = os.environ[kept]
    environment |= {"HOME": str(home), "XDG_CONFIG_HOME": str(home)}
    environment["PYTHONPATH"] = os.pathsep.join([str(folder), environment.get("PYTHONPATH", "")])

    @cache
    def run(*arguments: object, disabled: str = "") -> Any:
        imported = home / "imported.txt"
        imported.write_text("")
        result: Any = subprocess.run(
            [sys.executable, "-m", "lingen_cli", *map(str, arguments)],
            env=environment | {"IMPORTED": str(imported), "LINGEN_DISABLE_PLUGINS": disabled},
            cwd=home,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        for line in (result.stdout + result.stderr).split("\n"):
            assert line.isprintable(), line
        assert not (home / "hacked").exists() and "Traceback" not in result.stderr
        result.imported = imported.read_text().split()
        return result

    return run


def listed(run: Callable[..., Any], **options: Any) -> tuple[Any, Any]:
    result = run("plugins", "list", "--json", **options)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout), result


@pytest.mark.parametrize("name", SKIPPED, ids=lambda name: ascii(name)[:20])
def test_it_is_skipped_with_a_reason(crowd: Callable[..., Any], name: str) -> None:
    failed = {one["name"]: one["reason"] for one in listed(crowd)[0]["failed"]}
    shown = name if len(name) <= 64 else f"{name[:61]}..."
    assert SKIPPED[name][1] in failed[shown]
    assert "\n" not in failed[shown] and len(failed[shown]) <= 300


def test_the_others_work_and_nothing_else_failed(
    crowd: Callable[..., Any],
) -> None:
    report, result = listed(crowd)
    names = {one["name"] for one in report["loaded"]}
    assert set(WORKING) <= names and {"variants", "samplers", "token_orders"} <= names
    assert len(report["failed"]) == len(SKIPPED) + 2
    reasons = {one["name"]: one["reason"] for one in report["failed"]}
    sources = {one["name"]: one["distribution"] for one in report["failed"]}
    assert (sources["nameless"], sources["evil"]) == ("unknown", "\x1b[31mred and more")
    assert "plugin_none" in reasons["nameless"] and "plugin_none" in reasons["evil"]
    assert "I am here" in result.stderr


def test_a_slow_one_is_named(crowd: Callable[..., Any]) -> None:
    for arguments in (("plugins", "list", "--json"), ("plugins", "list")):
        lines = [line for line in crowd(*arguments).stderr.splitlines() if "'sleepy'" in line]
        assert len(lines) == 1 and lines[0].startswith("lingen: warning: plugin 'sleepy' of crowd")
        assert "makes every command wait for" in lines[0]
    seconds = {one["name"]: one["seconds"] for one in listed(crowd)[0]["loaded"]}
    assert seconds["sleepy"] > 1


def test_help_imports_none_of_them(crowd: Callable[..., Any]) -> None:
    for arguments in (("--help",), ("generate", "--help"), ("plugins", "--help")):
        result = crowd(*arguments)
        assert (result.returncode, result.stderr, result.imported) == (0, "", [])


def test_all_can_be_switched_off_and_are_still_listed(
    crowd: Callable[..., Any],
) -> None:
    report, result = listed(crowd, disabled="all")
    assert result.imported == [] and result.stderr == ""
    assert report["failed"] == []
    assert {"exit", "twin-a", "../x"} <= {one["name"] for one in report["disabled"]}
    text = crowd("plugins", "list", disabled="all").stdout
    assert [
        line for line in text.splitlines() if line.startswith("exit ") and "switched off" in line
    ]


def test_one_can_be_switched_off(crowd: Callable[..., Any]) -> None:
    report, result = listed(crowd, disabled="sleepy,twin-a")
    assert {one["name"] for one in report["disabled"]} == {"sleepy", "twin-a"}
    assert "sleepy" not in result.stderr
    assert "twin-b" in {one["name"] for one in report["loaded"]}


def test_models_are_listed_and_the_default_one_generates(
    crowd: Callable[..., Any], tiny_weights: Path
) -> None:
    models = crowd("models", "list", "--json")
    names = [one["name"] for one in json.loads(models.stdout)]
    assert names[0] == "lingen-mini" and {"lingen-4b", "twin"} < set(names)
    small = ("--size", "32", "--frames", "9", "--steps", "1")
    made = crowd("generate", "a red ball", "--weights", tiny_weights, *small)
    assert (made.returncode, made.stdout) == (0, "a-red-ball.mp4\n"), made.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["nothing-like-it"], 2, "unknown plugin 'nothing-like-it'"),
        (["variants"], 2, "ships with lingen and cannot be uninstalled; there is another in"),
        (["lingen"], 2, "ships with lingen"),
        (["pytest"], 2, "is installed, but is no plugin"),
        (["../x"], 2, "nobody can be asked here: add --yes to uninstall crowd"),
        (["--yes", "evil"], 69, "remove its files by hand"),
        (["--yes", "--", "--help"], 69, "pip could not uninstall crowd"),
        (["--yes", "$(touch hacked); a b"], 69, "pip could not uninstall crowd"),
        (["--yes", "-r"], 2, "no such option"),
        (["--yes", "--", "-r"], 2, "unknown plugin '-r'"),
        (["--yes", "\x1b[31mblue"], 2, "unknown plugin"),
        (["--yes", LONG + "x"], 2, "unknown plugin 'nnn"),
    ],
)
def test_uninstalling_among_them(
    crowd: Callable[..., Any],
    arguments: list[str],
    code: int,
    message: str,
) -> None:
    """These have no list of files, so that pip refuses them; what it can do is tested elsewhere."""
    result = crowd("plugins", "uninstall", *arguments)
    assert result.returncode == code, result.stderr
    (line,) = [line for line in result.stderr.splitlines() if "lingen: error:" in line]
    assert message in line and result.stdout == "" and result.imported == []


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_still_ends_it_even_where_a_plugin_swallows_it(
    tmp_path: Path, number: signal.Signals, code: int
) -> None:
    swallows = "import time\ntry:\n    time.sleep(60)\nexcept BaseException:\n    pass\n"
    write_distribution(tmp_path, "waits", "[lingen]\nwaits = plugin_waits\n", swallows)
    imported = tmp_path / "imported.txt"
    paths = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    process = subprocess.Popen(
        [sys.executable, "-m", "lingen_cli", "plugins", "list"],
        env=os.environ | {"PYTHONPATH": paths, "IMPORTED": str(imported)},
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    until = time.monotonic() + 60
    while not imported.exists() and time.monotonic() < until:
        time.sleep(0.02)
    time.sleep(0.1)
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (code, ""), err
    assert err in ("lingen: error: interrupted\n", "lingen: error: terminated\n")


@pytest.mark.parametrize(
    ("text", "encoding", "reasons"),
    [
        ("[lingen]\nno equals sign\n", "utf-8", ["its entry_points.txt is damaged"]),
        ("[lingen]\nä = plugin_x\n", "latin-1", []),
    ],
    ids=["no equals sign", "not UTF-8"],
)
def test_a_damaged_list_of_entry_points(
    lingen: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    text: str,
    encoding: str,
    reasons: list[str],
) -> None:
    """Python's own reader raises for all packages then; torch cannot be imported any more."""
    write_distribution(tmp_path, "damaged", text, encoding=encoding)
    paths = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    monkeypatch.setenv("PYTHONPATH", paths)
    report = json.loads(lingen("plugins", "list", "--json").stdout)
    assert [one["reason"] for one in report["failed"]] == reasons
    assert lingen("models", "list").returncode == 0
    refused = lingen("plugins", "uninstall", "damaged")
    assert refused.returncode == 2
    assert ("add --yes" if reasons else "is no plugin") in refused.stderr
