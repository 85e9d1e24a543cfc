"""Outputs that are no mp4: the name decides, and the recipe is in where the format holds it."""

import json
import subprocess
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lingen_cli.inputs.output_path import SUFFIX, SUFFIXES
from lingen_cli.media.formats.convert_video import FORMATS
from lingen_cli.media.images.image_files import read_image
from lingen_cli.media.reader import frames_at
from lingen_cli.requests.recipe import recipe_from_video
from tests.cli.protocols import Fails, RunHere

CONTAINERS = (".mov", ".mkv", ".webm")


@pytest.fixture
def generate(
    lingen_here: RunHere, tiny_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[Path, Any]]:
    """Make the same 20 frames under any name."""
    monkeypatch.setenv("LINGEN_CACHE_DIR", "cache")
    new = ("a red ball", "--frames", "20", "--steps", "1", "--seed", "1")

    def run(output: str, *options: object) -> tuple[Path, Any]:
        arguments = (*new, "--weights", tiny_weights, "-o", output, *options)
        result = lingen_here("generate", *arguments)
        assert result.returncode == 0, result.stderr
        assert result.stdout == f"{output}\n"
        return Path(output), result.stderr

    return run


def probe(path: Path | str) -> Any:
    command = ["ffprobe", "-v", "error", "-count_frames", "-of", "json", "-show_streams"]
    found = subprocess.run([*command, str(path)], capture_output=True, check=True)
    return json.loads(found.stdout)["streams"]


def likeness(old: Any, new: Any, count: int) -> Any:
    times = [(number + 0.5) / 16 for number in range(count)]
    pairs = zip(*(frames_at(path, times, box=(64, 64)) for path in (old, new)), strict=True)
    return max(abs(a.astype(int) - b).mean() for a, b in pairs)


def test_every_suffix_has_a_writer() -> None:
    assert set(SUFFIXES) == {SUFFIX, *FORMATS}


@pytest.mark.parametrize(
    ("suffix", "codec"), [(".mov", "h264"), (".mkv", "h264"), (".webm", "vp9"), (".gif", "gif")]
)
def test_all_frames_are_in_it(
    generate: Callable[..., tuple[Path, Any]], suffix: str, codec: str
) -> None:
    plain, _ = generate("a.mp4")
    path, _ = generate(f"a{suffix}")
    (stream,) = probe(path)
    assert (stream["codec_name"], int(stream["nb_read_frames"])) == (codec, 20)
    assert likeness(plain, path, 20) < (1 if codec == "h264" else 8)
    again, _ = generate(f"b{suffix}")
    assert again.read_bytes() == path.read_bytes()
    assert not list(Path().glob(".*.lingen"))


@pytest.mark.parametrize("suffix", CONTAINERS)
def test_its_recipe_makes_it_again(
    generate: Callable[..., tuple[Path, Any]], lingen_here: RunHere, fails: Fails, suffix: str
) -> None:
    path, _ = generate(f"a{suffix}")
    assert recipe_from_video(path).prompt == "a red ball"
    _, said = generate(f"a{suffix}")
    assert "made already" in said
    result = lingen_here("rerun", path, "-o", f"again{suffix}")
    assert result.returncode == 0, result.stderr
    assert Path(f"again{suffix}").read_bytes() == path.read_bytes()
    checked = lingen_here("verify", path)
    if suffix == ".webm":
        fails(checked, 65, "has no hashes of its frames")
    else:
        assert checked.returncode == 0 and "20 of 20 frames" in checked.stdout


@pytest.mark.parametrize("suffix", CONTAINERS)
def test_it_is_extended(
    generate: Callable[..., tuple[Path, Any]], lingen_here: RunHere, suffix: str
) -> None:
    path, _ = generate(f"a{suffix}")
    result = lingen_here("extend", path, "--seconds", "0.5", "-o", "longer.mp4")
    assert result.returncode == 0, result.stderr
    assert "changed since" not in result.stderr and "not in the cache" not in result.stderr
    assert ("encoded again" in result.stderr) == (suffix == ".webm")
    (stream,) = probe("longer.mp4")
    assert int(stream["nb_read_frames"]) == 28


