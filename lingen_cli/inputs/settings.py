"""Settings: flag > `LINGEN_*` > nearest `lingen.toml` > user file > default, each with its source.

The keys are the fields of `Settings`; the same name in capitals behind `LINGEN_` is the variable.
A `lingen.toml` that comes with a project is read from the current folder upwards. It may not name
outputs or weights outside its own folder, and nothing in it is ever run.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    create_model,
)

from lingen_cli.errors import (
    ConfigFileError,
    InvalidOptionError,
    LingenError,
    PermissionDeniedError,
)
from lingen_cli.files.user_folders import user_folder
from lingen_models.sampling import params
from lingen_models.sampling.params import SamplingParams
from lingen_models.spelling import did_you_mean, nearest
from lingen_training.text_file import TextError, parse_toml

FILE_NAME = "lingen.toml"
PREFIX = "LINGEN_"
DEFAULT = "default"
RANDOM = -1
"""A seed that stands for none: it is drawn, whatever weaker sources say."""
_FOLDER_KEYS = ("output_folder", "weights")
_WHOLE, _NUMBER = "must be a whole number", "must be a number"
_REASONS = {
    "int_parsing": _WHOLE,
    "int_type": _WHOLE,
    "int_from_float": _WHOLE,
    "float_parsing": _NUMBER,
    "float_type": _NUMBER,
}
"""Kind of pydantic's error -> what is wrong, in words for people."""
_CACHE = "cache_megabytes"


@dataclass(frozen=True)
class CacheLimit:
    """Bytes that the latents of finished videos may take: `store` before more are added, `prune`
    before old ones are removed, which a project cannot ask for."""

    store: int
    prune: int


@dataclass(frozen=True)
class SamplingOverrides:
    """Fields of `SamplingParams` that were set, and the option, variable or file of each."""

    values: Mapping[str, Any] = field(default_factory=dict)
    sources: Mapping[str, str] = field(default_factory=dict)
    draws_seed: bool = False
    """The command line asks for another seed than before, whatever it is."""

    def on(self, base: SamplingParams) -> SamplingParams:
        """`base` with what was set."""
        return replace(base, **self.values)


