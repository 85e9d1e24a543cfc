import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from lingen_cli.errors import BugError, InvalidOptionError, MissingInputError
from lingen_cli.media.tracks.sound import copied_sound, encode_sound, sound_hashes
from lingen_cli.media.writer import VideoWriter, check_encoder, check_option_names, timescale

RATES = [Fraction(16), Fraction(24), Fraction(25, 2), Fraction(24000, 1001), Fraction(60)]


def writer(path: Path, **changes: Any) -> VideoWriter:
    settings: dict[str, Any] = {"width": 64, "height": 48, "fps": Fraction(16)}
    return VideoWriter(path, **{**settings, "preset": "ultrafast", **changes})


@pytest.mark.parametrize("fps", RATES, ids=str)
def test_count_rate_and_duration_are_exact(
    make_video: Callable[..., Path], probe: Callable[[Path], dict[str, Any]], fps: Fraction
) -> None:
    found = probe(make_video(frames=19, fps=fps))
    stream = found["streams"][0]
    assert stream["nb_frames"] == stream["nb_read_frames"] == "19"
    assert Fraction(stream["avg_frame_rate"]) == fps
    assert Fraction(stream["r_frame_rate"]) == fps
    assert stream["start_pts"] == 0
    assert stream["duration_ts"] * Fraction(stream["time_base"]) == 19 / fps
    assert float(found["format"]["duration"]) == pytest.approx(float(19 / fps), abs=1e-6)


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_very_short_videos(
    make_video: Callable[..., Path], probe: Callable[[Path], dict[str, Any]], frames: int
) -> None:
    stream = probe(make_video(frames=frames))["streams"][0]
    assert stream["nb_read_frames"] == str(frames)
    assert float(stream["duration"]) == frames / 16


def test_every_frame_begins_on_a_whole_tick() -> None:
    for fps in RATES:
        assert (timescale(fps) / fps).denominator == 1
        assert timescale(fps) >= 10_000


def test_format_and_color_tags(
    make_video: Callable[..., Path], probe: Callable[[Path], dict[str, Any]]
) -> None:
    stream = probe(make_video())["streams"][0]
    assert (stream["codec_name"], stream["pix_fmt"]) == ("h264", "yuv420p")
    tags = ["color_primaries", "color_transfer", "color_space", "color_range"]
    assert [stream[tag] for tag in tags] == ["bt709", "bt709", "bt709", "tv"]


def test_index_comes_before_the_images(make_video: Callable[..., Path]) -> None:
    data = make_video().read_bytes()
    boxes, at = [], 0
    while at < len(data):
        boxes.append(data[at + 4 : at + 8])
        at += int.from_bytes(data[at : at + 4], "big")
    assert boxes.index(b"moov") < boxes.index(b"mdat")
    assert at == len(data)


def test_pure_colors_come_back(tmp_path: Path, decode: Callable[[Path], np.ndarray]) -> None:
    colors = np.array(
        [[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255], [0, 0, 0], [128, 128, 128]]
    )
    path = tmp_path / "colors.mp4"
    with writer(path) as video:
        for color in colors:
            video.write(np.full((8, 48, 64, 3), color, np.uint8))
    seen = decode(path)[4::8, 24, 32].astype(int)
    assert np.abs(seen - colors).max() <= 3


def test_metadata_survives(
    make_video: Callable[..., Path], probe: Callable[[Path], dict[str, Any]]
) -> None:
    path = make_video(metadata={"title": "a \0red\udc80 båll", "comment": "x" * 60_000})
    tags = probe(path)["format"]["tags"]
    assert tags["title"] == "a red? båll"
    assert tags["comment"] == "x" * 60_000


def test_the_same_frames_give_the_same_bytes(make_video: Callable[..., Path]) -> None:
    assert make_video("a.mp4").read_bytes() == make_video("b.mp4").read_bytes()


def test_batches_may_be_cut_anywhere(tmp_path: Path) -> None:
    frames = np.random.default_rng(0).integers(0, 255, (9, 48, 64, 3), dtype=np.uint8)
    for name, cuts in (("one", [9]), ("many", [1, 0, 5, 3])):
        with writer(tmp_path / f"{name}.mp4") as video:
            at = 0
            for size in cuts:
                video.write(frames[at : at + size])
                at += size
            assert video.frames == 9
    assert (tmp_path / "one.mp4").read_bytes() == (tmp_path / "many.mp4").read_bytes()


def test_takes_anything_that_numpy_can_view(tmp_path: Path) -> None:
    class Tensor:
        def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
            return np.zeros((3, 48, 128, 3), np.uint8)[:, :, ::2]

    with writer(tmp_path / "a.mp4") as video:
        video.write(Tensor())
        assert video.frames == 3


