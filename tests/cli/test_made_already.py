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


class Killed(BaseException):
    """The end of a process."""


EDITS: dict[str, tuple[object, ...]] = {
    "extend": ("extend", "out/a.mp4", "--seconds", 1, "--steps", 1, "--seed", 2),
    "the old seed": ("extend", "out/a.mp4", "--seconds", 1, "--steps", 1),
    "a new seed": ("extend", "out/a.mp4", "--seconds", 1, "--steps", 1, "--seed", -1),
    "branch": ("branch", "out/a.mp4", "a ball", "--at", "1s", "--seconds", 1, "--steps", 1),
    "retake": ("retake", "out/a.mp4", "--from", "1s", "--steps", 1),
}


def killed_as_it_leaves(patch: pytest.MonkeyPatch, *, tidied: bool) -> None:
    """Have a run end after it has published: before its work folder is removed, or after that."""
    from lingen_cli.files.work_folder import WorkFolder

    leave = WorkFolder._remove

    def dies(self: WorkFolder) -> None:
        if tidied:
            leave(self)
        else:
            self._lock.release(force=True)
        raise Killed

    patch.setattr(WorkFolder, "_remove", dies)


@pytest.mark.parametrize("tidied", [False, True])
@pytest.mark.parametrize("edit", EDITS)
def test_an_edit_in_its_own_place_is_made_once(
    run: Callable[..., subprocess.CompletedProcess[str]],
    lingen_here: RunHere,
    monkeypatch: pytest.MonkeyPatch,
    edit: str,
    tidied: bool,
) -> None:
    """A run that was killed after it had published, wherever it was in its tidying up."""
    command = (*EDITS[edit], "-o", "out/a.mp4", "--overwrite")
    with monkeypatch.context() as patch:
        killed_as_it_leaves(patch, tidied=tidied)
        assert lingen_here(*command).returncode == 70
    made = Path("out/a.mp4").read_bytes()
    again = lingen_here(*command)
    assert (again.returncode, "made already" in again.stderr) == (0, True), again.stderr
    assert again.stdout == "out/a.mp4\n"
    assert Path("out/a.mp4").read_bytes() == made
    assert [path.name for path in Path("out").iterdir()] == ["a.mp4"]
    if edit != "extend":
        return
    assert lingen_here(*command).returncode == 0  # asked for anew, it is made longer once more
    recipe: Any = read_recipe(Path("out/a.mp4"))
    assert recipe["edits"][1:]


def test_another_edit_of_what_was_published_is_made(
    run: Callable[..., subprocess.CompletedProcess[str]],
    lingen_here: RunHere,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    into = ("-o", "out/a.mp4", "--overwrite")
    with monkeypatch.context() as patch:
        killed_as_it_leaves(patch, tidied=True)
        assert lingen_here(*EDITS["extend"], *into).returncode == 70
    for option in (("--seed", 3), ("--prompt", "a ball"), ("--seconds", 2)):
        before: Any = read_recipe(Path("out/a.mp4"))
        result = lingen_here(*EDITS["extend"], *option, *into)
        assert result.returncode == 0 and "made already" not in result.stderr
        after: Any = read_recipe(Path("out/a.mp4"))
        assert len(after["edits"]) == len(before["edits"]) + 1


def test_what_was_published_in_place_is_resumed(
    run: Callable[..., subprocess.CompletedProcess[str]],
    lingen_here: RunHere,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as patch:
        killed_as_it_leaves(patch, tidied=True)
        command = (*EDITS["extend"], "-o", "out/a.mp4", "--overwrite")
        assert lingen_here(*command).returncode == 70
    made = Path("out/a.mp4").read_bytes()
    resumed = lingen_here("resume", "out/a.mp4", "--events", "events.jsonl")
    assert (resumed.returncode, "made already" in resumed.stderr) == (0, True), resumed.stderr
    assert json.loads(Path("events.jsonl").read_text().splitlines()[-1])["frames"] == 49
    assert Path("out/a.mp4").read_bytes() == made
    assert [path.name for path in Path("out").iterdir()] == ["a.mp4"]


def test_a_video_from_elsewhere_is_made_longer_once_in_its_place(
    run: Callable[..., subprocess.CompletedProcess[str]],
    lingen_here: RunHere,
    tiny_weights: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with av.open("out/a.mp4") as source, av.open("plain.mp4", "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(source.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    wish = ("--prompt", "a ball", "--seconds", 1, "--steps", 1, "--weights", tiny_weights)
    command = ("extend", "plain.mp4", *wish, "-o", "plain.mp4", "--overwrite")
    with monkeypatch.context() as patch:
        killed_as_it_leaves(patch, tidied=True)
        assert lingen_here(*command).returncode == 70
    made = Path("plain.mp4").read_bytes()
    assert "made already" in lingen_here(*command).stderr
    assert Path("plain.mp4").read_bytes() == made
    assert not list(Path().glob(".*.lingen"))