@pytest.mark.parametrize("suffix", [".gif", ".png"])
def test_without_a_recipe_a_name_is_taken(
    generate: Callable[..., tuple[Path, Any]],
    lingen_here: RunHere,
    fails: Fails,
    tiny_weights: Path,
    suffix: str,
) -> None:
    path, _ = generate(f"a{suffix}")
    before = path.read_bytes()
    again = ("--frames", "20", "--steps", "1", "--seed", "1", "--weights", tiny_weights)
    fails(lingen_here("generate", "a red ball", *again, "-o", path), 73, "already exists")
    generate(f"a{suffix}", "--overwrite")
    assert path.read_bytes() == before


def test_a_png_is_a_contact_sheet_with_the_recipe(
    generate: Callable[..., tuple[Path, Any]],
) -> None:
    path, _ = generate("a.png")
    image = read_image(path)
    assert image.shape[2] == 3 and image.std() > 1
    texts = dict(chunks(path.read_bytes()))
    assert texts["Title"] == "a red ball"
    assert json.loads(texts["Comment"])["lingen"]["prompt"] == "a red ball"
    plain, _ = generate("b.png", "--no-metadata")
    assert not list(chunks(plain.read_bytes()))


def chunks(data: Any) -> Iterator[tuple[Any, Any]]:
    """Texts of a PNG."""
    place = 8
    while place < len(data):
        size = int.from_bytes(data[place : place + 4], "big")
        body = data[place + 4 : place + 8 + size]
        assert zlib.crc32(body) == int.from_bytes(data[place + 8 + size : place + 12 + size], "big")
        if body[:4] == b"iTXt":
            key, text = body[4:].split(b"\0", 1)
            yield key.decode(), text[4:].decode()
        place += 12 + size


@pytest.mark.parametrize(
    ("suffix", "sound", "subtitles"),
    [
        (".mov", "aac", "mov_text"),
        (".mkv", "aac", "subrip"),
        (".webm", "opus", None),
        (".gif", None, None),
    ],
)
def test_sound_and_subtitles(
    ffmpeg: Callable[..., subprocess.CompletedProcess[bytes]],
    extended: Callable[..., tuple[Path, Any, list[Any]]],
    suffix: str,
    sound: str | None,
    subtitles: str | None,
) -> None:
    Path("s.srt").write_text("1\n00:00:00,200 --> 00:00:00,900\nHello\n")
    shown = ("-f", "lavfi", "-i", "testsrc2=s=96x64:r=24:d=2")
    tone = ("-f", "lavfi", "-i", "sine=f=440:r=48000:d=2")
    kept = ("-c:v", "libx264", "-pix_fmt", "yuv420p", "-c:a", "aac", "-c:s", "srt")
    ffmpeg(*shown, *tone, "-i", "s.srt", *kept, "old.mkv")
    new, said, _ = extended("old.mkv", output=f"new{suffix}")
    found = {one["codec_type"]: one for one in probe(new)}
    assert int(found["video"]["nb_read_frames"]) == 72
    assert (found["audio"]["codec_name"] if "audio" in found else None) == sound
    assert (found["subtitle"]["codec_name"] if "subtitle" in found else None) == subtitles
    lost = {".webm": "holds no subtitles", ".gif": "a GIF holds no sound"}.get(suffix)
    assert (lost in said) if lost else "holds no" not in said
    assert (
        ffmpeg(
            "-i", new, "-map", "0:v", "-map", "0:a?", "-enc_time_base", "-1", "-f", "null", "-"
        ).stderr
        == b""
    )


def test_other_names_are_refused(lingen_here: RunHere, fails: Fails) -> None:
    part = "--output must be a folder, or end in .mp4, .mov, .mkv, .webm, .gif or .png, not 'a.avi'"
    fails(lingen_here("generate", "a red ball", "-o", "a.avi"), 2, part)


def test_a_batch_makes_them(lingen_here: RunHere, tiny_weights: Path) -> None:
    line = {"prompt": "a red ball", "seconds": 0.5, "steps": 1, "weights": str(tiny_weights)}
    names = ("a.gif", "b.mkv", "c.1")
    text = "\n".join(json.dumps(line | {"output": name}) for name in names)
    Path("jobs.jsonl").write_text(text)
    result = lingen_here("batch", "jobs.jsonl")
    assert result.returncode == 0, result.stderr
    found = sorted(path.name for path in Path("jobs").iterdir())
    assert found == ["a.gif", "b.mkv", "c.1.mp4"]
