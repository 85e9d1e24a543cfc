"""Preparation of footage for trainings: a folder of latents with captions, made once.

    PREPARED/plan.json                 everything that decides what it holds
    PREPARED/autoencoder.safetensors   what has made its latents
    PREPARED/shards/00000.safetensors  clips of a part of the footage, a file for each part
    PREPARED/texts/00000.safetensors   features of captions, where a recipe names text encoders
    PREPARED/report.txt                every file and stretch that is in no clip, and why
    PREPARED/prepared.json             all clips; written last

Every file is whole or absent, and none depends on when or by how many processes it was made.
"""

from __future__ import annotations

import contextlib
import functools
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lingen_cli.datasets.caption_features import captions_of, write_features
from lingen_cli.datasets.footage_windows import LeftOut
from lingen_cli.datasets.part_workers import prepare_parts
from lingen_cli.datasets.prepare_part import AUTOENCODER, Part
from lingen_cli.datasets.prepare_plan import FORMAT, Options, Plan, divide
from lingen_cli.datasets.prepared_folder import (
    INDEX,
    PLAN,
    REPORT,
    SHARDS,
    TEXTS,
    Index,
    read_index,
    read_prepared,
)
from lingen_cli.errors import BadDataError, LockedError, OutputExistsError
from lingen_cli.files.printable import printable
from lingen_cli.files.sealed import SUM, sealed, sum_of, unsealed
from lingen_cli.files.write_errors import write_errors
from lingen_models.checkpoints.safetensors import CheckpointError, read_metadata, sha256_file
from lingen_models.checkpoints.whole_file import TEMPORARY, write_whole
from lingen_models.network_config import TAEConfig

if TYPE_CHECKING:
    from lingen_cli.datasets.footage import Footage
    from lingen_models.checkpoints.pretrained import FrozenText
    from lingen_training.training_recipe import Recipe

_LOCK = ".lock"
_TOUCHES = 1e-3
"""Seconds between stretches that are reported as one."""


@dataclass(frozen=True)
class Texts:
    """Frozen text encoders: a digest of each, a function that builds them and writes the files that
    name them into a folder."""

    digests: tuple[str, ...]
    build: Callable[[Path], Sequence[FrozenText]]


@dataclass(frozen=True)
class Codec:
    """An autoencoder: a hash of what makes its latents, its sizes, and a function that writes the
    file that names it."""

    digest: str
    channels: int
    time_stride: int
    space_stride: int
    write: Callable[[Path], None]


def find_codec(recipe: Recipe, path: Path, weights: Path | None) -> Codec:
    """Find the autoencoder of the recipe in `path`, or where it trains one, that in the folder
    `weights`. Raises BadDataError (65), RecipeError, and as `find_parts`."""
    from lingen_models.checkpoints.pretrained import FrozenAutoencoder
    from lingen_models.networks.video_autoencoder import SPACE_STRIDE, TIME_STRIDE
    from lingen_training.frozen_parts import encoder_hash, find_parts, state_hash

    part = find_parts(recipe, path, None).autoencoder
    if part is not None:
        network = part.build()
        assert isinstance(network, FrozenAutoencoder)
        state = network.network.state_dict()
        digest = part.digest or state_hash(state, part.config)
        sizes = (network.latent_channels, network.time_stride, network.space_stride)
        return Codec(digest, *sizes, lambda target: part.save(target, network))
    assert weights is not None
    file = weights / AUTOENCODER
    metadata = read_metadata(file)
    if metadata.get("kind") != "tae":
        raise BadDataError(
            f"{printable(file)} is of a plugin: name it in [autoencoder] of the recipe"
        )
    channels = TAEConfig.from_dict(metadata["config"]).latent_channels
    data = file.read_bytes()
    return Codec(
        encoder_hash(file),
        channels,
        TIME_STRIDE,
        SPACE_STRIDE,
        lambda target: write_whole(target, data),
    )


def find_texts(recipe: Recipe, path: Path, device: str) -> Texts:
    """Find the frozen text encoders of the recipe in `path`; none where one of its own is trained,
    or where one has no files to be known by. Raises as `find_parts`."""
    from lingen_models.precision import compute_dtype
    from lingen_training.frozen_parts import find_parts, settle_texts

    parts = find_parts(recipe, path, None)
    digests = [part.digest for part in parts.texts]

    def build(folder: Path) -> Sequence[FrozenText]:
        return [one.to(device, compute_dtype(device)) for one in settle_texts(parts, folder)]

    known = tuple(one for one in digests if one is not None)
    return Texts(known if len(known) == len(digests) else (), build)


def prepare(
    footage: Footage,
    options: Options,
    codec: Codec,
    texts: Texts,
    out: Path,
    *,
    device: str,
    jobs: int,
    overwrite: bool,
    progress: Callable[[str], Callable[[float, float], None]],
) -> Index:
    """Prepare footage into `out`; a second call goes on where the first was stopped.

    `progress` begins to count something, and returns a function that is told how much of how much
    is done. Raises OutputExistsError (73) for a folder that holds something else, LockedError (75)
    for one that another run is at, BadDataError (65) where no clip comes out, and as
    `prepare_parts`.
    """
    sizes = (codec.channels, codec.time_stride, codec.space_stride)
    parts_of = divide(footage, options.targets, *sizes)
    plan = Plan(footage, options, codec.digest, texts.digests, parts_of)
    facts = plan.facts()
    with write_errors(out), _locked(out):
        _begin(out, facts, codec, overwrite)
        parts = [
            Part(
                number,
                out / SHARDS / f"{number:05}.safetensors",
                stretches,
                footage.folder,
                options,
                sum_of(facts),
                device,
            )
            for number, stretches in enumerate(plan.parts)
        ]
        missing = [part for part in parts if not part.path.exists()]
        whole = sum(map(_seconds, parts))
        done = whole - sum(map(_seconds, missing))
        on_seconds = progress("footage (s)")
        on_seconds(done, whole)
        if not missing:
            with contextlib.suppress(BadDataError):  # unfinished, or something is gone
                return read_prepared(out)

        def counted(part: Part) -> None:
            nonlocal done
            done += _seconds(part)
            on_seconds(done, whole)

        prepare_parts(missing, jobs, counted)
        runs, left_out = _gathered([part.path for part in parts])
        captions = captions_of(one["caption"] for one in runs) if texts.digests else ()
        build = functools.partial(texts.build, out)
        write_features(out / TEXTS, captions, build, progress("captions"))
        return _finish(plan, out, [part.path for part in parts], runs, left_out)


