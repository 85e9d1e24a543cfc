from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from lingen_cli.errors import BugError, MissingInputError, WriteFailedError
from lingen_cli.media.verify_video import verify_video

Make = Callable[..., Path]
ASKED: dict[str, Any] = {"frames": 20, "width": 64, "height": 48, "fps": Fraction(16)}


def test_accepts_what_was_asked_for(make_video: Make) -> None:
    verify_video(make_video(), **ASKED)
    verify_video(
        make_video("b.mp4", fps=Fraction(30000, 1001)), **{**ASKED, "fps": Fraction(30000, 1001)}
    )


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"frames": 21}, WriteFailedError, "20 frames instead of 21"),
        ({"frames": 19}, WriteFailedError, "20 frames instead of 19"),
        ({"width": 32}, BugError, "size"),
        ({"fps": Fraction(24)}, BugError, "frame 1 .* is at 0.0625 s"),
    ],
    ids=str,
)
def test_refuses_anything_else(
    make_video: Make, changes: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        verify_video(make_video(), **{**ASKED, **changes})


def test_refuses_a_file_that_was_cut_off(make_video: Make) -> None:
    path = make_video()
    path.write_bytes(path.read_bytes()[:-400])
    with pytest.raises(WriteFailedError, match=r"damaged|frames instead of 20"):
        verify_video(path, **ASKED)


def test_refuses_a_file_with_flipped_bytes(make_video: Make) -> None:
    path = make_video()
    data = bytearray(path.read_bytes())
    at = data.index(b"mdat") + 1000
    data[at : at + 200] = bytes(200)
    path.write_bytes(data)
    with pytest.raises((WriteFailedError, BugError)):
        verify_video(path, **ASKED)


def test_refuses_missing_color_tags(tmp_path: Path) -> None:
    path = tmp_path / "untagged.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=16)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _ in range(4):
            frame = av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8))
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with pytest.raises(BugError, match="color tags"):
        verify_video(path, **{**ASKED, "frames": 4})


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises((MissingInputError, WriteFailedError)):
        verify_video(tmp_path / "none.mp4", **ASKED)
