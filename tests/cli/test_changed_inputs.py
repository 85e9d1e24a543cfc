"""A video that is exchanged while a run goes on with it is noticed, whatever the run does."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from lingen_cli.generation.journal import SECONDS_VARIABLE
from tests.cli.protocols import Fails, RunHere

PROMPT = ("--prompt", "a red ball")
COMMANDS = {
    "extend": ("extend", "in.mp4", "--seconds", 0.5),
    "continue": ("continue", "in.mp4", "a ball", "--seconds", 0.5),
    "branch": ("branch", "in.mp4", "a ball", "--at", "0.5s", "--seconds", 0.5),
    "retake": ("retake", "in.mp4", "--from", "0.2s", "--to", "0.6s"),
    "foreign": ("extend", "in.mp4", *PROMPT, "--seconds", 0.5),
}


@pytest.fixture
def run(
    lingen_here: RunHere, tiny_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., subprocess.CompletedProcess[str]]:
    monkeypatch.setenv(SECONDS_VARIABLE, "0")
    monkeypatch.setenv("LINGEN_WEIGHTS", str(tiny_weights))
    return lambda *command, seed=1: lingen_here(*command, "--steps", 2, "--seed", seed)


@pytest.fixture
def two(
    run: Callable[..., subprocess.CompletedProcess[str]],
    clean_environment: Path,
    with_recipe: Callable[[Path, Path, Mapping[str, Any]], Path],
) -> Callable[..., None]:
    """Two videos of equal length and size, one of them as `in.mp4`; with or without recipes."""

    def write(kind: str) -> None:
        options = ("--size", 64, "--seconds", 1)
        for seed, name in ((1, "in.mp4"), (2, "other.mp4")):
            made = run("generate", "a red ball", *options, "-o", name, seed=seed)
            assert made.returncode == 0
        if kind == "foreign":
            for name in ("in.mp4", "other.mp4"):
                strip(Path(name))

    return write


def strip(path: Path) -> None:
    """Take the recipe out."""
    import av

    plain = path.with_name(f"plain-{path.name}")
    with av.open(str(path)) as source, av.open(str(plain), "w") as container:
        stream = container.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(source.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                container.mux(packet)
    plain.replace(path)


@pytest.mark.parametrize("kind", COMMANDS)
def test_an_input_that_is_exchanged_while_it_samples(
    run: Callable[..., subprocess.CompletedProcess[str]],
    two: Callable[..., None],
    fails: Fails,
    lingen_here: RunHere,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
) -> None:
    from lingen_models.networks.denoiser import LinGen

    two(kind)
    command = (*COMMANDS[kind], "-o", "out.mp4")
    assert run(*command).returncode == 0
    expected = Path("out.mp4").read_bytes()
    Path("out.mp4").unlink()
    shutil.copy("in.mp4", "kept.mp4")
    forward = LinGen.forward

    def exchange(*given: Any, **more: Any) -> Any:
        shutil.copy("other.mp4", "new.mp4")
        Path("new.mp4").replace("in.mp4")
        return forward(*given, **more)

    with monkeypatch.context() as patch:
        patch.setattr(LinGen, "forward", exchange)
        result = run(*command)
    fails(result, 65, "in.mp4")
    assert "to go on: lingen resume out.mp4" in result.stderr
    assert not Path("out.mp4").exists()
    fails(lingen_here("resume"), 65, "in.mp4")
    assert list(Path().glob(".out.mp4.lingen/journal/0.safetensors"))
    shutil.copy("kept.mp4", "in.mp4")
    with monkeypatch.context() as patch:
        patch.setattr(LinGen, "forward", lambda *_: 1 / 0)
        resumed = lingen_here("resume")
    assert resumed.returncode == 0, resumed.stderr
    assert Path("out.mp4").read_bytes() == expected


@pytest.mark.parametrize("kind", ["extend", "foreign"])
def test_an_input_that_is_gone_while_it_samples(
    run: Callable[..., subprocess.CompletedProcess[str]],
    two: Callable[..., None],
    fails: Fails,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
) -> None:
    from lingen_models.networks.denoiser import LinGen

    two(kind)
    forward = LinGen.forward

    def remove(*given: Any, **more: Any) -> Any:
        Path("in.mp4").unlink(missing_ok=True)
        return forward(*given, **more)

    monkeypatch.setattr(LinGen, "forward", remove)
    fails(run(*COMMANDS[kind], "-o", "out.mp4"), 66, "no such file", "in.mp4")
    assert not Path("out.mp4").exists()


def test_an_exchanged_input_is_another_run(
    run: Callable[..., subprocess.CompletedProcess[str]],
    two: Callable[..., None],
    fails: Fails,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from lingen_cli.generation import encode

    two("extend")
    command = (*COMMANDS["extend"], "-o", "out.mp4")
    with monkeypatch.context() as patch:
        patch.setattr(encode, "decoded", lambda *_: 1 / 0)
        assert run(*command).returncode == 70
    shutil.copy("other.mp4", "in.mp4")
    fails(run(*command), 73, "other settings")