def _seconds(part: Part) -> float:
    return sum(one.end - one.begin for one in part.stretches)


@contextlib.contextmanager
def _locked(out: Path) -> Iterator[None]:
    """Hold the folder, which is made. Raises OutputExistsError (73) and LockedError (75)."""
    from filelock import FileLock, Timeout

    foreign = out.is_dir() and not (out / PLAN).exists()
    if foreign and any(not one.name.startswith(".") for one in out.iterdir()):
        raise OutputExistsError(f"holds something else, choose another folder: {printable(out)}")
    out.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(out / _LOCK, timeout=0.2):
            yield
    except Timeout as error:
        raise LockedError(f"another run is preparing {printable(out)}") from error


def _begin(out: Path, facts: Mapping[str, Any], codec: Codec, overwrite: bool) -> None:
    """Write the plan, or agree with the one that is there."""
    path = out / PLAN
    if path.exists():
        try:
            same = unsealed(path.read_bytes())[SUM] == sum_of(facts)
        except ValueError:
            same = False
        if not same and not overwrite:
            raise OutputExistsError(
                f"{printable(out)} was begun with other files or options: choose another folder, "
                "or begin it anew with --overwrite"
            )
        if not same:
            weights = out.glob("*.safetensors")
            parts = (one for name in (SHARDS, TEXTS) for one in (out / name).glob("*.safetensors"))
            for old in (out / INDEX, out / REPORT, *parts, *weights, path):  # the plan at last
                old.unlink(missing_ok=True)
    if not path.exists():
        write_whole(path, sealed(facts))
    for folder in (out, out / SHARDS, out / TEXTS):
        folder.mkdir(exist_ok=True)
        for left in folder.glob(TEMPORARY):  # of a run that was killed
            left.unlink(missing_ok=True)
    if not (out / AUTOENCODER).exists():
        codec.write(out / AUTOENCODER)


def _gathered(paths: Sequence[Path]) -> tuple[list[dict[str, Any]], list[LeftOut]]:
    """Clips of all files, and what is in none."""
    runs: list[dict[str, Any]] = []
    left_out: list[LeftOut] = []
    for number, path in enumerate(paths):
        try:
            found = read_metadata(path)
        except CheckpointError as error:
            again = "delete it and give the same command again"
            raise BadDataError(f"{error}; {again}") from error
        runs += [{"shard": number, **one} for one in found["runs"]]
        left_out += [LeftOut(**one) for one in found["left_out"]]
    return runs, left_out


def _finish(
    plan: Plan,
    out: Path,
    paths: Sequence[Path],
    runs: Sequence[Mapping[str, Any]],
    left_out: Sequence[LeftOut],
) -> Index:
    """Write the report and the index."""
    facts = {
        "format": FORMAT,
        "footage": str(plan.footage.folder.resolve()),
        "autoencoder": plan.autoencoder,
        "options": asdict(plan.options),
        SHARDS: [_seal(path) for path in paths],
        "text_encoders": list(plan.texts),
        TEXTS: [_seal(path) for path in sorted((out / TEXTS).glob("*.safetensors"))],
        "runs": runs,
        "files": plan.footage.files,
        "unusable": list(plan.footage.problems),
        "left_out": [asdict(one) for one in _joined(left_out)],
    }
    data = sealed(facts)
    index = read_index(out, data)
    write_whole(out / REPORT, _report(index).encode())
    if not runs:
        raise BadDataError(f"no clip comes out of it: see {printable(out / REPORT)}")
    write_whole(out / INDEX, data)
    return index


def _seal(path: Path) -> dict[str, Any]:
    """Name, size and hash of a file."""
    return {"name": path.name, "bytes": path.stat().st_size, "sha256": sha256_file(path)}


def _joined(left_out: Sequence[LeftOut]) -> tuple[LeftOut, ...]:
    """Stretches of one file that follow one another, for one reason, as one."""
    found: list[LeftOut] = []
    for one in left_out:
        last = found[-1] if found else None
        if (
            last is not None
            and (last.file, last.why) == (one.file, one.why)
            and abs(last.end - one.begin) < _TOUCHES
        ):
            found[-1] = LeftOut(one.file, last.begin, one.end, one.why)
        else:
            found.append(one)
    return tuple(found)


def _report(index: Index) -> str:
    """Text of the report."""
    lines = [
        f"lingen data prepare {shlex.quote(printable(index.footage))}",
        index.summary,
        "",
        f"{len(index.unusable)} files and captions that cannot be used",
        *(f"  {line}" for line in index.unusable),
        "",
        f"{len(index.left_out)} stretches that are in no clip",
        *(f"  {line_of(one)}" for one in index.left_out),
    ]
    return "\n".join(lines) + "\n"


def line_of(one: LeftOut) -> str:
    """A stretch that was left out, on one line."""
    return printable(f"{one.file}: {one.begin:.1f} to {one.end:.1f} s: {one.why}")
