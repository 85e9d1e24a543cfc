"""LoRAs as users name them: `FILE[:SCALE]` or `owner/name[@revision][/FILE][:SCALE]`."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path

from lingen_cli.errors import (
    BadDataError,
    InvalidOptionError,
    MissingInputError,
    NotAvailableError,
)
from lingen_plugins.hub_cache import cached_snapshot

MOST_SCALE = 100.0
_SUFFIX = ".safetensors"
_SCALED = re.compile(r"(.+?)(?::([+-]?[0-9.eE+-]+))?")
_REPOSITORY = re.compile(
    r"([A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(?:@([\w.-]+))?((?:/[\w.-]+)*/[\w.-]+\.safetensors)?"
)


@dataclass(frozen=True, kw_only=True)
class Lora:
    """A LoRA, the place that its name stands for, and how strong it is."""

    name: str
    """Its file, absolute, or `owner/name@commit/FILE`."""
    path: Path
    sha256: str
    scale: float = 1.0


def parse_lora(text: str) -> Lora:
    """Find the LoRA that an option names.

    Raises InvalidOptionError (2), MissingInputError (66), BadDataError (65: several files, or
    another kind), NotAvailableError (69: a repository that was not downloaded).
    """
    found = _SCALED.fullmatch(text)
    if found is None:
        raise InvalidOptionError(f"--lora must be FILE, or FILE:SCALE, not {text[:60]!r}")
    try:
        scale = 1.0 if found[2] is None else float(found[2])
    except ValueError:
        scale = math.nan
    if not abs(scale) <= MOST_SCALE:  # nan, too
        raise InvalidOptionError(
            f"--lora: a scale is a number from {-MOST_SCALE:g} to {MOST_SCALE:g}, not {found[2]!r}"
        )
    return _found(found[1], scale)


def find_again(name: str, sha256: str, scale: float) -> Lora:
    """Find the LoRA of a recipe. Raises as `parse_lora`, and BadDataError (65) where it is another
    file now."""
    lora = _found(name, scale)
    if lora.sha256 != sha256:
        raise BadDataError(f"{name} is not the LoRA that the video was made with")
    return lora


def _found(name: str, scale: float) -> Lora:
    from lingen_models.checkpoints.safetensors import sha256_file

    path, repository = Path(name).expanduser().absolute(), _REPOSITORY.fullmatch(name)
    full = str(path)
    if not path.is_file() and repository is not None:
        full, path = _cached(*repository.groups())
    if path.is_dir():
        raise MissingInputError(f"{name} is a folder: name the file of the LoRA in it")
    if not path.is_file():
        raise MissingInputError(f"no such LoRA: {name}")
    if path.suffix != _SUFFIX:
        raise BadDataError(f"{name} is no LoRA that lingen reads: only {_SUFFIX} files are")
    return Lora(name=full, path=path, sha256=sha256_file(path), scale=scale)


def _cached(repository: str, revision: str | None, file: str | None) -> tuple[str, Path]:
    """Full name and file of a LoRA in the cache of huggingface_hub."""
    folder = cached_snapshot(repository, revision or "main")
    if folder is None:
        raise NotAvailableError(
            f"no file {repository}, and the repository {repository} at {revision or 'main'} is not "
            f"in the cache of huggingface_hub: `lingen models pull {repository}` fetches it"
        )
    if file is None:
        names = sorted(one.name for one in folder.glob(f"*{_SUFFIX}"))
        if len(names) != 1:
            some = ", ".join(names[:5]) or "none"
            raise BadDataError(
                f"name the file of the LoRA, {repository}/FILE{_SUFFIX}; there are: {some}"
            )
        file = names[0]
    file = file.lstrip("/")
    return f"{repository}@{folder.name}/{file}", folder / file
