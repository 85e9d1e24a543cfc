"""A folder of footage with much that is broken: is every bad file named, and does memory stay flat?

    python benchmarks/broken_data.py
    python benchmarks/broken_data.py --files 2000 --small 200

Makes two folders of videos and images, a small and a large one, of which a tenth and more is broken
in a dozen ways, with odd rates, portrait sizes and one video of ten hours in each. `lingen data
check`, `lingen data prepare` and `lingen train` (on the folder, and on what was prepared) run on
both, each in a fresh process. Writes broken_data.json and broken_data.md; exits with 1 where a
command fails, a broken file is not named, or the large folder takes more than 10% more memory.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import random
import subprocess
import sys
import tempfile
import wave
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import cycle
from pathlib import Path
from typing import Any

from lingen_training.markdown_table import table_of
from measuring import lingen, options_parser, write_result

LIMIT = 1.10
SHARE = 0.15
"""Share of the files that are broken."""
_NOISE = random.Random(0).randbytes(4000)
SHAPES = (
    *((64, 64, "16"), (48, 96, "30000/1001"), (96, 54, "24"), (54, 96, "12.5")),
    *((64, 48, "60"), (48, 64, "7"), (128, 72, "50"), (66, 50, "1000/37")),
)
"""Width, height and frames per second of good videos."""
RECIPE = """
name = "broken-data"
seed = 1

[autoencoder]
widths = [8, 8, 8]
depths = [1, 1, 1]
steps = 1
batch = 1
full_size = 64
full_batch = 1
frames = 9

[text]
width = 64
depth = 1

[model]
preset = "mini"

[model.overrides]
width = 32
depth = 2
head_dim = 16
ssm_head_dim = 16
state_size = 4
text_dims = [64]
position_grid = [8, 8, 8]

[[stage]]
name = "few"
steps = 6
learning_rate = 1e-3

[[stage.source]]
batch = 4
clips = 16

