import json
from pathlib import Path
from types import ModuleType

import pytest
import typer

from lingen_cli import TESTED, errors, exit_codes
from lingen_cli.exit_codes import Terminated, failure_of
from lingen_plugins import UnknownNameError
from tests.cli.protocols import Run, RunHere


@pytest.mark.parametrize(
    ("error", "code", "part"),
    [
        (errors.InvalidOptionError("no"), 2, "no"),
        (errors.BadDataError("no"), 65, "no"),
        (errors.MissingInputError("no"), 66, "no"),
        (errors.NotAvailableError("no"), 69, "no"),
        (errors.OutOfMemory("no"), 71, "no"),
        (errors.OutputExistsError("no"), 73, "no"),
        (errors.WriteFailedError("no"), 74, "no"),
        (errors.DiskFullError("no"), 74, "no"),
        (errors.LockedError("no"), 75, "no"),
        (errors.PermissionDeniedError("no"), 77, "no"),
        (errors.ConfigFileError("no"), 78, "no"),
        (UnknownNameError("model", "x", ["y"]), 2, "unknown model 'x'"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (Terminated(), 143, "terminated"),
        (typer.Exit(3), 3, ""),
        (PermissionError(13, "Permission denied", "x.mp4"), 77, "permission denied: x.mp4"),
        (OSError(122, "Disk quota exceeded"), 74, "disk full"),
        (OSError(12, "Cannot allocate memory"), 71, "out of memory"),
        (MemoryError(), 71, "out of memory"),
        (ZeroDivisionError("division by zero"), 70, "internal error: ZeroDivisionError"),
        (errors.BugError("impossible"), 70, "impossible"),
    ],
)
def test_every_failure_has_its_code(error: BaseException, code: int, part: str) -> None:
    failure = failure_of(error)
    assert failure.code == code
    assert part in failure.message


def test_torch_out_of_memory_on_a_gpu_is_recognised_without_torch() -> None:
    class OutOfMemoryError(RuntimeError):
        pass

    assert failure_of(OutOfMemoryError("CUDA out of memory")).code == 71


@pytest.mark.parametrize(
    "error",
    [
        ImportError("cannot import name 'x' from 'torch.utils' (x.py)", name="torch.utils"),
        AttributeError("module 'torch' has no attribute 'x'", obj=ModuleType("torch"), name="x"),
    ],
)
def test_a_newer_torch_that_lacks_something_is_no_bug(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert failure_of(error).code == 70  # in the version that was tested, nothing is missing
    monkeypatch.setattr(exit_codes, "version", lambda package: "99.0")
    failure = failure_of(error)
    assert failure.code == 69 and "torch 99.0 lacks what lingen uses here" in failure.message
    assert f"up to {TESTED['torch']}" in failure.message


def test_messages_are_one_line_that_a_terminal_can_show() -> None:
    failure = failure_of(errors.BadDataError("two\nlines \x1b[31m and a bell\a"))
    assert failure.message == "two lines \\x1b[31m and a bell\\x07"
    assert failure_of(RuntimeError("a\n b")).message.startswith("internal error: RuntimeError: a b")


def test_the_exit_codes_of_the_tree_are_documented() -> None:
    classes = [errors.LingenError]
    for one in classes:
        classes += one.__subclasses__()
        name = one.__name__
        assert errors.__doc__ is not None and name in errors.__doc__
    assert {one.exit_code for one in classes} == {1, 2, 65, 66, 69, 70, 71, 73, 74, 75, 77, 78}


def test_a_traceback_is_shown_when_asked_for(lingen: Run, tmp_path: Path) -> None:
    assert "Traceback" not in lingen("show", "no.mp4").stderr
    result = lingen("--traceback", "show", "no.mp4")
    assert result.returncode == 66
    assert "Traceback" in result.stderr
    assert result.stderr.splitlines()[-1].startswith("lingen: error: no such file")


@pytest.mark.parametrize("broken", ["settings", "input"])
@pytest.mark.parametrize(
    "command",
    [
        ("generate", "a red ball", "--image", "none.png"),
        ("extend", "none.mp4"),
        ("continue", "none.mp4", "a star"),
        ("branch", "none.mp4", "a star", "--at", "1"),
        ("retake", "none.mp4", "--from", "1"),
        ("rerun", "none.mp4"),
        ("resume", "none.mp4"),
    ],
)
def test_the_events_of_every_failure_end(
    command: tuple[str, ...],
    broken: str,
    lingen_here: RunHere,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    if broken == "settings":
        (tmp_path / "lingen.toml").write_text("steps = 'many'")
    found = lingen_here(*command, "--json")
    events = [json.loads(line) for line in found.stdout.splitlines()]
    assert [event["event"] for event in events[-2:]] == ["error", "end"]
    assert events[-1]["code"] == events[-2]["code"] == found.returncode in (66, 78)
