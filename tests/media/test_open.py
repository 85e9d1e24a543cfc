"""Files that are not what they seem: one line and the documented code (reliability.md 5)."""

import os
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest

from lingen_cli.errors import BadDataError, LingenError, MissingInputError
from lingen_cli.media.images.image_files import write_png
from lingen_cli.media.open import open_video, tags_of
from lingen_cli.media.probe import video_info
from lingen_cli.media.reader import frames_at

Make = Callable[..., Path]


def line(path: Path) -> tuple[int, str]:
    """Exit code and message of opening `path`, with {p} for its name."""
    with pytest.raises(LingenError) as caught:
        video_info(path)
    return caught.value.exit_code, str(caught.value).replace(str(path), "{p}")


def test_missing_files(tmp_path: Path) -> None:
    assert line(tmp_path / "a.mp4") == (66, "no such file: {p}")
    (tmp_path / "link.mp4").symlink_to(tmp_path / "nowhere")
    assert line(tmp_path / "link.mp4") == (66, "no such file: {p}")
    (tmp_path / "file").write_bytes(b"x")
    assert line(tmp_path / "file" / "a.mp4") == (66, "no such file: {p}")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert line(tmp_path / "loop")[0] == 66
    assert line(tmp_path / ("x" * 300))[0] == 66


def test_things_that_are_not_regular_files(tmp_path: Path) -> None:
    (tmp_path / "x.mp4").mkdir()
    os.mkfifo(tmp_path / "fifo.mp4")
    for path in (tmp_path / "x.mp4", tmp_path / "fifo.mp4", Path("/dev/zero"), Path("/dev/null")):
        assert line(path) == (66, "not a regular file: {p}")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "file is empty: {p}"),
        (b"hello\n" * 100, "not a supported video file: {p}"),
        (b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\n", "not a supported video file"),
        (bytes(5000), "not a supported video file: {p}"),
        (b"\x1aE\xdf\xa3" + bytes(200), "not a supported video file (or damaged header): {p}"),
        (b"\0\0\0\x18ftypisom" + bytes(12), "not a supported video file (or damaged header): {p}"),
    ],
    ids=["empty", "text", "sdp", "zeros", "matroska start", "mp4 start"],
)
def test_content_that_is_no_video(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "x.mp4"
    path.write_bytes(content)
    code, said = line(path)
    assert code == 65
    assert said.startswith(message)


def test_image_with_the_name_of_a_video(tmp_path: Path) -> None:
    write_png(tmp_path / "x.mp4", np.zeros((16, 16, 3), np.uint8))
    code, said = line(tmp_path / "x.mp4")
    assert code == 65
    assert said.startswith("not a supported video file: {p}; if a player plays it, make an mp4")


def test_mp4_without_its_index(make_video: Make) -> None:
    path = make_video()
    data = path.read_bytes()
    start, end = data.index(b"moov") - 4, data.index(b"mdat") - 4
    path.write_bytes(data[:start] + data[end:])
    code, said = line(path)
    assert code == 65
    assert said.startswith("not a supported video file (or damaged header): {p}; ")


def test_sound_only(tmp_path: Path) -> None:
    path = tmp_path / "x.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        frame = av.AudioFrame.from_ndarray(
            np.zeros((1, 1024), np.float32), format="fltp", layout="mono"
        )
        frame.sample_rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    assert line(path) == (65, "file has no video stream: {p}")


def ivf(width: int, height: int, codec: bytes = b"VP80") -> bytes:
    """A key frame that claims a size, and nothing behind it."""
    frame = b"\x10\2\0\x9d\x01\x2a" + struct.pack("<HH", width, height) + bytes(40)
    head = struct.pack("<4sHH4sHHIII", b"DKIF", 0, 32, codec, width, height, 16, 1, 1) + bytes(4)
    return head + struct.pack("<IQ", len(frame), 0) + frame


def test_enormous_frames(tmp_path: Path) -> None:
    path = tmp_path / "x.mp4"
    path.write_bytes(ivf(16000, 16000))
    assert line(path) == (65, "frame size 16000x16000 is above the limit: {p}")
    path.write_bytes(b"GIF89a" + struct.pack("<HH", 16000, 16000) + b"\x80\0\0" + bytes(6) + b";")
    assert line(path)[0] == 65


def test_images_that_turn_out_unreadable(tmp_path: Path) -> None:
    path = tmp_path / "x.mp4"
    path.write_bytes(ivf(64, 48, b"VP90"))
    assert line(path) == (65, "video has no readable frame: {p}")


def test_cut_off_video_plays_up_to_the_cut(make_video: Make) -> None:
    path = make_video(frames=64)
    data = path.read_bytes()
    path.write_bytes(data[: data.index(b"mdat") + (len(data) - data.index(b"mdat")) // 2])
    assert len(list(frames_at(path, [0.0, 1.0, 3.9], box=(64, 64)))) == 3


@pytest.mark.parametrize(
    "name", ["http:evil.mp4", "-dash.mp4", "a\nb.mp4", "q\"u'o.mp4", os.fsdecode(b"\xff.mp4")]
)
def test_odd_names_of_real_files(make_video: Make, name: str) -> None:
    assert video_info(make_video(name)).frames == 20


@pytest.mark.parametrize(
    "name", ["concat:a.mp4|b.mp4", "subfile,,start,0,end,9,,:a.mp4", "data:,x", "pipe:0", "fd:"]
)
def test_names_with_a_meaning_for_libav(
    make_video: Make, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(make_video("a.mp4").parent)
    assert line(Path(name)) == (66, "no such file: {p}")


def test_bad_text_in_a_tag(make_video: Make) -> None:
    path = make_video(metadata={"title": "ABCDEFGH"})
    path.write_bytes(path.read_bytes().replace(b"ABCDEFGH", b"ABC\xff\xfeFGH"))
    with open_video(path) as video:
        assert tags_of(video.container.metadata)["title"] == "ABC\ufffd\ufffdFGH"


def test_libav_errors_inside_the_block_are_bad_data(make_video: Make) -> None:
    with pytest.raises(BadDataError, match="damaged video"), open_video(make_video()):
        raise av.error.InvalidDataError(1, "broken")


def test_ordinary_errors_inside_the_block_stay_themselves(make_video: Make) -> None:
    with pytest.raises(MissingInputError), open_video(make_video()):
        raise MissingInputError("other")
    with pytest.raises(KeyError), open_video(make_video()):
        raise KeyError("other")


DENIED = """
import os, sys
from pathlib import Path
from lingen_cli.errors import LingenError
from lingen_cli.media.images.image_files import read_image
from lingen_cli.media.probe import video_info
from lingen_cli.files.work_folder import WorkFolder
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
def publish_beside(path):
    with WorkFolder(path.with_name("b.mp4")):
        pass
path = Path(sys.argv[1])
for action in (video_info, read_image, publish_beside):
    try:
        action(path)
    except LingenError as error:
        print(error.exit_code, error)
"""


def test_permission_denied(make_video: Make) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = make_video().rename(folder / "a.mp4")
        path.chmod(0)
        folder.chmod(0o555)
        done = subprocess.run(
            [sys.executable, "-c", DENIED, str(path)], capture_output=True, text=True, check=True
        )
        folder.chmod(0o755)
        path.unlink()
    denied = [path, path, path.with_name("b.mp4")]
    assert done.stdout.splitlines() == [f"77 permission denied: {place}" for place in denied]