[stage.source.buckets]
sizes = ["64x64", "96x64", "64x96"]
latent_frames = [2, 4]
"""


class Maker:
    """Writes files, good and broken, into a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.broken: dict[str, str] = {}
        """Name of each file that must be named, and what is wrong with it."""
        self._count = 0

    def good(self, width: int, height: int, rate: str, seconds: float = 2.0) -> Path:
        """A video of the playground, in a part of its image, with a caption."""
        import numpy as np

        import lingen_playground as playground
        from lingen_cli.media.writer import VideoWriter

        path = self._name(".mp4")
        fps, scene = Fraction(rate), playground.sample_scene(self._count)
        frames = playground.render([scene], round(seconds * playground.FPS), 128)[0]
        shown = np.asarray(playground.as_frames(frames))[:, :height, :width]
        with VideoWriter(path, width=width, height=height, fps=fps) as writer:
            for number in range(round(seconds * fps)):
                at = min(len(shown) - 1, int(number / fps * playground.FPS))
                writer.write(shown[at : at + 1])
        return self._captioned(path, playground.caption(scene, 0))

    def long(self, hours: float) -> Path:
        """A video of hours, with an image a minute."""
        import numpy as np

        from lingen_cli.media.writer import VideoWriter

        path = self._name(".mp4")
        with VideoWriter(path, width=64, height=64, fps=Fraction(1, 60)) as writer:
            for number in range(round(hours * 60)):
                writer.write(np.full((1, 64, 64, 3), 30 + 97 * number % 200, np.uint8))
        return self._captioned(path, "a grey wall")

    def image(self) -> Path:
        """An image in portrait."""
        import numpy as np

        from lingen_cli.media.images.image_files import write_png

        path = self._name(".png")
        noise = np.random.default_rng(self._count).integers(0, 255, (90, 60, 3))
        write_png(path, noise.astype(np.uint8))
        return self._captioned(path, "noise")

    def bad(self) -> Iterator[None]:
        """Make a broken file at each step, in one way after the other, again and again."""
        ways: list[tuple[str, Callable[[], Path]]] = [
            ("0 bytes", lambda: self._changed(lambda data: b"")),
            ("text", lambda: self._changed(lambda data: b"This is not a video.\n" * 20)),
            ("noise behind a header", lambda: self._changed(lambda data: data[:64] + _NOISE)),
            ("cut off before its index", lambda: self._cut_off("mp4")),
            ("cut off, and says it is longer", lambda: self._cut_off("matroska")),
            ("damaged inside", self._damaged),
            ("sound alone", lambda: self._made("a tone", write_tone)),
            ("no caption", lambda: self._recaptioned(None)),
            ("caption in Latin-1", lambda: self._recaptioned("größe".encode("latin-1"))),
            ("caption in bare UTF-16", lambda: self._recaptioned("Ü€".encode("utf-16-le"))),
            ("empty caption", lambda: self._recaptioned(b" \n")),
            ("caption of a book", lambda: self._recaptioned(b"word " * 5000)),
            ("half an image", lambda: halved(self.image())),
            ("a folder of that name", lambda: self._made("a folder", Path.mkdir)),
            ("a link to nothing", lambda: self._made("a link", link_to_nothing)),
            ("a pipe", lambda: self._made("a pipe", os.mkfifo)),
            ("half a second", lambda: self.good(64, 64, "16", 0.5)),
        ]  # fmt: skip
        for what, make in cycle(ways):
            self.broken[make().name] = what
            yield

    def _name(self, suffix: str) -> Path:
        self._count += 1
        return self.folder / f"{self._count:05}{suffix}"

    def _captioned(self, path: Path, caption: str) -> Path:
        path.with_suffix(".txt").write_text(caption, encoding="utf-8")
        return path

    def _recaptioned(self, data: bytes | None) -> Path:
        path = self.good(64, 64, "16")
        if data is None:
            path.with_suffix(".txt").unlink()
        else:
            path.with_suffix(".txt").write_bytes(data)
        return path

    def _changed(self, change: Callable[[bytes], bytes]) -> Path:
        path = self.good(64, 64, "16")
        path.write_bytes(change(path.read_bytes()))
        return path

    def _cut_off(self, container: str) -> Path:
        path = self.good(96, 64, "24", 4.0)
        path.write_bytes(remuxed(path, container))
        return halved(path if container == "mp4" else path.rename(path.with_suffix(".mkv")))

    def _damaged(self) -> Path:
        path = self.good(96, 64, "24", 8.0)
        data = bytearray(remuxed(path, "mp4"))
        third = len(data) // 3
        data[third : 2 * third] = bytes(third)
        path.write_bytes(data)
        return path

    def _made(self, caption: str, make: Callable[[Path], object]) -> Path:
        path = self._captioned(self._name(".mp4"), caption)
        make(path)
        return path


def write_tone(path: Path) -> None:
    """Write sound without a video."""
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(bytes(16000))


def link_to_nothing(path: Path) -> None:
    """Make a link to a file that is not there."""
    path.symlink_to("nowhere.mp4")


