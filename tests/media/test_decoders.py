"""Files reach only the decoders of a list (media.md 2.1)."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import av
import pytest
from av.codec import Codec

from lingen_cli.errors import BadDataError
from lingen_cli.media import open as open_module
from lingen_cli.media.open import (
    DECODERS,
    IMAGE_DECODERS,
    SOUND_DECODERS,
    TEXT_DECODERS,
    open_video,
)
from lingen_cli.media.probe import video_info
from lingen_cli.media.tracks.inspect import Tracks

EXOTIC = {"cinepak": "x.avi", "svq1": "x.mov", "zmbv": "x.avi", "snow": "x.nut", "flashsv": "x.flv"}


def made(folder: Path, name: str, *options: str) -> Path:
    if shutil.which("ffmpeg") is None:
        pytest.skip("ffmpeg is not installed")
    source = ("-f", "lavfi", "-i", "testsrc2=s=96x64:r=8:d=0.5")
    tone = ("-f", "lavfi", "-i", "sine=f=440:r=16000:d=0.5") if "-c:a" in options else ()
    command = ["ffmpeg", "-v", "error", "-y", *source, *tone, *options, "-strict", "-2"]
    done = subprocess.run([*command, str(folder / name)], check=False)
    if done.returncode:
        pytest.skip("this ffmpeg cannot make it")
    return folder / name


@pytest.mark.parametrize("codec", EXOTIC)
def test_other_images_are_refused(tmp_path: Path, codec: str) -> None:
    path = made(tmp_path, EXOTIC[codec], "-c:v", codec)
    with pytest.raises(BadDataError, match=f"lingen decodes no {codec} video: .*ffmpeg -i"):
        video_info(path)


def test_libav_opens_no_other_decoder_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even for a stream that lingen had taken for one of the list."""
    path = made(tmp_path, "x.avi", "-c:v", "cinepak")
    monkeypatch.setattr(open_module, "IMAGE_DECODERS", ("cinepak",))
    with open_video(path) as video:
        packet = next(video.container.demux(video.stream))
        with pytest.raises((av.FFmpegError, ValueError)):
            packet.decode()
        assert not video.stream.codec_context.is_open


def test_other_sound_is_left_out(tmp_path: Path) -> None:
    path = made(tmp_path, "x.mkv", "-c:v", "libx264", "-c:a", "adpcm_yamaha")
    tracks = Tracks.of(path)
    assert tracks.kept == ()
    assert "(adpcm_yamaha) is left out: lingen does not decode it" in "; ".join(tracks.changed)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("x.mov", ("-c:v", "prores")),
        ("x.mov", ("-c:v", "qtrle")),
        ("x.avi", ("-c:v", "mpeg4")),
        ("x.avi", ("-c:v", "msmpeg4")),
        ("x.flv", ("-c:v", "flv")),
        ("x.ogv", ("-c:v", "libtheora")),
        ("x.webm", ("-c:v", "libvpx-vp9")),
        ("x.mkv", ("-c:v", "libaom-av1", "-cpu-used", "8")),
        ("x.mkv", ("-c:v", "libsvtav1")),
        ("x.mkv", ("-c:v", "huffyuv", "-pix_fmt", "yuv422p")),
        ("x.mpg", ("-r", "25", "-c:v", "mpeg1video")),
        ("x.nut", ("-c:v", "rawvideo")),
    ],
)
def test_what_people_have_is_decoded(tmp_path: Path, name: str, options: tuple[str, ...]) -> None:
    info = video_info(made(tmp_path, name, *options))
    assert (info.width, info.height) == (96, 64)


def test_the_list_is_of_decoders_that_there_are() -> None:
    kinds = {"video": IMAGE_DECODERS, "audio": SOUND_DECODERS, "subtitle": TEXT_DECODERS}
    for kind, names in kinds.items():
        assert {Codec(name, "r").type for name in names} == {kind}
    assert len(set(DECODERS.split(","))) == sum(map(len, kinds.values()))
