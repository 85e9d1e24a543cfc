"""An output counts as made while it is what was made: not cut off, damaged or encoded again."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import av
import pytest

from lingen_cli.media.metadata import read_recipe, recipe_tags
from tests.cli.protocols import RunHere

JOB = {"prompt": "a red ball", "frames": 33, "steps": 1, "size": 64, "seed": 1}


@pytest.fixture
def run(
    lingen_here: RunHere, tiny_weights: Path, clean_environment: Path
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """A run of one job, alone or as a batch."""
    Path("jobs.jsonl").write_text(
        json.dumps(JOB | {"output": "a.mp4", "weights": str(tiny_weights)})
    )
    options = [f"--{name}={JOB[name]}" for name in ("frames", "steps", "size", "seed")]
    command = ("generate", "a red ball", *options, "--weights", tiny_weights, "-o", "out/a.mp4")

    def run(kind: str = "generate", *more: object) -> subprocess.CompletedProcess[str]:
        batch = ("batch", "jobs.jsonl", "-o", "out")
        return lingen_here(*(command if kind == "generate" else batch), *more)

    Path("out").mkdir()
    assert run().returncode == 0
    return run


def at_data(data: bytearray | bytes) -> Any:
    """Where the packets begin."""
    return data.index(b"mdat") + 4


def cut_off(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: at_data(data) + (len(data) - at_data(data)) // 2])


def cut_off_by_a_byte(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def zeroed(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: at_data(data)] + bytes(len(data) - at_data(data)))


def one_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)


def negated(path: Path) -> None:
    """Encoded again with its tags, as an editor does."""
    facts, other = read_recipe(path), Path("other.mp4")
    assert facts is not None
    with av.open(str(path)) as source, av.open(str(other), "w") as target:
        target.metadata.update(recipe_tags(facts))
        old = source.streams.video[0]
        stream = target.add_stream("libx264", rate=old.average_rate)
        stream.width, stream.height, stream.pix_fmt = old.width, old.height, "yuv420p"
        for frame in source.decode(old):
            image = av.VideoFrame.from_ndarray(255 - frame.to_ndarray(format="rgb24"), "rgb24")
            target.mux(stream.encode(image))
        target.mux(stream.encode())
    other.replace(path)


@pytest.mark.parametrize("harm", [cut_off, cut_off_by_a_byte, zeroed, one_bit, negated])
@pytest.mark.parametrize("kind", ["generate", "batch"])
def test_what_is_no_longer_that_video(
    run: Callable[..., subprocess.CompletedProcess[str]], kind: str, harm: Callable[..., None]
) -> None:
    path = Path("out/a.mp4")
    good = path.read_bytes()
    harm(path)
    harmed = path.read_bytes()
    result = run(kind)
    assert result.returncode == (73 if kind == "generate" else 1)
    assert "output is this video, but damaged or edited since" in result.stderr
    assert "--overwrite makes it again: out/a.mp4" in result.stderr
    assert path.read_bytes() == harmed
    assert run("generate", "--overwrite").returncode == 0
    assert path.read_bytes() == good
    assert "1 there already" in run("batch").stderr


def test_a_copy_of_its_packets_is_that_video(
    run: Callable[..., subprocess.CompletedProcess[str]],
    with_recipe: Callable[[Path, Path, Mapping[str, Any]], Path],
) -> None:
    path = Path("out/a.mp4")
    facts: Any = read_recipe(path)
    shutil.move(path, "first.mp4")
    with_recipe(Path("first.mp4"), path, facts)
    assert "made already" in run().stderr


def test_a_video_without_hashes_of_packets_is_decoded(
    run: Callable[..., subprocess.CompletedProcess[str]],
    with_recipe: Callable[[Path, Path, Mapping[str, Any]], Path],
) -> None:
    """As those of lingen 0.1.0."""
    path = Path("out/a.mp4")
    facts: Any = read_recipe(path)
    for one in facts["frame_hashes"]:
        del one["packets"]
    shutil.move(path, "first.mp4")
    with_recipe(Path("first.mp4"), path, facts)
    assert "made already" in run().stderr
    one_bit(path)
    assert run().returncode == 73


def test_a_longer_video_is_compared_whole(
    run: Callable[..., subprocess.CompletedProcess[str]], lingen_here: RunHere
) -> None:
    command = ("extend", "out/a.mp4", "--seconds", 1, "--steps", 1, "--seed", 2, "-o", "b.mp4")
    assert lingen_here(*command).returncode == 0
    recipe: Any = read_recipe(Path("b.mp4"))
    hashes = recipe["frame_hashes"]
    assert [(one["begin"], one["end"]) for one in hashes] == [(0, 33), (33, 49)]
    assert "made already" in lingen_here(*command).stderr
    data = bytearray(Path("b.mp4").read_bytes())
    data[at_data(data) + 200] ^= 1  # in a frame of the first video
    Path("b.mp4").write_bytes(data)
    assert lingen_here(*command).returncode == 73


def test_a_video_from_elsewhere_made_longer(
    run: Callable[..., subprocess.CompletedProcess[str]], lingen_here: RunHere, tiny_weights: Path
) -> None:
    with av.open("out/a.mp4") as source, av.open("plain.mp4", "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(source.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    command: tuple[object, ...] = (
        "extend",
        "plain.mp4",
        "--prompt",
        "a ball",
        "--seconds",
        1,
        "--steps",
        1,
    )
    command = (*command, "--seed", 2, "--weights", tiny_weights, "-o", "b.mp4")
    assert lingen_here(*command).returncode == 0
    assert "made already" in lingen_here(*command).stderr
    one_bit(Path("b.mp4"))
    assert lingen_here(*command).returncode == 73


def test_an_edit_in_its_own_place_is_made_once(
    run: Callable[..., subprocess.CompletedProcess[str]],
    lingen_here: RunHere,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A run that was killed after it had published, and before it had tidied up."""
    from lingen_cli.files.work_folder import WorkFolder

    monkeypatch.setenv("LINGEN_JOURNAL_SECONDS", "0")
    edit = ("extend", "out/a.mp4", "--seconds", 1, "--steps", 1, "--seed", 2)
    command = (*edit, "-o", "out/a.mp4", "--overwrite")
    with monkeypatch.context() as patch:
        patch.setattr(WorkFolder, "_remove", lambda self: self._lock.release(force=True))
        assert lingen_here(*command).returncode == 0
    made = Path("out/a.mp4").read_bytes()
    again = lingen_here(*command)
    assert (again.returncode, "made already" in again.stderr) == (0, True)
    assert Path("out/a.mp4").read_bytes() == made
    assert [path.name for path in Path("out").iterdir()] == ["a.mp4"]
    assert lingen_here(*command).returncode == 0  # asked for anew, it is made longer once more
    recipe: Any = read_recipe(Path("out/a.mp4"))
    assert recipe["edits"][1:]