@pytest.mark.parametrize(
    "frames",
    [
        np.zeros((2, 48, 64, 4), np.uint8),
        np.zeros((2, 64, 48, 3), np.uint8),
        np.zeros((48, 64, 3), np.uint8),
        np.zeros((2, 48, 64, 3), np.float32),
    ],
    ids=["channels", "size", "one image", "type"],
)
def test_refuses_other_frames(tmp_path: Path, frames: np.ndarray) -> None:
    with (
        pytest.raises(BugError, match=r"^frames (have shape|are float32)"),
        writer(tmp_path / "a.mp4") as video,
    ):
        video.write(frames)


def test_refuses_an_empty_video(tmp_path: Path) -> None:
    with pytest.raises(BugError, match="no frames"), writer(tmp_path / "a.mp4"):
        pass


def test_refuses_frames_after_the_end(tmp_path: Path) -> None:
    with writer(tmp_path / "a.mp4") as video:
        video.write(np.zeros((1, 48, 64, 3), np.uint8))
    with pytest.raises(BugError, match="closed"):
        video.write(np.zeros((1, 48, 64, 3), np.uint8))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"width": 63}, "width must be even"),
        ({"height": 0}, "height must be even"),
        ({"width": 10_000}, "from 2 to 8192"),
        ({"fps": Fraction(0)}, "fps must be"),
        ({"crf": 99}, "crf must be from 1 to 51, not 99"),
        ({"preset": "turbo"}, "preset must be one of .*, not 'turbo'"),
    ],
    ids=str,
)
def test_refuses_bad_settings_before_any_work(changes: dict[str, Any], words: str) -> None:
    settings: dict[str, Any] = {"width": 64, "height": 48, "fps": Fraction(16), "crf": 18}
    check_encoder(**settings, preset="medium")
    with pytest.raises(InvalidOptionError, match=words):
        check_encoder(**{**settings, "preset": "medium", **changes})


def test_option_names_that_libav_would_ignore() -> None:
    check_option_names({"crf": "18", "x264-params": "keyint=16"})
    with pytest.raises(InvalidOptionError, match=r"^unknown libx264 option: crff$"):
        check_option_names({"crff": "18"})


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match=r"no such folder: .*nowhere$"):
        writer(tmp_path / "nowhere" / "a.mp4")


MEMORY = """
import resource, sys
from fractions import Fraction
from pathlib import Path
import numpy as np
from lingen_cli.media.writer import VideoWriter
chunk = np.random.default_rng(0).integers(0, 255, (50, 64, 64, 3), dtype=np.uint8)
with VideoWriter(Path(sys.argv[1]), width=64, height=64, fps=Fraction(16), preset="ultrafast") as v:
    for _ in range(int(sys.argv[2]) // 50):
        v.write(chunk)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.e2e
def test_memory_does_not_grow_with_the_length(tmp_path: Path) -> None:
    peaks = []
    for frames in (600, 3000):
        command = [sys.executable, "-c", MEMORY, str(tmp_path / f"{frames}.mp4"), str(frames)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        peaks.append(int(done.stdout))
    assert peaks[1] < 1.05 * peaks[0]


@pytest.mark.parametrize("fps", [Fraction(24), Fraction(4)])
def test_sound_goes_into_a_stream_beside_the_images(tmp_path: Path, fps: Fraction) -> None:
    rate, frames = 48_000, 120
    times = np.arange(round(frames / fps * rate), dtype=np.float32) / rate
    tone = np.sin(times * 2 * np.pi * (300 + 20 * times), dtype=np.float32)  # tells its time
    path, sound = tmp_path / "s.mp4", encode_sound(tone[None], rate, frames / fps)
    sizes = []
    with open(path, "wb") as sink:
        options = {"sink": sink, "fps": fps, "sound": partial(copied_sound, sound)}
        with writer(Path("stream"), **options) as target:
            for _ in range(frames):
                target.write(np.random.default_rng(0).integers(0, 255, (1, 48, 64, 3), np.uint8))
                sizes.append(sink.tell())
    assert sizes[frames // 2] > 0.3 * path.stat().st_size  # nothing waits for the end
    with av.open(str(path)) as container:
        packets = [one for one in container.demux() if one.size]
        begins = {"video": 0.0, "audio": 0.0}
        for one in packets:
            assert one.pts is not None
            begins[one.stream.type] = float(one.pts * one.time_base)
            assert abs(begins["video"] - begins["audio"]) < 1 + 4 / fps
    with av.open(str(path)) as container:
        assert next(container.decode(video=0)).pts == 0
    heard = np.zeros(len(tone) + 2 * rate, np.float32)
    with av.open(str(path)) as container:
        for piece in container.decode(audio=0):
            if (begin := round((piece.time or 0) * rate)) >= 0:
                samples = piece.to_ndarray()[0]
                heard[begin : begin + len(samples)] = samples
    middle = slice(rate // 2, 4 * rate)
    assert np.corrcoef(heard[middle], tone[middle])[0, 1] > 0.98
    assert sound_hashes(path) == {1: sound.sha256}
