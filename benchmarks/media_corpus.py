"""Video files as people have them, made with ffmpeg, and what `lingen extend` does to each.

    python benchmarks/media_corpus.py FOLDER        make the files, extend each, compare
    python benchmarks/media_corpus.py --table       print the table of docs/files.md

Options go on to `lingen extend`. Exits with 1 where a file is treated otherwise than said here.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lingen_training.markdown_table import table_of

COPIED = "copied"
ENCODED = "encoded again"
REFUSED = "refused"
_H264 = ("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p")
_TONE = ("-f", "lavfi", "-i", "sine=f=440:r=48000:d=2")


def _image(rate: str, seconds: float) -> list[str]:
    return ["-f", "lavfi", "-i", f"testsrc2=s=96x64:r={rate}:d={seconds}"]


@dataclass(frozen=True)
class Case:
    """A file: its name, the arguments of ffmpeg, and what becomes of it.

    `seconds` is its length in the new video; `sound` the codecs of its sound there, in order.
    """

    name: str
    what: str
    arguments: Sequence[str]
    images: str = COPIED
    sound: tuple[str, ...] = ()
    subtitles: int = 0
    rate: str = "24"
    seconds: float = 2
    says: str = ""
    """Words of a warning or an error."""


def _case(name: str, what: str, *options: str, **facts: object) -> Case:
    """A case of the test image at 24 per second, with a tone where sound is expected."""
    source = _image(str(facts.pop("source", "24")), float(str(facts.pop("length", 2))))
    sound = list(_TONE) if facts.get("sound") else []
    return Case(name, what, [*source, *sound, *options], **facts)  # type: ignore[arg-type]


CASES = (
    # Containers of H.264
    _case("plain.mp4", "H.264 in mp4", *_H264),
    _case("phone.mov", "a mov of a phone, AAC", *_H264, "-c:a", "aac", sound=("aac",)),
    _case("bframes.mkv", "Matroska with B-frames (OBS, yt-dlp)", "-c:v", "libx264", "-pix_fmt",
          "yuv420p", "-bf", "2", "-c:a", "aac", sound=("aac",)),
    _case("stream.flv", "flv of a live stream", *_H264, "-c:a", "aac", sound=("aac",)),
    _case("fragments.mp4", "fragmented mp4", *_H264, "-movflags", "+frag_keyframe+empty_moov"),
    _case("broadcast.ts", "MPEG-TS", *_H264, "-c:a", "aac", images=ENCODED, sound=("aac",),
          says="its headers are not those of an mp4"),
    _case("raw.h264", "H.264 without a container", *_H264, images=ENCODED),
    # Other codecs
    _case("hevc.mp4", "HEVC (iPhone, GoPro)", "-c:v", "libx265", "-x265-params", "log-level=none",
          "-pix_fmt", "yuv420p", images=ENCODED, says="its codec is hevc"),
    _case("ten.mp4", "10 bits", "-c:v", "libx264", "-pix_fmt", "yuv420p10le", images=ENCODED,
          says="its pixels are yuv420p10le"),
    _case("web.webm", "VP8 and Opus", "-c:v", "libvpx", "-b:v", "1M", "-c:a", "libopus",
          images=ENCODED, sound=("opus",)),
    _case("camera.mxf", "MXF: MPEG-2 and PCM", "-r", "25", "-c:v", "mpeg2video", "-c:a",
          "pcm_s16le", source="25", images=ENCODED, rate="25", sound=("aac",)),
    _case("camera.avi", "Motion JPEG and PCM", "-c:v", "mjpeg", "-c:a", "pcm_s16le",
          images=ENCODED, sound=("aac",)),
    _case("windows.wmv", "WMV and WMA", "-c:v", "wmv2", "-c:a", "wmav2", images=ENCODED,
          sound=("aac",)),
    _case("tape.dv", "DV", "-s", "720x576", "-target", "pal-dv", source="25", images=ENCODED,
          rate="25"),
    _case("raw.y4m", "y4m", "-pix_fmt", "yuv420p", images=ENCODED),
    _case("moving.gif", "GIF", source="10", images=ENCODED, rate="10"),
    _case("moving.apng", "animated PNG", "-plays", "0", images=ENCODED),
    _case("moving.webp", "animated WebP", "-c:v", "libwebp_anim", images=REFUSED,
          says="animated WebP cannot be read"),
    _case("photo.png", "an image", "-frames:v", "1", images=REFUSED,
          says="not a supported video file"),
    # Sound and what else there is
    _case("mp3.mkv", "MP3", *_H264, "-c:a", "libmp3lame", sound=("mp3",)),
    _case("dts.mkv", "DTS", *_H264, "-c:a", "dca", "-strict", "-2", sound=("dts",)),
    _case("pcm.mov", "PCM", *_H264, "-c:a", "pcm_s16le", sound=("aac",),
          says="pcm_s16le becomes AAC"),
    _case("alaw.mov", "A-law", *_H264, "-c:a", "pcm_alaw", sound=("aac",),
          says="pcm_alaw becomes AAC"),
    _case("two.mkv", "two sound tracks", "-map", "0", "-map", "1", "-map", "1", *_H264, "-c:a",
          "aac", sound=("aac", "aac")),
    # Times
    _case("slow.mp4", "240 frames a second", *_H264, source="240", rate="240"),
    _case("fast.mp4", "480 frames a second", *_H264, source="480", length=1, rate="240",
          seconds=1, images=ENCODED, says="more than 240"),
    _case("ntsc.mp4", "30000/1001 frames a second", *_H264, source="30000/1001",
          rate="30000/1001"),
    _case("lapse.mp4", "an image every two seconds", *_H264, source="1/2", length=8, rate="25",
          seconds=8, images=ENCODED, says="timed anew"),
    _case("varying.mp4", "a rate that varies", "-vf",
          "settb=1/1000,setpts=(N+0.6*mod(N\\,2))/24/TB", "-vsync", "vfr", *_H264,
          images=ENCODED),
    # Shapes
    _case("odd.mkv", "odd sizes lose a row", "-vf", "scale=95:63,format=yuv444p", "-c:v",
          "ffv1", images=ENCODED,
          says="are cut to 94x62"),
    _case("wide.mp4", "pixels that are not square", "-vf", "setsar=2", *_H264, images=ENCODED,
          says="its pixels are not square"),
    _case("interlaced.mp4", "interlaced H.264", "-c:v", "libx264", "-pix_fmt", "yuv420p", "-flags",
          "+ilme+ildct"),
)  # fmt: skip


def make(case: Case, folder: Path) -> Path:
    """Write the file of a case. Raises CalledProcessError."""
    path = folder / case.name
    command = ["ffmpeg", "-hide_banner", "-v", "error", "-y", *case.arguments, str(path)]
    subprocess.run(command, check=True)
    return path


def differences(case: Case, code: int, said: str, new: Path) -> list[str]:
    """What `lingen extend --seconds 1` did otherwise than the case says."""
    problems = []
    if case.says not in said:
        problems.append(f"does not say {case.says!r}")
    if case.images == REFUSED:
        return problems + ([] if code == 65 else [f"exit code {code}"])
    if code:
        return [f"exit code {code}: {said.splitlines()[-1]}"]
    probe = probed(new)
    (images,) = (one for one in probe["streams"] if one["codec_type"] == "video")
    of_images = [line for line in said.splitlines() if "beside the frames" not in line]
    copied = ENCODED if any("encoded again" in line for line in of_images) else COPIED
    if copied != case.images:
        problems.append(f"its images are {copied}")
    if images["avg_frame_rate"] not in (case.rate, f"{case.rate}/1"):
        problems.append(f"rate {images['avg_frame_rate']}")
    length = float(images["duration"]) - 1
    if abs(length - case.seconds) > 0.1:
        problems.append(f"{length:.2f} s")
    sound = tuple(one["codec_name"] for one in probe["streams"] if one["codec_type"] == "audio")
    if sound != case.sound:
        problems.append(f"sound {sound}")
    command = ["ffmpeg", "-v", "warning", "-i", str(new), "-f", "null", "-"]
    played = subprocess.run(command, capture_output=True, text=True, check=False)
    if played.returncode or played.stderr:
        problems.append(f"ffmpeg: {played.stderr[:200]}")
    return problems


def probed(path: Path) -> dict[str, list[dict[str, str]]]:
    """The streams of a file, as ffprobe names them."""
    command = ["ffprobe", "-v", "error", "-of", "json", "-show_streams", str(path)]
    found = subprocess.run(command, capture_output=True, check=True).stdout
    streams: dict[str, list[dict[str, str]]] = json.loads(found)
    return streams


def table() -> str:
    """The table of docs/files.md."""
    rows = []
    for case in CASES:
        refused = case.images == REFUSED
        sound = ", ".join(one if one != "aac" else "AAC" for one in case.sound)
        rate = "" if refused else case.rate
        rows.append((f"`{case.name}`", case.what, case.images, sound, rate))
    return table_of(("file", "", "images", "sound", "rate"), rows)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line of this script."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--table", action="store_true", help="print the table of docs/files.md")
    parser.add_argument("--only", help="names of cases, with commas between them")
    given, options = parser.parse_known_args(arguments)
    if given.table or given.folder is None:
        print(table())
        return 0
    given.folder.mkdir(parents=True, exist_ok=True)
    failed = 0
    for case in CASES:
        if given.only and case.name not in given.only.split(","):
            continue
        new = given.folder / f"new-{Path(case.name).stem}.mp4"
        command = [sys.executable, "-m", "lingen_cli", "extend", str(make(case, given.folder))]
        command += ["--prompt", "a red ball", "--seconds", "1", "--steps", "1", "--seed", "1"]
        command += [*options, "--overwrite", "-o", str(new)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        problems = differences(case, done.returncode, done.stderr, new)
        print(f"{case.name}: {'; '.join(problems) or case.images}", flush=True)
        failed += bool(problems)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
