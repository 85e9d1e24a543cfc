"""Damage files of every kind that lingen reads, and see that each ends in a result or in an error.

    python scripts/fuzz.py                       10,000 damaged files, about 20 minutes on two cores
    python scripts/fuzz.py --count 200 --seed 7
    python scripts/fuzz.py --only mp4 --case 81  one of them again, with its traceback

A file is read by a process of its own kind. Counted are those that were read, those that were
refused with one of lingen's errors, and what must not be: another exception, a process that ended,
more than 20 s, or more than 400 MB. Exits with 1 where something of that happened.
"""

from __future__ import annotations

import argparse
import io
import json
import logging
import multiprocessing
import random
import resource
import sys
import tempfile
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from multiprocessing.connection import Connection
from pathlib import Path

import av
import numpy as np
import torch
from PIL import Image
from safetensors.torch import save

from lingen_cli.batch.job_list import read_jobs
from lingen_cli.datasets.captions import caption_beside, read_tables
from lingen_cli.errors import LingenError
from lingen_cli.inputs import settings
from lingen_cli.inputs.layout_file import read_layout
from lingen_cli.inputs.request_options import parse_request
from lingen_cli.inputs.story import read_story
from lingen_cli.media.images.image_files import read_image
from lingen_cli.media.metadata import read_recipe, recipe_tags
from lingen_cli.media.probe import examine, fingerprint, video_info
from lingen_cli.media.reader import frames_at
from lingen_cli.media.tracks.inspect import Tracks
from lingen_cli.media.writer import VideoWriter
from lingen_cli.requests.recipe import recipe_from_video
from lingen_models.checkpoints.safetensors import (
    CheckpointError,
    load_tensors,
    read_metadata,
    read_shapes,
)
from lingen_training import training_recipe

PATIENCE = 20.0
"""Seconds for one file."""
MOST_BYTES = 400 << 20
"""Memory of a process beyond what it held before its first file."""
FOUL = ("exception", "ended", "hung", "memory")

_STORY = """\
seconds = 6
[[shot]]
prompt = "a red ball bounces"
seconds = 4
[[shot]]
prompt = "a blue star"
seconds = 2
crossfade = 1.0
"""
_TRAINING = """\
name = "tiny"
seed = 3
[autoencoder]
steps = 2
[model]
preset = "mini"
[[stage]]
name = "images"
steps = 2
learning_rate = 1e-3
[[stage.source]]
size = 64
latent_frames = 1
batch = 2
clips = 3
"""
_LAYOUT = {
    "objects": [
        {
            "phrase": "a red ball",
            "path": [
                {"seconds": 0, "x": 0.2, "y": 0.5, "radius": 0.1},
                {"seconds": 2.5, "x": 0.8, "y": 0.5, "radius": 0.1, "angle": 90},
            ],
        }
    ]
}


_RECIPE = {
    "format": 2,
    "prompt": "a red ball",
    "sampling": {"steps": 3, "guidance_scale": 2.0, "sampler": "euler", "seed": 1},
    "frames": 24,
    "edits": [{"kind": "cut", "keep": 20}],
    "model": "lingen-mini",
    "weights": {"denoiser": "0" * 64},
    "fps": "16",
    "width": 64,
    "height": 48,
    "crf": 18,
    "encoder_preset": "medium",
    "device": "cpu",
    "dtype": "float32",
    "threads": 2,
    "versions": {"lingen": "0.1.0"},
}


def _video(form: str, codec: str, sound: str | None = None, **metadata: str) -> bytes:
    """A video of two seconds in a container that PyAV writes."""
    file = io.BytesIO()
    with av.open(file, "w", format=form) as container:
        container.metadata.update(metadata)
        images = container.add_stream(codec, rate=16)
        assert isinstance(images, av.VideoStream)
        images.width, images.height = 64, 48
        images.pix_fmt = {"gif": "rgb8", "apng": "rgb24"}.get(codec, "yuv420p")
        tone = container.add_stream(sound, rate=48000) if sound else None
        for number in range(32):
            pixels = np.zeros((48, 64, 3), np.uint8)
            pixels[:, number * 2 :] = (200, number * 8, 40)
            container.mux(images.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(images.encode(None))
        if tone is not None:
            assert isinstance(tone, av.AudioStream)
            for number in range(20):
                samples = np.zeros((2, 960), np.float32)
                frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="stereo")
                frame.sample_rate, frame.pts = 48000, number * 960
                container.mux(tone.encode(frame))
            container.mux(tone.encode(None))
    return file.getvalue()


