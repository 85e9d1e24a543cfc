"""Footage in tars, as webdataset writes them: checked, trained on and prepared."""

from __future__ import annotations

import io
import json
import random
import subprocess
import tarfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch

from lingen_cli.datasets.footage import read_footage
from lingen_cli.datasets.video_folder import Excerpt, VideoFolder
from lingen_cli.errors import BadDataError
from lingen_cli.files.open_file import open_file
from lingen_cli.files.tar_members import list_members
from lingen_cli.media.images.image_files import write_png
from lingen_models.checkpoints.safetensors import load_tensors
from tests.cli.test_data import run, write_video
from tests.cli.test_prepare import trained
from tests.tiny_recipe import STAGE, tiny_recipe

RECIPE = tiny_recipe(STAGE.format(more="").replace("clips = 1", "clips = 6"), name="own")


def write_tar(path: Path, members: Mapping[str, bytes], kind: int = tarfile.PAX_FORMAT) -> None:
    """A tar of these files, in this order."""
    with tarfile.open(path, "w", format=kind) as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Three videos and an image with captions."""
    folder = tmp_path_factory.mktemp("files")
    write_video(folder / "000001.mp4", frames=17, shade=40)
    write_video(folder / "000002.mp4", frames=31, size=(48, 96), rate=30, shade=60)
    write_video(folder / "000003.mov", frames=16, size=(64, 64), shade=90)
    write_png(folder / "000004.png", np.full((80, 120, 3), 200, np.uint8))
    for number, words in enumerate(("a dark\n wall", "a wall", "a grey wall", "snow"), start=1):
        if number % 2:
            (folder / f"00000{number}.txt").write_text(words, encoding="utf-8")
        else:
            record = json.dumps({"caption": words, "fps": 16})
            (folder / f"00000{number}.json").write_text(record, encoding="utf-8")
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def folder(files: dict[str, bytes], tmp_path: Path) -> Path:
    """A folder of these files."""
    (tmp_path / "folder").mkdir()
    for name, data in files.items():
        (tmp_path / "folder" / name).write_bytes(data)
    return tmp_path / "folder"


@pytest.fixture
def shards(files: dict[str, bytes], tmp_path: Path) -> Path:
    """Two tars of these files, in no order."""
    (tmp_path / "shards").mkdir()
    for number, some in enumerate(("13", "24")):
        members = {f"./{name}": files[name] for name in sorted(files, reverse=True)}
        kept = {name: data for name, data in members.items() if name[7] in some}
        kind = (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)[number]
        write_tar(tmp_path / "shards" / f"{number}.tar", kept, kind)
    return tmp_path / "shards"


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """A recipe of six clips."""
    path = tmp_path / "own.toml"
    path.write_text(RECIPE, encoding="utf-8")
    return path


@pytest.mark.e2e
def test_a_tar_trains_the_weights_of_its_folder(
    folder: Path, files: dict[str, bytes], recipe: Path, tiny_weights: Path, tmp_path: Path
) -> None:
    tar = tmp_path / "all.tar"
    write_tar(tar, {name: files[name] for name in sorted(files, reverse=True)})
    one = trained(folder, recipe, tmp_path / "one", tiny_weights)
    two = trained(tar, recipe, tmp_path / "two", tiny_weights)
    assert all(torch.equal(one[name], two[name]) for name in one)
    write_tar(tar, files | {"000001.txt": b"another wall"})
    again = run("train", recipe, "--data", tar, "-o", tmp_path / "two")
    assert again.returncode == 65 and "data differs from what" in again.stderr


@pytest.mark.e2e
def test_prepared_tars_hold_what_their_folder_does(
    folder: Path, shards: Path, recipe: Path, tiny_weights: Path, tmp_path: Path
) -> None:
    (shards / "cut.tar").write_bytes((shards / "0.tar").read_bytes()[:700])
    options = ("--recipe", recipe, "--start-from", tiny_weights, "--json")
    told = {}
    for data in (folder, shards):
        done = run("data", "prepare", data, "-o", tmp_path / f"{data.name}-made", *options)
        assert done.returncode == 0, done.stderr
        told[data] = json.loads(done.stdout)
    for name in ("clips", "shots", "minutes", "files", "captions"):
        assert told[folder][name] == told[shards][name]
    assert told[folder]["clips"] == 4 and told[folder]["unusable"] == []
    (line,) = told[shards]["unusable"]
    assert "cut.tar" in line
    assert line in (tmp_path / "shards-made" / "report.txt").read_text(encoding="utf-8")
    prepared = [
        load_tensors(tmp_path / f"{data.name}-made" / "shards" / "00000.safetensors")[0]
        for data in (folder, shards)
    ]
    rows = [sorted(row.double().sum().item() for row in one["0/64x64/3"]) for one in prepared]
    assert rows[0] == rows[1]


def test_clips_of_tars_are_those_of_the_folder(folder: Path, shards: Path) -> None:
    one, two = read_footage(folder), read_footage(shards)
    assert two.problems == () and len(one.clips) == len(two.clips) == 4

    def facts(footage: object) -> set[object]:
        assert isinstance(footage, type(one))
        return {(c.fingerprint, c.caption, c.width, c.seconds) for c in footage.clips}

    assert facts(one) == facts(two)
    names = [clip.name_in(shards) for clip in two.clips]
    assert names == ["0.tar/000001.mp4", "0.tar/000003.mov", "1.tar/000002.mp4", "1.tar/000004.png"]
    frames: dict[str, list[torch.Tensor]] = {}
    for footage in (one, two):
        world = VideoFolder(footage)
        for clip in footage.clips:
            excerpts = [Excerpt(clip, 0.0), Excerpt(clip, 1.0)]
            frames.setdefault(clip.fingerprint, []).append(world.render(excerpts, 3, 64))
    assert all(torch.equal(*pair) for pair in frames.values())


def test_all_that_is_wrong_is_named(files: dict[str, bytes], tmp_path: Path) -> None:
    video, image = files["000001.mp4"], files["000004.png"]
    clips = tmp_path / "clips"
    clips.mkdir()
    members = {
        "good.mp4": video,
        "good.txt": b"a wall",
        "good.cls": b"7",
        "two.left.mp4": video,
        "two.right.png": image,
        "two.json": b'{"text": "both"}',
        "in/below.jpg": image,
        "in/below.TXT": b"below",
        "empty.mp4": b"",
        "empty.txt": b"x",
        "latin.mp4": video,
        "latin.txt": "größe".encode("latin-1"),
        "bare.mp4": video,
        "alone.txt": b"no video",
        "mute.png": image,
        "mute.json": b'{"width": 64}',
        "list.png": image,
        "list.json": b"[1]",
        "../out.mp4": video,
        "/root.png": image,
        ".hidden.mp4": b"not looked at",
    }
    with tarfile.open(clips / "0.tar", "w") as tar:
        for name, data in [*members.items(), ("good.mp4", files["000002.mp4"])]:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
        link = tarfile.TarInfo("link.mp4")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    write_tar(clips / "cut.tar", {"a.mp4": video, "a.txt": b"a", "b.mp4": video})
    whole = (clips / "cut.tar").read_bytes()
    (clips / "cut.tar").write_bytes(whole[: 512 * 4 + len(video) + 1000])
    (clips / "none.tar").write_bytes(b"no tar" * 200)
    (clips / "zero.tar").touch()
    done = run("data", "check", clips, "--json")
    assert done.returncode == 1
    found = json.loads(done.stdout)
    captions = {Path(one["path"]).relative_to(clips).as_posix(): one for one in found["clips"]}
    assert {name: one["caption"] for name, one in captions.items()} == {
        "0.tar/good.mp4": "a wall",
        "0.tar/two.left.mp4": "both",
        "0.tar/two.right.png": "both",
        "0.tar/in/below.jpg": "below",
        "cut.tar/a.mp4": "a",
    }
    assert captions["0.tar/good.mp4"]["width"] == 48  # the last of two
    problems = found["problems"]
    for name, words in {
        "0.tar/empty.mp4": "file is empty",
        "0.tar/latin.txt:1": "not valid UTF-8",
        "0.tar/bare.mp4": "no caption, write bare.txt beside it",
        "0.tar/alone.txt": "caption without a video or an image",
        "0.tar/mute.json": "no caption (caption, text, prompt)",
        "0.tar/list.json": "not a JSON object",
        "out.mp4": "leads out of its tar",
        "root.png": "leads out of its tar",
        "0.tar/good.mp4": "twice in its tar, the last is used",
        "0.tar/link.mp4": "no regular file in its tar",
        "cut.tar": "damaged or cut off after 2 files",
        "none.tar": "not a tar",
        "zero.tar": "file is empty",
    }.items():
        assert [line for line in problems if name in line and words in line], (name, problems)
    assert len(problems) == 13 and done.stderr.count("\n") == 13


@pytest.mark.parametrize(("ending", "tool"), [("tar.gz", "gz"), ("tar.xz", "xz"), ("tar", "bz2")])
def test_compressed_tars_say_how_to_unpack_them(
    files: dict[str, bytes], tmp_path: Path, ending: str, tool: str
) -> None:
    path = tmp_path / f"my clips.{ending}"
    with tarfile.open(path, f"w:{tool}") as tar:  # type: ignore[call-overload]
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    for place in (tmp_path, path):
        done = run("data", "check", place)
        assert done.returncode == 65 and done.stderr.count("\n") == 1
        assert "compressed tar, unpack it first: " in done.stderr
    command = done.stderr.partition("unpack it first: ")[2]
    subprocess.run(["sh", "-c", command], check=True)
    (unpacked,) = set(tmp_path.iterdir()) - {path}
    assert run("data", "check", unpacked).returncode == 0


def test_a_tar_that_changes_under_a_training_is_said_so(shards: Path) -> None:
    footage = read_footage(shards)
    clip = footage.clips[0]
    with open_file(clip.path) as file:
        data = file.read()
        assert file.seek(-3, 2) == len(data) - 3 and file.read() == data[-3:]
    path = shards / "0.tar"
    whole = path.read_bytes()
    for other in (whole[:512] + whole, whole[:600], bytes(len(whole))):
        path.write_bytes(other)
        with pytest.raises(BadDataError, match="changed since"), open_file(clip.path):
            pass


def test_no_bytes_bring_the_list_down(shards: Path, tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    for source in ("0.tar", "1.tar"):
        whole = (shards / source).read_bytes()
        with open_file(shards / source) as file:
            members, problems = list_members(shards / source, file)
        assert len(members) == 4 and problems == []
        rng = random.Random(source)
        for _ in range(300):
            data = bytearray(whole)
            at = rng.choice([one.header for one in members]) + rng.randrange(1024)
            for _ in range(rng.randrange(4)):
                data[at + rng.randrange(8)] = rng.choice([0, 48, 55, 128, 255])
            path.write_bytes(data[: rng.choice([len(data), rng.randrange(len(data))])])
            try:
                with open_file(path) as file:
                    found, problems = list_members(path, file)
            except BadDataError:
                continue
            whole_files = sum(1 for one in members if one.header + one.size + 512 < len(whole))
            assert len(found) <= whole_files + 4
            for one in found:
                with open_file(path) as file:
                    assert len(one.content(file).read()) == one.size


def test_headers_that_claim_much_cost_nothing(tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    for kind, size in ((tarfile.XHDTYPE, 1 << 40), (tarfile.REGTYPE, -1024)):
        info = tarfile.TarInfo("a.mp4")
        info.type, info.size = kind, size
        head = info.tobuf(tarfile.GNU_FORMAT)
        write_tar(path, {"b.mp4": b"x"})
        path.write_bytes(path.read_bytes()[:1024] + head + bytes(4096))
        with path.open("r+b") as file:
            file.truncate(1 << 31)  # a hole
        with open_file(path) as file:
            members, problems = list_members(path, file)
        assert [one.name for one in members] == ["b.mp4"]
        assert "damaged or cut off after 1 files" in problems[0]
