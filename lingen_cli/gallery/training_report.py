"""Report of a training: one page about a folder that `lingen train` has written."""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from lingen_cli.errors import BadDataError, LingenError, MissingInputError
from lingen_cli.files.printable import printable
from lingen_cli.gallery.page import around_data, embedded
from lingen_models.checkpoints.whole_file import write_whole
from lingen_training.optimization.stage_logs import read_log
from lingen_training.training_recipe import AutoencoderStage, Recipe

REPORT, SESSIONS, SAMPLES = "report.html", "sessions.json", "samples"
_POINTS = 1500
"""The most points of a curve: beyond it, neighbours are averaged."""
_COLUMNS = 12
"""The most steps whose samples are on the page: the first, the last, and some between."""
_EMBEDDED = 512 * 1024
"""Bytes of the largest video that is part of the page; others are read from beside it."""
_SAMPLE = re.compile(r"(?P<stage>[a-z0-9-]+)-(?P<step>\d{6,})-(?P<number>\d+)\.mp4")


def sample_path(folder: Path, stage: str, step: int, number: int) -> Path:
    """Return where a sample of a training in `folder` lies; prompts are counted from 1."""
    return folder / SAMPLES / f"{stage}-{step:06d}-{number}.mp4"


def samples_in(folder: Path, stage: str) -> dict[int, list[Path]]:
    """Find the samples of a stage, by step, in the order of their prompts."""
    found: dict[int, list[tuple[int, Path]]] = {}
    for path in (folder / SAMPLES).glob(f"{stage}-*.mp4"):
        parts = _SAMPLE.fullmatch(path.name)
        if parts is not None and parts["stage"] == stage:
            found.setdefault(int(parts["step"]), []).append((int(parts["number"]), path))
    return {step: [path for _, path in sorted(found[step])] for step in sorted(found)}


def write_report(folder: Path) -> Path:
    """Write `report.html` into the folder of a training, over an earlier one; returns its path.

    Raises MissingInputError (66) for a folder without a training, BadDataError (65) for one whose
    recipe cannot be read, OSError.
    """
    recipe = _recipe_in(folder)
    head, tail = around_data("report.html", f"Training {recipe.name}")
    path = folder / REPORT
    write_whole(path, (head + embedded(_facts(folder, recipe)) + tail).encode())
    return path


def read_sessions(folder: Path) -> list[dict[str, str]]:
    """Read when, where and with what result `lingen train` ran in a folder; empty where nothing
    readable says so."""
    try:
        found = json.loads((folder / SESSIONS).read_bytes())
    except (OSError, ValueError):
        return []
    return found if isinstance(found, list) else []


def now() -> str:
    """Return the present time, to a second."""
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _recipe_in(folder: Path) -> Recipe:
    path = folder / "recipe.json"
    if not path.is_file():
        raise MissingInputError(
            f"no training in {printable(folder)}: name the folder that lingen train printed"
        )
    try:
        return Recipe.model_validate_json(path.read_bytes())
    except ValueError:
        raise BadDataError(f"not the recipe of a training: {printable(path)}") from None


def _facts(folder: Path, recipe: Recipe) -> dict[str, Any]:
    """Everything that the page shows."""
    said = recipe.model_dump(mode="json", exclude_defaults=True)
    return {
        "recipe": json.dumps(said, indent=2, ensure_ascii=False),
        "written": now(),
        "sessions": read_sessions(folder),
        "stages": [
            _stage(folder, name, steps, result) for name, steps, result in _stages_of(recipe)
        ],
    }


def _stages_of(recipe: Recipe) -> Iterator[tuple[str, int, str]]:
    """Names and steps of what is trained, and the file that is there when it is done."""
    codec = recipe.autoencoder
    if isinstance(codec, AutoencoderStage):
        parts = ".whole" if codec.decoder_steps else ""
        yield "autoencoder", codec.steps, f"autoencoder{parts}.safetensors"
        if codec.decoder_steps:
            yield "decoder", codec.decoder_steps, "autoencoder.safetensors"
    for stage in recipe.stage:
        yield stage.name, stage.steps, f"{stage.name}.averaged.safetensors"


def _stage(folder: Path, name: str, steps: int, result: str) -> dict[str, Any]:
    log, checks = (
        read_log(path) if path.is_file() else []
        for path in (folder / f"{name}.jsonl", folder / f"{name}.validation.jsonl")
    )
    samples = samples_in(folder, name)
    return {
        "name": name,
        "steps": steps,
        "step": int(log[-1]["step"]) if log else 0,
        "finished": (folder / result).is_file(),
        "log": _columns(log),
        "validation": _columns(checks),
        "sampled": len(samples),
        "samples": [
            {"step": step, "clips": [_clip(path) for path in samples[step]]}
            for step in _spread(list(samples), _COLUMNS)
        ],
    }


def _columns(records: Sequence[Mapping[str, float]]) -> dict[str, list[float | None]]:
    """Values by name, None where a record has none; at most `_POINTS` of each."""
    names = list(dict.fromkeys(name for record in records for name in record))
    size = max(1, math.ceil(len(records) / _POINTS))
    groups = [records[first : first + size] for first in range(0, len(records), size)]
    return {name: [_mean(name, group) for group in groups] for name in names}


def _mean(name: str, group: Sequence[Mapping[str, float]]) -> float | None:
    """Mean of what some records have of this name; the last of what only grows."""
    values = [record[name] for record in group if math.isfinite(record.get(name, math.nan))]
    if not values:
        return None
    if name in ("step", "seconds", "tokens"):
        return values[-1]
    return float(f"{sum(values) / len(values):.5g}")


def _spread(steps: Sequence[int], most: int) -> list[int]:
    """At most so many of them, the first and the last among them."""
    if len(steps) <= most:
        return list(steps)
    return [steps[round(at * (len(steps) - 1) / (most - 1))] for at in range(most)]


def _clip(path: Path) -> dict[str, str]:
    from lingen_cli.media.metadata import tags_in

    try:
        prompt = tags_in(path).get("title", "")
    except LingenError:  # it is no longer what lingen wrote
        prompt = ""
    if path.stat().st_size > _EMBEDDED:
        return {"prompt": prompt, "url": f"{SAMPLES}/{quote(path.name)}"}
    data = base64.b64encode(path.read_bytes()).decode()
    return {"prompt": prompt, "url": f"data:video/mp4;base64,{data}"}