def _own_video() -> bytes:
    """A video as lingen writes it, with something like a recipe."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "own.mp4"
        recipe = recipe_tags(_RECIPE)
        with VideoWriter(path, width=64, height=48, fps=Fraction(16), metadata=recipe) as writer:
            writer.write(np.zeros((24, 48, 64, 3), np.uint8))
        return path.read_bytes()


def _image(form: str) -> bytes:
    file = io.BytesIO()
    pixels = np.arange(64 * 48 * 3, dtype=np.uint32).reshape(48, 64, 3).astype(np.uint8)
    Image.fromarray(pixels).save(file, form)
    return file.getvalue()


def _weights() -> bytes:
    metadata = {"lingen": json.dumps({"kind": "lingen", "config": {"width": 32}})}
    return save({"a.weight": torch.zeros(4, 4), "b": torch.ones(3)}, metadata)


def _read_video(path: Path) -> None:
    def frames() -> None:
        for _ in frames_at(path, [0.0, 1.0, 20.0], box=(32, 32)):
            pass

    steps: list[Callable[[], object]] = [
        lambda: fingerprint(path),
        lambda: video_info(path),
        frames,
        lambda: examine(path),
        lambda: Tracks.of(path),
        lambda: read_recipe(path) is None or recipe_from_video(path),
    ]
    refused: LingenError | None = None
    for step in steps:  # each on its own: what one refuses, another may stumble over
        try:
            step()
        except LingenError as error:
            refused = refused or error
    if refused is not None:
        raise refused


def _read_weights(path: Path) -> None:
    read_metadata(path)
    read_shapes(path)
    load_tensors(path)


def _read_jobs(path: Path) -> None:
    for line in read_jobs(path):
        if line.values is not None:
            values = dict(line.values)
            parse_request(str(values.pop("command", "generate")), values)


def _read_captions(path: Path) -> None:
    read_tables(path.parent)
    caption_beside(path.with_suffix(".mp4"))


def _read_settings(path: Path) -> None:
    settings.load({}, start=path.parent)


_JOBS = (
    b'{"prompt": "a red ball", "seconds": 4, "seed": 3}\n{"command": "extend", "video": "a.mp4"}\n'
)
_TABLE = 'prompt;seconds;seed\na red ball;4,5;1\n"a; b";2;7\n'.encode("utf-16")

KINDS: dict[str, tuple[str, Callable[[], bytes], Callable[[Path], object]]] = {
    "own": ("a.mp4", _own_video, _read_video),
    "mp4": ("a.mp4", lambda: _video("mp4", "libx264", "aac", title="x"), _read_video),
    "mov": ("a.mov", lambda: _video("mov", "libx264", "pcm_s16le"), _read_video),
    "mkv": ("a.mkv", lambda: _video("matroska", "libx264", "libopus"), _read_video),
    "webm": ("a.webm", lambda: _video("webm", "libvpx-vp9", "libopus"), _read_video),
    "ts": ("a.ts", lambda: _video("mpegts", "mpeg2video", "mp2"), _read_video),
    "nut": ("a.nut", lambda: _video("nut", "libx264", "aac"), _read_video),
    "avi": ("a.avi", lambda: _video("avi", "mpeg4", "libmp3lame"), _read_video),
    "gif": ("a.gif", lambda: _video("gif", "gif"), _read_video),
    "png": ("a.png", lambda: _image("PNG"), read_image),
    "jpeg": ("a.jpg", lambda: _image("JPEG"), read_image),
    "webp": ("a.webp", lambda: _image("WEBP"), read_image),
    "weights": ("a.safetensors", _weights, _read_weights),
    "jobs": ("a.jsonl", lambda: _JOBS, _read_jobs),
    "table": ("a.csv", lambda: _TABLE, _read_jobs),
    "captions": ("a.csv", lambda: b"file,caption\na.mp4,a red ball\n", _read_captions),
    "story": ("a.toml", _STORY.encode, read_story),
    "layout": ("a.json", lambda: json.dumps(_LAYOUT).encode(), read_layout),
    "training": ("a.toml", _TRAINING.encode, training_recipe.read_recipe),
    "settings": ("lingen.toml", lambda: b'steps = 10\nmodel = "lingen-mini"\n', _read_settings),
}
"""Name of a kind -> name of the file, what is damaged, and what reads it."""


def damaged(whole: bytes, rng: random.Random) -> bytes:
    """A file as a disk, a transfer or somebody with a plan may leave it."""
    data = bytearray(whole)
    way = rng.randrange(7)
    if way == 0:
        del data[rng.randrange(len(data)) :]
    elif way == 1:
        for _ in range(rng.choice((1, 4, 16, 64))):
            data[rng.randrange(len(data))] = rng.randrange(256)
    elif way == 2:  # near the beginning, where sizes and counts are
        for _ in range(rng.choice((1, 3, 9))):
            data[rng.randrange(min(len(data), 600))] = rng.randrange(256)
    elif way == 3:  # a number that somebody chose
        at = rng.randrange(max(1, len(data) - 8))
        size = rng.choice((2, 4, 8))
        chosen = rng.choice((0, 1, 2 ** (8 * size - 1) - 1, 2 ** (8 * size) - 1, 1 << 20))
        number = chosen % (1 << 8 * size)
        data[at : at + size] = number.to_bytes(size, rng.choice(("big", "little")))
    elif way == 4:
        a, b = sorted(rng.randrange(len(data)) for _ in range(2))
        del data[a : min(b, a + rng.choice((1, 16, 256, 4096)))]
    elif way == 5:
        a, b = sorted(rng.randrange(len(data)) for _ in range(2))
        piece = data[a : min(b, a + 4096)]
        at = rng.randrange(len(data))
        data[at:at] = piece * rng.choice((1, 2, 40))
    else:
        a, b = sorted(rng.randrange(len(data)) for _ in range(2))
        data[a:b] = bytes(rng.randrange(256) for _ in range(min(b - a, 512)))
    return bytes(data)


def attempt(kind: str, whole: bytes, seed: int, case: int, folder: Path) -> None:
    """Read one damaged file. Raises what reading raises."""
    name, _, read = KINDS[kind]
    path = folder / name
    path.write_bytes(damaged(whole, random.Random(f"{seed}/{kind}/{case}")))
    read(path)


def _work(kind: str, seed: int, pipe: Connection) -> None:
    """Answer case after case with an outcome and the memory that this process has taken so far."""
    logging.disable()
    warnings.simplefilter("ignore")
    whole = KINDS[kind][1]()
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / KINDS[kind][0]
        path.write_bytes(whole)
        KINDS[kind][2](path)  # undamaged, it is read
        before = _held()
        pipe.send(("ready", 0, ""))
        while (case := pipe.recv()) is not None:
            outcome, said = "read", ""
            try:
                attempt(kind, whole, seed, case, Path(name))
            except (LingenError, CheckpointError, training_recipe.RecipeError):
                outcome = "refused"
            except Exception:
                outcome, said = "exception", traceback.format_exc()
            pipe.send((outcome, _held() - before, said))


def _held() -> int:
    """The most bytes that this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


