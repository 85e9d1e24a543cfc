"""Everything beside the frames: sound, subtitles, chapters and tags go into the new video."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.cli.protocols import RunHere

IMAGE = ("-f", "lavfi", "-i", "testsrc2=s=96x64:r=24:d=2")
H264 = ("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p")
TONE = ("-f", "lavfi", "-i", "sine=f=440:r=48000:d=2")


def heard(path: str | Path, track: int = 0) -> np.ndarray:
    """Samples of a sound track, 8000 a second."""
    command = ["ffmpeg", "-v", "error", "-i", str(path), "-map", f"0:a:{track}", "-ac", "1"]
    command += ["-ar", "8000", "-f", "f32le", "-"]
    return np.frombuffer(subprocess.run(command, capture_output=True, check=True).stdout, "<f4")


def pitch(samples: Any) -> float:
    """The loudest frequency in Hz."""
    loud = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(np.argmax(loud)) * 8000 / len(samples)


def streams(probe: Any, kind: str) -> list[Any]:
    return [one for one in probe["streams"] if one["codec_type"] == kind]


def said_before_sampling(events: Any) -> list[Any]:
    """Warnings that came before the first step."""
    first = next(n for n, one in enumerate(events) if one.get("phase") == "sample")
    warnings = [one["message"] for one in events[:first] if one["event"] == "warning"]
    later = [one["message"] for one in events[first:] if one["event"] == "warning"]
    assert not [text for text in later if "sound" in text or "beside" in text]
    return [text for text in warnings if "beside the frames" in text]


@pytest.mark.parametrize(
    ("name", "options", "codec"),
    [
        ("mp3.mp4", (*H264, "-c:a", "libmp3lame"), "mp3"),
        ("mp3.mkv", (*H264, "-c:a", "libmp3lame"), "mp3"),
        ("mp3.avi", (*H264, "-c:a", "libmp3lame"), "mp3"),
        ("mp3.flv", (*H264, "-c:a", "libmp3lame", "-ar", "44100"), "mp3"),
        ("mp2.mp4", (*H264, "-c:a", "mp2"), "mp3"),  # what ffprobe calls MPEG audio in mp4
        ("dts.mkv", (*H264, "-c:a", "dca", "-strict", "-2"), "dts"),
        ("opus.mkv", (*H264, "-c:a", "libopus"), "opus"),
        ("aac.ts", (*H264, "-c:a", "aac"), "aac"),
        ("pcm.mov", (*H264, "-c:a", "pcm_s16le"), "aac"),
        ("deep.mkv", (*H264, "-c:a", "pcm_s24le"), "aac"),
        ("alaw.mov", (*H264, "-c:a", "pcm_alaw", "-ar", "8000"), "aac"),
        ("wma.wmv", ("-c:v", "wmv2", "-c:a", "wmav2"), "aac"),
        ("camera.avi", ("-c:v", "mjpeg", "-c:a", "pcm_s16le", "-ar", "11024"), "aac"),
    ],
)
def test_sound_of_every_codec_is_kept(
    ffmpeg: Callable[..., subprocess.CompletedProcess[bytes]],
    extended: Callable[..., tuple[Path, Any, list[Any]]],
    probe_file: Callable[..., Any],
    name: str,
    options: tuple[str, ...],
    codec: str,
) -> None:
    ffmpeg(*IMAGE, *TONE, *options, name)
    new, _, events = extended(name)
    (sound,) = streams(probe_file(new), "audio")
    assert sound["codec_name"] == codec or (name == "mp2.mp4" and sound["codec_name"] == "mp2")
    samples = heard(new)
    assert abs(len(samples) / 8000 - 2) < 0.2
    assert abs(pitch(samples) - 440) < 2
    told = said_before_sampling(events)
    assert len(told) == (codec == "aac" and name != "aac.ts")
    assert all("becomes AAC" in text for text in told)
    assert ffmpeg("-i", new, "-f", "null", "-").stderr == b""


@pytest.fixture
def rich(ffmpeg: Callable[..., subprocess.CompletedProcess[bytes]]) -> Path:
    """Two sound tracks, two languages, subtitles, chapters, a title."""
    Path("s.srt").write_text(
        "1\n00:00:00,200 --> 00:00:00,900\nHello <i>you</i>\n\n"
        "2\n00:00:01,000 --> 00:00:01,500\ntwo\nlines\n"
    )
    Path("chapters.txt").write_text(
        ";FFMETADATA1\ntitle=My holiday\nartist=Me\n"
        "[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=1000\ntitle=One\n"
        "[CHAPTER]\nTIMEBASE=1/1000\nSTART=1000\nEND=2000\ntitle=Two\n"
    )
    inputs: tuple[object, ...] = (
        *IMAGE,
        *TONE,
        "-f",
        "lavfi",
        "-i",
        "sine=f=880:r=44100:d=2",
        "-i",
        "s.srt",
    )
    inputs += ("-i", "chapters.txt", "-map", 0, "-map", 1, "-map", 2, "-map", 3)
    inputs += ("-map_metadata", 4, "-map_chapters", 4, *H264, "-c:a", "aac", "-c:s", "srt")
    tags = ("-metadata:s:a:0", "language=eng", "-metadata:s:a:1", "language=fra")
    ffmpeg(*inputs, *tags, "-metadata:s:s:0", "language=deu", "rich.mkv")
    return Path("rich.mkv")


def check_rich(probe: Any, *chapters: object) -> None:
    languages = [one["tags"]["language"] for one in streams(probe, "audio")]
    assert languages == ["eng", "fra"]
    (texts,) = streams(probe, "subtitle")
    assert (texts["codec_name"], texts["tags"]["language"]) == ("mov_text", "deu")
    found = [(one["tags"]["title"], round(float(one["end_time"]), 2)) for one in probe["chapters"]]
    assert found == [("One", 1.0), ("Two", 2.0), *chapters]
    tags = probe["format"]["tags"]
    assert (tags["title"], tags["artist"]) == ("My holiday", "Me")


def test_tracks_languages_subtitles_chapters_and_title(
    rich: Path,
    ffmpeg: Callable[..., subprocess.CompletedProcess[bytes]],
    extended: Callable[..., tuple[Path, Any, list[Any]]],
    probe_file: Callable[..., Any],
) -> None:
    new, said, _ = extended(rich)
    assert "beside the frames" not in said
    check_rich(probe_file(new), ("a red ball", 3.0))
    assert abs(pitch(heard(new, 0)) - 440) < 2
    assert abs(pitch(heard(new, 1)) - 880) < 2
    ffmpeg("-i", new, "-map", "0:s", "words.srt")
    words = Path("words.srt").read_text(encoding="utf-8")
    assert "00:00:00,2" in words and "Hello you\n" in words and "two\nlines\n" in words


def test_they_are_kept_again_and_a_rerun_has_them(
    rich: Path,
    extended: Callable[..., tuple[Path, Any, list[Any]]],
    lingen_here: RunHere,
    probe_file: Callable[..., Any],
) -> None:
    first, _, _ = extended(rich)
    second, _, _ = extended(first, output="second.mp4", prompt="a blue star")
    check_rich(probe_file(second), ("a red ball", 3.0), ("a blue star", 4.0))
    result = lingen_here("rerun", second, "-o", "again.mp4")
    assert result.returncode == 0, result.stderr
    assert Path("again.mp4").read_bytes() == second.read_bytes()


def test_what_an_mp4_cannot_hold_is_named_in_one_warning(
    ffmpeg: Callable[..., subprocess.CompletedProcess[bytes]],
    extended: Callable[..., tuple[Path, Any, list[Any]]],
    probe_file: Callable[..., Any],
) -> None:
    ffmpeg("-f", "lavfi", "-i", "color=red:s=32x32", "-frames:v", "1", "cover.jpg")
    Path("notes.txt").write_text("a font")
    attached: tuple[str, ...] = ("-attach", "cover.jpg", "-metadata:s:t:0", "mimetype=image/jpeg")
    attached += ("-attach", "notes.txt", "-metadata:s:t:1", "mimetype=text/plain")
    images = ("-map", 0, "-map", 1, "-map", 2, "-map", 3, *H264, "-c:a", "pcm_s16le")
    canvas = ("-f", "lavfi", "-i", "testsrc2=s=32x32:r=24:d=2")
    Path("s.srt").write_text("1\n00:00:00,200 --> 00:00:00,900\nHello\n")
    subtitles = ("-i", "s.srt", "-c:s", "ass")
    ffmpeg(*IMAGE, *TONE, *canvas, *subtitles[:2], *images, *subtitles[2:], *attached, "many.mkv")
    new, _, events = extended("many.mkv")
    (told,) = said_before_sampling(events)
    assert "sound 1 is encoded again: pcm_s16le becomes AAC" in told
    assert "video 2 is left out" in told
    assert "cover image" in told and "attachment" in told
    kinds = [one["codec_type"] for one in probe_file(new)["streams"]]
    assert kinds.count("video") == 1 and kinds.count("audio") == 1 and kinds.count("subtitle") == 1


def test_a_foreign_comment_becomes_the_description(
    ffmpeg: Callable[..., subprocess.CompletedProcess[bytes]],
    extended: Callable[..., tuple[Path, Any, list[Any]]],
    probe_file: Callable[..., Any],
) -> None:
    ffmpeg(*IMAGE, *H264, "-metadata", "comment=shot in June", "talk.mp4")
    new, _, _ = extended("talk.mp4")
    assert probe_file(new)["format"]["tags"]["description"] == "shot in June"


@pytest.mark.parametrize("command", ["extend", "continue", "branch", "retake"])
def test_sound_that_was_put_under_a_lingen_video(
    ffmpeg: Callable[..., subprocess.CompletedProcess[bytes]],
    lingen_here: RunHere,
    tiny_weights: Path,
    probe_file: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    command: str,
) -> None:
    monkeypatch.setenv("LINGEN_CACHE_DIR", "cache")
    new = ("--seconds", "2", "--steps", "1", "--seed", "1", "--weights", tiny_weights)
    assert lingen_here("generate", "a red ball", *new, "-o", "a.mp4").returncode == 0
    music = ("-f", "lavfi", "-i", "sine=f=440:r=48000:d=10", "-map", "0:v", "-map", "1:a")
    ffmpeg("-i", "a.mp4", *music, "-c:v", "copy", "-c:a", "aac", "s.mp4")
    arguments = {
        "extend": ("s.mp4", "--seconds", "1"),
        "continue": ("s.mp4", "a blue star", "--seconds", "1"),
        "branch": ("s.mp4", "a blue star", "--at", "1", "--seconds", "1"),
        "retake": ("s.mp4", "--from", "1"),
    }[command]
    result = lingen_here(command, *arguments, "--steps", "1", "-o", "x.mp4")
    assert result.returncode == 0, result.stderr
    length = 3 if command in ("extend", "continue") else 2
    samples = heard("x.mp4")
    assert abs(len(samples) / 8000 - length) < 0.1  # the longer sound goes on under the new part
    assert abs(pitch(samples[-8000:]) - 440) < 2
    assert lingen_here("verify", "x.mp4").returncode == 0
    assert lingen_here("rerun", "x.mp4", "-o", "y.mp4").returncode == 0
    assert Path("x.mp4").read_bytes() == Path("y.mp4").read_bytes()


def test_sound_longer_than_the_image_goes_on_under_the_new_part(
    ffmpeg: Callable[..., subprocess.CompletedProcess[bytes]],
    extended: Callable[..., tuple[Path, Any, list[Any]]],
) -> None:
    sound = ("-f", "lavfi", "-i", "sine=f=440:r=48000:d=6")
    ffmpeg(*IMAGE, *sound, *H264, "-c:a", "pcm_s16le", "long.mov")
    new, _, _ = extended("long.mov")
    samples = heard(new)
    assert abs(len(samples) / 8000 - 3) < 0.05
    assert abs(pitch(samples[-8000:]) - 440) < 2


@pytest.mark.parametrize("name", ["long.mkv", "long.mp4", "long.ts"])
def test_an_image_shorter_than_its_sound_is_not_cut_short(
    ffmpeg: Callable[..., subprocess.CompletedProcess[bytes]],
    extended: Callable[..., tuple[Path, Any, list[Any]]],
    name: str,
) -> None:
    sound = ("-f", "lavfi", "-i", "sine=f=440:r=48000:d=4")
    ffmpeg(*IMAGE, *sound, *H264, "-c:a", "aac", name)
    _, said, _ = extended(name)
    assert "cut short" not in said


@pytest.mark.parametrize("codec", ["aac", "mp2", "ac3"])
def test_sound_whose_times_jump_back_is_cut(
    ffmpeg: Callable[..., subprocess.CompletedProcess[bytes]],
    extended: Callable[..., tuple[Path, Any, list[Any]]],
    codec: str,
) -> None:
    ffmpeg(*IMAGE, *TONE, *H264, "-c:a", codec, "-f", "mpegts", "a.ts")
    Path("twice.ts").write_bytes(Path("a.ts").read_bytes() * 2)
    new, _, events = extended("twice.ts")
    (told,) = said_before_sampling(events)
    assert "jump back at 2.0 s" in told
    assert abs(len(heard(new)) / 8000 - 2) < 0.2
    assert ffmpeg("-i", new, "-f", "null", "-").stderr == b""


def test_a_gap_in_sound_that_is_encoded_stays_a_gap(
    ffmpeg: Callable[..., subprocess.CompletedProcess[bytes]],
    extended: Callable[..., tuple[Path, Any, list[Any]]],
) -> None:
    gap = "aselect='lt(t,0.5)+gt(t,1.5)'"
    ffmpeg(*IMAGE, *TONE, "-af", gap, *H264, "-c:a", "pcm_s16le", "gap.mkv")
    new, _, _ = extended("gap.mkv")
    samples = heard(new)
    loud = [np.abs(samples[begin : begin + 1600]).mean() for begin in (800, 7200, 13600)]
    assert loud[0] > 0.02 and loud[2] > 0.02
    assert loud[1] < 0.001


def test_no_sound_says_nothing(
    ffmpeg: Callable[..., subprocess.CompletedProcess[bytes]],
    extended: Callable[..., tuple[Path, Any, list[Any]]],
    probe_file: Callable[..., Any],
) -> None:
    ffmpeg(*IMAGE, *H264, "still.mp4")
    new, said, _ = extended("still.mp4")
    assert "sound" not in said and "beside" not in said
    assert not streams(probe_file(new), "audio")


def test_packets_that_the_mp4_refuses_cost_the_sound_alone(
    ffmpeg: Callable[..., subprocess.CompletedProcess[bytes]],
    extended: Callable[..., tuple[Path, Any, list[Any]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from lingen_cli.media.tracks import packets

    ffmpeg(*IMAGE, *TONE, *H264, "-c:a", "aac", "a.mp4")
    whole = packets.TrackWriter._copied

    def broken(self: Any, video: Any, start: Any) -> Iterator[Any]:
        for number, packet in enumerate(whole(self, video, start)):
            if number == 40:
                packet.dts = packet.pts = 0
            yield packet

    monkeypatch.setattr(packets.TrackWriter, "_copied", broken)
    new, said, _ = extended("a.mp4")
    assert "sound and subtitles are left out: an mp4 cannot hold its packets" in said
    assert ffmpeg("-i", new, "-f", "null", "-").stderr == b""
