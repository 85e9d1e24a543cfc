"""Files of weights that users give beside a model: a path, or `owner/name[@revision][/FILE]`; of a
LoRA, its scale may stand behind a colon."""

from __future__ import annotations

import math
import re
from pathlib import Path

from lingen_cli.errors import BadDataError, InvalidOptionError, MissingInputError, NotAvailableError
from lingen_cli.zoo.load_model import Lora, WeightFile
from lingen_models.checkpoints.safetensors import sha256_file
from lingen_plugins.hub.weight_formats import MAGIC, SUFFIX
from lingen_plugins.hub_cache import cached_snapshot

MOST_SCALE = 100.0
_LORA_SUFFIX = ".safetensors"
_SCALED = re.compile(r"(.+?)(?::([+-]?[0-9.eE+-]+))?")
_REPOSITORY = re.compile(
    r"([A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(?:@([\w.-]+))?"
    r"((?:/[\w.-]+)*/[\w.-]+\.(?:safetensors|gguf))?"
)


def find_denoiser(name: str, sha256: str | None = None) -> WeightFile:
    """Find the GGUF file of a denoiser. Raises as `find_file`."""
    found = find_file(name, "GGUF file", SUFFIX, sha256)
    with found.path.open("rb") as file:
        if file.read(len(MAGIC)) != MAGIC:
            raise BadDataError(f"{name} is no GGUF file, or a damaged one")
    return found


def parse_lora(text: str) -> Lora:
    """Find the LoRA that an option names.

    Raises InvalidOptionError (2), and as `find_file`.
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
    return find_lora(found[1], scale)


def find_lora(name: str, scale: float, sha256: str | None = None) -> Lora:
    """Find a LoRA by its name, that of a recipe by its sum as well. Raises as `find_file`."""
    one = find_file(name, "LoRA", _LORA_SUFFIX, sha256)
    return Lora(**vars(one), scale=scale)


def find_file(name: str, what: str, suffix: str, sha256: str | None = None) -> WeightFile:
    """Find a file; `what` says what it is, `sha256` what it was in a recipe.

    Raises MissingInputError (66), BadDataError (65: several files, another kind, or another file
    than that of the recipe), NotAvailableError (69: a repository that was not downloaded).
    """
    path, repository = Path(name).expanduser().absolute(), _REPOSITORY.fullmatch(name)
    full = str(path)
    if not path.is_file() and repository is not None:
        full, path = _cached(repository, what, suffix)
    if path.is_dir():
        raise MissingInputError(f"{name} is a folder: name the file of the {what} in it")
    if not path.is_file():
        raise MissingInputError(f"no such {what}: {name}")
    if path.suffix != suffix:
        raise BadDataError(f"{name} is no {what} that lingen reads: only {suffix} files are")
    found = WeightFile(name=full, path=path, sha256=sha256_file(path))
    if sha256 not in (None, found.sha256):
        raise BadDataError(f"{name} is not the {what} that the video was made with")
    return found


def _cached(name: re.Match[str], what: str, suffix: str) -> tuple[str, Path]:
    """Full name and path of a file in the cache of huggingface_hub."""
    repository, revision, file = name.groups()
    folder = cached_snapshot(repository, revision or "main")
    if folder is None:
        raise NotAvailableError(
            f"no file {repository}, and the repository {repository} at {revision or 'main'} is not "
            f"in the cache of huggingface_hub: `lingen models pull {repository}` fetches it"
        )
    if file is None:
        names = sorted(one.name for one in folder.glob(f"*{suffix}"))
        if len(names) != 1:
            some = ", ".join(names[:5]) or "none"
            raise BadDataError(
                f"name the file of the {what}, {repository}/FILE{suffix}; there are: {some}"
            )
        file = names[0]
    file = file.lstrip("/")
    return f"{repository}@{folder.name}/{file}", folder / file