class Worker:
    """A process for one kind; a new one begins where one has ended or taken too long."""

    def __init__(self, kind: str, seed: int) -> None:
        self.kind, self.seed = kind, seed
        self.most = 0
        self._start()

    def _start(self) -> None:
        context = multiprocessing.get_context("fork")  # all modules are there already
        self.pipe, other = context.Pipe()
        self.process = context.Process(target=_work, args=(self.kind, self.seed, other))
        self.process.start()
        other.close()
        self.pipe.recv()

    def outcome(self, case: int) -> tuple[str, str]:
        """What became of a case, and what there is to say of it."""
        try:
            self.pipe.send(case)
            if not self.pipe.poll(PATIENCE):
                self._restart()
                return "hung", ""
            outcome, held, said = self.pipe.recv()
        except (EOFError, OSError):
            status = self._restart()
            return "ended", f"exit status {status}"
        self.most = max(self.most, held)
        if held > MOST_BYTES:
            self._restart()
            return "memory", f"{held / 1e6:.0f} MB"
        return outcome, said

    def _restart(self) -> int | None:
        self.process.kill()
        self.process.join()
        status = self.process.exitcode
        self._start()
        return status

    def end(self) -> None:
        """End the process."""
        self.pipe.send(None)
        self.process.join()


def main(arguments: list[str] | None = None) -> int:
    """Damage, read, count and print."""
    parser = argparse.ArgumentParser(description="Read damaged files of every kind.")
    parser.add_argument("--count", type=int, default=10_000, help="files in all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=KINDS, help="one kind alone")
    parser.add_argument("--case", type=int, help="with --only: one case alone, in this process")
    options = parser.parse_args(arguments)
    if options.case is not None:
        if options.only is None:
            parser.error("--case needs --only KIND")
        with tempfile.TemporaryDirectory() as name:
            whole = KINDS[options.only][1]()
            attempt(options.only, whole, options.seed, options.case, Path(name))
        print("read")
        return 0
    kinds = [options.only] if options.only else list(KINDS)
    each = -(-options.count // len(kinds))
    total: Counter[str] = Counter()
    for kind in kinds:
        worker, found = Worker(kind, options.seed), Counter[str]()
        for case in range(each):
            outcome, said = worker.outcome(case)
            found[outcome] += 1
            if outcome in FOUL:
                print(f"{kind} {case}: {outcome} {said}", file=sys.stderr)
        worker.end()
        counts = ", ".join(f"{count} {outcome}" for outcome, count in sorted(found.items()))
        print(f"{kind:<9} {counts}; at most {worker.most / 1e6:.0f} MB more", flush=True)
        total += found
    foul = sum(total[outcome] for outcome in FOUL)
    print(
        f"{total.total()} damaged files: {total['read']} read, {total['refused']} refused, "
        f"{foul} wrong"
    )
    return 1 if foul else 0


if __name__ == "__main__":
    sys.exit(main())
