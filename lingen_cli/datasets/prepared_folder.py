"""A prepared folder as a dataset of the trainer: its clips are latents already."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import random
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import accumulate, groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from lingen_cli.datasets.caption_features import caption_files, captions_of
from lingen_cli.datasets.footage_windows import LeftOut
from lingen_cli.datasets.prepare_part import AUTOENCODER, Run
from lingen_cli.datasets.prepare_plan import FORMAT, Length, Size, Target
from lingen_cli.errors import BadDataError
from lingen_cli.files.printable import printable
from lingen_cli.files.sealed import unsealed
from lingen_models.checkpoints.safetensors import read_metadata, sha256_file

if TYPE_CHECKING:
    from torch import Tensor

PLAN = "plan.json"
INDEX = "prepared.json"
SHARDS = "shards"
TEXTS = "texts"
REPORT = "report.txt"


@dataclass(frozen=True)
class Shard:
    """A file of clips."""

    path: Path
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Clips:
    """A run of clips, and the number of the file in which it is."""

    shard: int
    run: Run
    target: int
    size: Size
    kept: int


@dataclass(frozen=True)
class Scene:
    """One of the clips of a run."""

    clips: Clips
    number: int


@dataclass(frozen=True)
class Index:
    """Everything that a prepared folder says it holds."""

    folder: Path
    footage: str
    """The folder that it was made of."""
    autoencoder: str
    targets: tuple[Target, ...]
    shards: tuple[Shard, ...]
    text_encoders: tuple[str, ...]
    """Digests of those that have read the captions."""
    texts: tuple[Shard, ...]
    """Files of their features."""
    clips: tuple[Clips, ...]
    left_out: tuple[LeftOut, ...]
    unusable: tuple[str, ...]
    files: int
    """Files of the footage."""
    fingerprint: str

    @property
    def figures(self) -> dict[str, Any]:
        """Clips, shots and minutes of footage, and what they are from."""
        runs = [one.run for one in self.clips]
        by_target: dict[int, float] = {}
        for one in self.clips:
            by_target[one.target] = by_target.get(one.target, 0.0) + one.run.seconds
        return {
            "clips": sum(one.count for one in runs),
            "shots": len({(one.file, one.shot) for one in runs}),
            "minutes": round(max(by_target.values(), default=0.0) / 60, 2),
            "kinds": [one.name for one in self.targets],
            "files": len({one.file for one in runs}),
            "files_in_all": self.files,
            "captions": len({one.caption for one in runs}),
            "megabytes": round(sum(one.bytes for one in self.shards) / 1e6, 1),
            "footage": self.footage,
        }

    @property
    def summary(self) -> str:
        """Its figures on a line."""
        text = "{clips} clips of {shots} shots, {minutes} min, from {files} of {files_in_all} files"
        return text.format(**self.figures)

    def to_dict(self) -> dict[str, Any]:
        """Return what `--json` prints."""
        return {
            "folder": str(self.folder),
            **self.figures,
            "unusable": list(self.unusable),
            "left_out": [asdict(one) for one in self.left_out],
        }


def is_prepared(folder: Path) -> bool:
    """Tell whether `lingen data prepare` has made a folder, or has begun to."""
    return (folder / PLAN).is_file()


def read_prepared(folder: Path) -> Index:
    """Read the index of a prepared folder, and look whether its files are there, in their sizes.

    Raises BadDataError (65) for one that is unfinished, damaged or of another version.
    """
    path, shown = folder / INDEX, printable(folder)
    if not path.is_file():
        raise BadDataError(f"{shown} is not prepared to its end: give the same command again")
    index = read_index(folder, path.read_bytes())
    for shard in (*index.shards, *index.texts):
        size = shard.path.stat().st_size if shard.path.is_file() else None
        if size != shard.bytes:
            what = "is missing" if size is None else "has another size"
            raise BadDataError(
                f"{printable(shard.path)} {what}: delete it, and prepare {shown} again with the "
                "same command"
            )
    return index


def damaged(index: Index) -> Iterator[Shard]:
    """Read all files, and yield those that are not what they were."""
    for shard in (*index.shards, *index.texts):
        if sha256_file(shard.path) != shard.sha256:
            yield shard


def read_index(folder: Path, data: bytes) -> Index:
    """Read what the index of a folder says. Raises BadDataError (65)."""
    try:
        return _index(folder, unsealed(data))
    except (ValueError, KeyError, TypeError) as error:
        shown = printable(folder / INDEX)
        raise BadDataError(f"damaged, prepare it anew: {shown}: {error}") from error


def _index(folder: Path, facts: Mapping[str, Any]) -> Index:
    if facts["format"] != FORMAT:
        raise ValueError(f"its format is {facts['format']!r}, not {FORMAT}")
    targets = tuple(
        Target(
            tuple((width, height) for width, height in one["sizes"]),
            tuple(Length(**length) for length in one["lengths"]),
            one["buckets"],
        )
        for one in facts["options"]["targets"]
    )
    shards, texts = (
        tuple(
            Shard(folder / place / Path(one["name"]).name, one["bytes"], one["sha256"])
            for one in facts[place]
        )
        for place in (SHARDS, TEXTS)
    )
    content = json.dumps([facts["autoencoder"], facts["options"], facts["shards"]], sort_keys=True)
    return Index(
        folder,
        facts["footage"],
        facts["autoencoder"],
        targets,
        shards,
        tuple(facts["text_encoders"]),
        texts,
        tuple(map(_clips, facts["runs"])),
        tuple(LeftOut(**one) for one in facts["left_out"]),
        tuple(facts["unusable"]),
        facts["files"],
        hashlib.sha256(content.encode()).hexdigest()[:16],
    )


def _clips(record: Mapping[str, Any]) -> Clips:
    run = Run(**{name: value for name, value in record.items() if name != "shard"})
    target, size, kept = run.tensor.split("/")
    width, height = size.split("x")
    return Clips(record["shard"], run, int(target), (int(width), int(height)), int(kept))


class PreparedFolder:
    """Clips of a prepared folder; it has the methods of `lingen_training.datasets.world.
    PreparedWorld`. Nothing is decoded."""

    def __init__(self, index: Index, clips: Sequence[Clips] | None = None) -> None:
        self.index = index
        self.folder = index.folder.resolve()
        self.encoder_hash = index.autoencoder
        self.autoencoder = index.folder / AUTOENCODER
        self.footage = index.footage
        self.text_encoders = index.text_encoders
        self._clips = tuple(index.clips if clips is None else clips)
        self._ends = list(accumulate(one.run.count for one in self._clips))
        self.clips = self._ends[-1] if self._ends else 0
        self.fingerprint = index.fingerprint
        self.kept_frames = min((one.kept for one in self._clips), default=0)
        if clips is not None:
            kinds = sorted({one.run.tensor for one in self._clips})
            content = json.dumps([index.fingerprint, kinds])
            self.fingerprint = hashlib.sha256(content.encode()).hexdigest()[:16]

    def of(self, size: int, latent_frames: int) -> PreparedFolder:
        """The clips for a source of squares of one length. Raises ValueError without any."""
        fits = [
            (one.lengths[0].kept, number)
            for number, one in enumerate(self.index.targets)
            if not one.buckets
            and one.sizes == ((size, size),)
            and one.lengths[0].kept >= latent_frames
        ]
        if not fits:
            self._refuse(f"{size}x{size} with {latent_frames} latent frames")
        _, target = min(fits)
        return PreparedFolder(self.index, [one for one in self._clips if one.target == target])

    def divided(
        self, sizes: Sequence[Size], lengths: Sequence[int]
    ) -> dict[tuple[Size, int], PreparedFolder]:
        """The clips for a source with buckets, by size and latent frames that are trained on.
        Raises ValueError where it was not prepared for these buckets."""
        for number, target in enumerate(self.index.targets):
            trained = {one.trained for one in target.lengths}
            if target.buckets and set(target.sizes) == set(sizes) and trained == set(lengths):
                return self._buckets(number, target)
        listed = " ".join(f"{width}x{height}" for width, height in sizes)
        self._refuse(f"{listed} with {' or '.join(map(str, lengths))} latent frames in buckets")

    def _buckets(self, number: int, target: Target) -> dict[tuple[Size, int], PreparedFolder]:
        trained = {1: 1} | {one.kept: one.trained for one in target.lengths}
        parts: dict[tuple[Size, int], list[Clips]] = {
            (size, length): [] for size in target.sizes for length in trained.values()
        }
        for one in self._clips:
            if one.target == number:
                parts[one.size, trained[one.kept]].append(one)
        return {key: PreparedFolder(self.index, some) for key, some in parts.items() if some}

    def _refuse(self, what: str) -> NoReturn:
        held = "; ".join(one.name for one in self.index.targets)
        raise ValueError(
            f"{self.index.folder} has no clips of {what}, but {held}: prepare the footage for this "
            f"recipe: lingen data prepare {self.footage} -o ANOTHER --recipe RECIPE"
        )

    def sample_scene(self, seed: int) -> Scene:
        """Draw a clip."""
        rng = random.Random(f"excerpt {seed}")
        number = rng.randrange(self.clips)
        at = bisect_right(self._ends, number)
        return Scene(self._clips[at], number - (self._ends[at] - self._clips[at].run.count))

    def caption(self, scene: Scene, seed: int, *, still: bool = False) -> str:
        """The caption of its file."""
        return scene.clips.run.caption

    def vocabulary(self) -> tuple[str, ...]:
        """Every word of every caption, once."""
        from lingen_models.networks.word_encoder import split_words

        captions = {one.run.caption for one in self._clips}
        return tuple(sorted({word for one in captions for word in split_words(one)}))

    def render(
        self,
        scenes: Sequence[Any],
        frames: int,
        size: int | tuple[int, int],
        *,
        start: float = 0,
    ) -> Tensor:
        """Raise BadDataError (65): there are no frames."""
        raise BadDataError(f"{printable(self.folder)} holds latents alone, not frames")

    def latents(self, scenes: Sequence[Scene], latent_frames: int) -> Tensor:
        """Read (B, C, latent_frames, h, w) in bf16. Raises BadDataError (65) for damaged files."""
        import torch

        def shard_of(at: int) -> int:
            return scenes[at].clips.shard

        found: dict[int, Tensor] = {}
        for shard, places in groupby(sorted(range(len(scenes)), key=shard_of), key=shard_of):
            with self._opened(self.index.shards[shard].path) as file:
                for at in places:
                    run = scenes[at].clips.run
                    row = run.row + scenes[at].number
                    clip = file.get_slice(run.tensor)[row : row + 1][0]
                    found[at] = clip[:, :latent_frames]
        return torch.stack([found[at] for at in range(len(scenes))])

    def text_features(self, encoder: int, caption: str) -> Tensor | None:
        """Read the features (L, D) of a caption by one of the text encoders; None where it is none
        of these captions. Raises BadDataError (65) for damaged files."""
        place = self._captions.get(caption)
        if place is None:
            return None
        path, number = self.index.texts[place[0]].path, place[1]
        lengths = _lengths(path)[encoder]
        first = sum(lengths[:number])
        with self._opened(path) as file:
            rows: Tensor = file.get_slice(str(encoder))[first : first + lengths[number]]
        return rows

    @functools.cached_property
    def _captions(self) -> dict[str, tuple[int, int]]:
        """Caption -> the number of its file, and its number in that."""
        captions = captions_of(one.run.caption for one in self.index.clips)
        return {
            caption: (number, at)
            for number, (_, some) in enumerate(caption_files(Path(), captions))
            for at, caption in enumerate(some)
        }

    @contextlib.contextmanager
    def _opened(self, path: Path) -> Iterator[Any]:
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, framework="pt") as file:
                yield file
        except (SafetensorError, OSError, IndexError) as error:
            shown = printable(self.folder)
            raise BadDataError(
                f"damaged: {printable(path)}: {error}; look with: lingen data check {shown}"
            ) from error


@functools.lru_cache(maxsize=4096)
def _lengths(path: Path) -> list[list[int]]:
    """Numbers of features of the captions of a file, by text encoder."""
    lengths: list[list[int]] = read_metadata(path)["lengths"]
    return lengths
