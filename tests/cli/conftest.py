import os
import subprocess
import sys

import pytest


@pytest.fixture
def clean_environment(tmp_path, monkeypatch):
    """An empty working folder, and no settings of this user or this shell."""
    for name in [name for name in os.environ if name.startswith("LINGEN_")]:
        monkeypatch.delenv(name)
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(work)
    return work


@pytest.fixture
def lingen(clean_environment):
    """Return a function that runs `lingen` as a process of its own, in an empty folder."""

    def run(*arguments, prefix=(), **options):
        settings = {"capture_output": True, "text": True, "timeout": 120, "check": False}
        return subprocess.run(
            [*prefix, sys.executable, "-m", "lingen_cli", *map(str, arguments)],
            **settings | options,
        )

    return run


@pytest.fixture
def lingen_here(clean_environment, capsys):
    """As `lingen`, inside this process: torch is imported once for all tests."""
    from lingen_cli.app import run as run_here

    def run(*arguments):
        capsys.readouterr()
        code = run_here([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return subprocess.CompletedProcess(arguments, code, out, err)

    return run


def check_failure(result, code, *parts):
    """One line on standard error, the documented code, nothing on standard output."""
    assert result.returncode == code, result.stderr
    lines = [line for line in result.stderr.splitlines() if "lingen: error:" in line]
    assert len(lines) == 1, result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""
    for part in parts:
        assert part in lines[0]


@pytest.fixture
def fails():
    """The check that every failing run must pass."""
    return check_failure


@pytest.fixture
def with_recipe():
    """Return a function that writes a copy of a video with another recipe."""
    import av

    from lingen_cli.media.metadata import recipe_tags

    def copy(video, target, facts):
        with av.open(str(video)) as source, av.open(str(target), "w") as container:
            container.metadata.update(recipe_tags(facts))
            stream = container.add_stream_from_template(source.streams.video[0])
            for packet in source.demux(source.streams.video[0]):
                if packet.dts is not None:
                    packet.stream = stream
                    container.mux(packet)
        return target

    return copy