def halved(path: Path) -> Path:
    """Cut the end off a file."""
    os.truncate(path, path.stat().st_size // 2)
    return path


def remuxed(path: Path, container: str) -> bytes:
    """The packets of a video in another container, whose index is at its end."""
    import av

    memory = io.BytesIO()
    with av.open(str(path)) as source, av.open(memory, "w", format=container) as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(source.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    return memory.getvalue()


def build(folder: Path, files: int, hours: float) -> dict[str, str]:
    """Fill `folder`; returns the names of what is broken, and in which way."""
    folder.mkdir(parents=True)
    maker = Maker(folder)
    broken = maker.bad()
    for _ in range(max(2, round(SHARE * files))):
        next(broken)
    maker.long(hours)
    shapes = cycle(SHAPES)
    while len(list(folder.iterdir())) < 2 * files:  # each file with a caption, roughly
        if len(list(folder.iterdir())) % 10 == 0:
            maker.image()
        else:
            maker.good(*next(shapes))
    return maker.broken


def write_weights(folder: Path) -> Path:
    """Write a small autoencoder that nobody has trained."""
    import torch

    from lingen_models.checkpoints.safetensors import save_network
    from lingen_models.network_config import TAEConfig
    from lingen_models.networks.video_autoencoder import TemporalAutoencoder

    torch.manual_seed(0)
    config = TAEConfig(widths=(8, 8, 8), depths=(1, 1, 1))
    folder.mkdir()
    network = TemporalAutoencoder(replace(config))
    metadata = {"kind": "tae", "config": config.to_dict()}
    save_network(folder / "autoencoder.safetensors", network, metadata)
    return folder


def unnamed(broken: dict[str, str], text: str) -> list[str]:
    """Files that are broken, and not named in a text: by themselves, or by their captions."""
    return [
        f"{name} ({what})"
        for name, what in sorted(broken.items())
        if name not in text and Path(name).with_suffix(".txt").name not in text
    ]


def measure(root: Path, files: int, hours: float, jobs: int) -> dict[str, Any]:
    """Build a folder of so many files, and run all commands on it."""
    root.mkdir()
    clips, prepared, recipe = root / "clips", root / "prepared", root / "recipe.toml"
    # A process begins with the peak of the one that starts it: this one stays small.
    command = [sys.executable, __file__, "--files", str(files), "--hours", str(hours)]
    done = subprocess.run([*command, "--child", root], stdout=subprocess.PIPE, check=True)
    broken = json.loads(done.stdout)
    recipe.write_text(RECIPE, encoding="utf-8")
    weights = root / "weights"
    raw = root / "raw"
    raw.mkdir()
    (raw / "autoencoder.safetensors").write_bytes(
        (weights / "autoencoder.safetensors").read_bytes()
    )
    train = ("train", recipe, "--processes", "1", "-o")
    options = ("--recipe", recipe, "--start-from", weights, "--jobs", str(jobs))
    runs = {
        "data check": lingen("data", "check", clips, allowed=(1,)),
        "data prepare": lingen("data", "prepare", clips, "-o", prepared, *options),
        "train on the folder": lingen(*train, raw, "--data", clips),
        "train on what was prepared": lingen(*train, root / "own", "--data", prepared),
    }
    report = (prepared / "report.txt").read_text(encoding="utf-8")
    checked = runs["data check"].out + runs["data check"].err
    return {
        "files": files,
        "broken": len(broken),
        "ways": len(set(broken.values())),
        "hours": hours,
        "runs": {
            name: {"seconds": round(run.seconds, 1), "peak_bytes": run.peak_bytes}
            for name, run in runs.items()
        },
        "named_by_check": len(broken) - len(unnamed(broken, checked)),
        "not_named": unnamed(broken, report),
        "summary": report.splitlines()[1],
    }


def table(results: Sequence[dict[str, Any]]) -> str:
    """The results as markdown."""
    small, large = results
    rows = []
    for name, run in large["runs"].items():
        before = small["runs"][name]
        cells = [
            f"{one['peak_bytes'] / 2**20:,.0f} MiB, {one['seconds']:.0f} s" for one in (before, run)
        ]
        ratio = run["peak_bytes"] / before["peak_bytes"]
        rows.append([name, *cells, f"x {ratio:.3f}"])
    head = ("command", f"{small['files']} files", f"{large['files']} files", "memory")
    named = large["broken"] - len(large["not_named"])
    return (
        f"{table_of(head, rows)}\n\n{large['broken']} files are broken, in {large['ways']} "
        f"ways; the report names {named}. {large['summary']}."
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure both folders, write, and print the table."""
    parser = options_parser(__doc__)
    parser.add_argument("--files", type=int, default=600)
    parser.add_argument("--small", type=int, default=100, help="files of the small folder")
    parser.add_argument("--hours", type=float, default=10.0, help="length of the longest video")
    parser.add_argument("--jobs", type=int, default=2, help="processes of `lingen data prepare`")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.child is not None:
        write_weights(options.child / "weights")
        print(json.dumps(build(options.child / "clips", options.files, options.hours)))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        results = [
            measure(Path(folder) / str(files), files, options.hours, options.jobs)
            for files in (options.small, options.files)
        ]
    write_result(options.output, "broken_data", results, table(results))
    for one in results[1]["not_named"]:
        print(f"not named: {one}")
    ratios = [
        run["peak_bytes"] / results[0]["runs"][name]["peak_bytes"]
        for name, run in results[1]["runs"].items()
    ]
    return int(max(ratios) > LIMIT or bool(results[1]["not_named"]))


if __name__ == "__main__":
    sys.exit(main())