class _General(BaseModel):
    """Settings beside the sampling parameters."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = "lingen-mini"
    weights: Path | None = Field(None, description="folder with weights, in place of the model's")
    device: Literal["auto", "cpu", "cuda"] = "auto"
    offload: Literal["auto", "none", "model", "group", "disk"] = Field(
        "auto",
        description="what of a model waits beside the card: nothing, parts, blocks, or all on disk",
    )
    seconds: float = Field(4.0, gt=0, le=3600, allow_inf_nan=False)
    size: int | str | None = Field(None, description="128 or 128x128; default: the model's")
    fps: float | str | None = Field(None, description="24 or 24000/1001; default: the model's")
    output_folder: Path = Path()
    preview: bool = False
    cache_megabytes: int = Field(
        2048, ge=0, description="how much latents of finished videos may take; 0 keeps none"
    )
    crf: int = Field(18, ge=1, le=51, description="H.264 quality; lower is better and bigger")
    encoder_preset: str = Field("medium", description="H.264 speed, ultrafast to veryslow")


def _sampling_fields() -> dict[str, Any]:
    """A field for each of `SamplingParams`, under the name of its option; None is not set."""
    found: dict[str, Any] = {}
    for option, name in params.options().items():
        param, kind = params.described()[name], params.types()[name]
        if param.parse is not None:
            kind = Annotated[kind, BeforeValidator(param.parse)]
        limits: dict[str, Any] = {
            "ge": param.least,
            "le": param.most,
            "max_length": param.longest,
            "allow_inf_nan": False if kind is float else None,
        }
        default = Field(None, description=f"{param.help} Default: {param.default}.", **limits)
        found[option] = (kind | None, default)
    return found


if TYPE_CHECKING:

    class Settings(_General):
        """Everything that can be set once instead of on every command line."""
else:
    Settings = create_model("Settings", __base__=_General, **_sampling_fields())


@dataclass(frozen=True)
class Loaded:
    """Settings, and where each value comes from."""

    values: Settings
    sources: dict[str, str]
    cache: CacheLimit
    """Of `cache_megabytes`."""

    @property
    def sampling(self) -> SamplingOverrides:
        """The sampling parameters among them that are set."""
        values = {name: getattr(self.values, option) for option, name in params.options().items()}
        return SamplingOverrides(
            {name: value for name, value in values.items() if value is not None},
            {name: self.sources[option] for option, name in params.options().items()},
        )


def load(flags: Mapping[str, Any] | None = None, start: Path | None = None) -> Loaded:
    """Read every source. `flags` are those given on the command line; None means not given.

    Raises ConfigFileError (78) for a file and InvalidOptionError (2) for a variable or a flag.
    """
    merged: dict[str, Any] = {}
    sources = dict.fromkeys(Settings.model_fields, DEFAULT)
    layers: list[tuple[Mapping[str, Any], str]] = []
    user = user_file()
    if user is not None and is_file(user):
        layers.append((_read(user, confined=False), str(user)))
    project = nearest_file(start or Path.cwd())
    if project is not None and project != user:
        layers.append((_read(project, confined=True), str(project)))
    layers += _environment()
    layers += _given(flags or {})
    for layer, source in layers:
        merged.update(layer)
        sources.update(dict.fromkeys(layer, source))
    values = Settings(**merged)
    limit = values.cache_megabytes * 1_000_000
    own = limit
    if project is not None and sources[_CACHE] == str(project) != str(user):
        by_user = [one[_CACHE] for one, source in layers if _CACHE in one and source == str(user)]
        default = Settings.model_fields[_CACHE].default
        own = (by_user or [default])[0] * 1_000_000
        limit = min(limit, own)
    return Loaded(values, sources, CacheLimit(store=limit, prune=own))


def sampling_given(flags: Mapping[str, Any]) -> SamplingOverrides:
    """The sampling parameters of a command line alone. Raises InvalidOptionError (2)."""
    values, sources = {}, {}
    for layer, source in _given(flags):
        for option, value in layer.items():
            if value is not None:
                name = params.options()[option]
                values[name], sources[name] = value, source
    return SamplingOverrides(values, sources, str(flags.get("seed")) == str(RANDOM))


def _given(flags: Mapping[str, Any]) -> list[tuple[Mapping[str, Any], str]]:
    """Checked values of those flags that are not None, and their options."""
    found: list[tuple[Mapping[str, Any], str]] = []
    for name, value in flags.items():
        option = f"--{name.replace('_', '-')}"
        if value is not None:
            found.append((_check({name: value}, partial(_wrong, option)), option))
    return found


def user_file() -> Path | None:
    """The settings file of this user, whether or not it exists; None for one without a home."""
    folder = user_folder("config")
    return None if folder is None else folder / FILE_NAME


def is_file(path: Path) -> bool:
    """Tell whether a file is there; one in a folder that cannot be read is not."""
    try:
        return path.is_file()
    except OSError:
        return False


def nearest_file(start: Path) -> Path | None:
    """The first `lingen.toml` in `start` or a folder above it.

    One above counts only where this user, the administrator or the owner of `start` has written it:
    anybody may put one into a shared folder for temporary files.
    """
    for folder in (start, *start.parents):
        path = folder / FILE_NAME
        if is_file(path) and (folder == start or _is_trusted(path, start)):
            return path
    return None


def _is_trusted(path: Path, start: Path) -> bool:
    return path.stat().st_uid in (os.geteuid(), 0, start.stat().st_uid)


def _read(path: Path, *, confined: bool) -> dict[str, Any]:
    """Read and check one file; its folders are relative to it. `confined`: they stay inside it."""
    try:
        raw = path.read_bytes()
    except PermissionError as error:
        raise PermissionDeniedError(f"permission denied: {path}") from error
    except OSError as error:
        raise ConfigFileError(f"{path}: {error.strerror}") from error
    try:
        toml = parse_toml(raw)
    except TextError as error:
        raise ConfigFileError(f"{path}:{error.line}: {error}") from error
    values, text = toml.values, toml.text

    def bad(key: str, why: str) -> LingenError:
        return ConfigFileError(f"{path}:{_line_of(key, text)}: {why}")

    for key in values:
        if key not in Settings.model_fields:
            hint = did_you_mean(key, Settings.model_fields, cutoff=0.4)
            raise bad(key, f"unknown key {key!r}; {hint}")
    checked = _check(values, lambda key, why: bad(key, f"{key} {why}"))
    keys = [key for key in _FOLDER_KEYS if checked.get(key) is not None]
    if str(checked.get("model")).startswith((".", "/")):  # a folder, not a name
        keys.append("model")
    for key in keys:
        folder = path.parent / checked[key]
        if confined and not folder.resolve().is_relative_to(path.parent.resolve()):
            raise bad(key, f"{key} must lie inside the folder of this file")
        checked[key] = str(folder) if key == "model" else folder
    return checked


def _environment() -> list[tuple[Mapping[str, Any], str]]:
    """Checked values of every `LINGEN_*` that sets a field, and the variables."""
    found: list[tuple[Mapping[str, Any], str]] = []
    known = {f"{PREFIX}{name.upper()}": name for name in Settings.model_fields}
    for variable, value in sorted(os.environ.items()):
        if not variable.startswith(PREFIX):
            continue
        if variable not in known:
            if close := nearest(variable, known, cutoff=0.85):
                raise InvalidOptionError(f"unknown variable {variable}; did you mean {close!r}?")
        elif value.strip():  # empty is not set: what a shell or a container gives for a missing one
            bad = partial(_wrong, variable)
            found.append((_check({known[variable]: value}, bad, strict=False), variable))
    return found


def _wrong(source: str, key: str, why: str) -> LingenError:
    return InvalidOptionError(f"{source} {why}")


def _check(
    values: Mapping[str, Any], bad: Callable[[str, str], LingenError], *, strict: bool = True
) -> dict[str, Any]:
    """The checked values of the given keys. `bad(key, why)` makes the error to raise.

    `strict` refuses a string where a number belongs (TOML has both); a variable is always a string.
    """
    plain = {
        key: Path(value) if key in _FOLDER_KEYS and isinstance(value, str) else value
        for key, value in values.items()
    }
    if str(plain.get("seed")) == str(RANDOM):
        plain["seed"] = None
    try:
        settings = Settings.model_validate(plain, strict=strict)
    except ValidationError as error:
        first = error.errors()[0]
        key = str(first["loc"][0])
        why = _REASONS.get(first["type"]) or first["msg"].removeprefix("Value error, ").replace(
            "Input should", "must"
        )
        raise bad(key, f"{why}, not {_shown(first['input'])}") from error
    return {key: getattr(settings, key) for key in values}


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _line_of(key: str, text: str) -> int:
    """The line on which `key` is set at the top level, as a key or as a table."""
    pattern = re.compile(rf"\s*\[*\s*[\"']?{re.escape(key)}[\"']?\s*[=.\]]")
    for number, line in enumerate(text.split("\n"), start=1):
        if pattern.match(line):
            return number
    return 1
