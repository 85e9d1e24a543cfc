"""Stories: a TOML file of shots, each with a prompt and a length, read and checked whole.

transition = "smooth"            # how a shot begins where it says nothing itself

[[shot]]
prompt = "a red ball bounces on green grass"
seconds = 4

[[shot]]
prompt = "a red ball circles on green grass"
to = "0:10"
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lingen_cli.errors import BadDataError, LingenError
from lingen_cli.files.open_file import open_file
from lingen_cli.inputs.frame_rates import MAX_SECONDS, parse_moment
from lingen_cli.inputs.prompts import check_prompt
from lingen_models.spelling import did_you_mean
from lingen_models.toml_lines import TomlLines
from lingen_training.text_file import MAX_TOML_BYTES, TextError, parse_toml

MAX_SHOTS = 1000
_MOST_PROBLEMS = 20
Moment = Annotated[str | int | float, Field(union_mode="left_to_right")]
Transition = Literal["smooth", "cut"]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Shot(_Part):
    prompt: str
    seconds: float | None = Field(None, gt=0, le=MAX_SECONDS, allow_inf_nan=False)
    begin: Moment | None = Field(None, alias="from")
    end: Moment | None = Field(None, alias="to")
    transition: Transition | None = None
    crossfade: float = Field(0.0, ge=0, le=MAX_SECONDS, allow_inf_nan=False)


class _Story(_Part):
    transition: Transition = "smooth"
    seconds: float | None = Field(None, gt=0, le=MAX_SECONDS, allow_inf_nan=False)
    shot: tuple[_Shot, ...] = Field(max_length=MAX_SHOTS)


@dataclass(frozen=True)
class Shot:
    """`begin` and `end` in seconds; `cut`: nothing of the shot before is seen in it; `crossfade`
    in seconds."""

    prompt: str
    begin: Fraction
    end: Fraction
    cut: bool
    crossfade: float
    line: int
    """Where it stands in the file."""


class StoryError(BadDataError):
    """A story with problems; one line each, `file:line: what`."""

    def __init__(self, problems: list[str]) -> None:
        more = len(problems) - 1
        super().__init__(problems[0] + (f" (and {more} more: lingen story check)" if more else ""))
        self.problems = problems[:_MOST_PROBLEMS]


def read_story(path: Path) -> list[Shot]:
    """The shots of a story, one after the other without gaps.

    Raises StoryError (65) naming lines, MissingInputError (66), PermissionDeniedError (77).
    """
    with open_file(path) as file:
        data = file.read(MAX_TOML_BYTES + 1)
    try:
        toml = parse_toml(data)
    except TextError as error:
        raise StoryError([f"{path}:{error.line}: {error}"]) from None
    values, lines = toml.values, TomlLines(toml.text)
    try:
        story = _Story.model_validate(values)
    except ValidationError as error:
        raise StoryError(
            [
                f"{path}:{lines.of(one['loc'])}: {_name(one['loc'])}: {_reason(one)}"
                for one in error.errors()
            ]
        ) from None
    problems: list[str] = [] if story.shot else [f"{path}:1: a story has at least one [[shot]]"]
    shots = list(_place(story, lines, path, problems))
    if problems:
        raise StoryError(problems)
    return shots


def _place(story: _Story, lines: TomlLines, path: Path, problems: list[str]) -> Iterator[Shot]:
    """Shots with their times; what is wrong goes into `problems`."""
    now = Fraction(0)
    for number, shot in enumerate(story.shot):

        def wrong(key: str, what: str, number: int = number) -> None:
            problems.append(f"{path}:{lines.of(('shot', number, key))}: shot {number + 1}: {what}")

        try:
            prompt = check_prompt(shot.prompt, exact=True)  # which model reads it is not known
        except LingenError as error:
            wrong("prompt", str(error))
            prompt = ""
        begin = _moment(shot.begin, "from", wrong)
        if begin is not None and begin != now:
            what = "a gap" if begin > now else "an overlap"
            wrong(
                "from",
                f"begins at {float(begin):g} s, the shot before ends at {float(now):g} s: {what}",
            )
            now = begin
        end = _moment(shot.end, "to", wrong)
        if shot.seconds is not None:
            length = now + Fraction(shot.seconds).limit_denominator(1000)
            if end is not None and end != length:
                wrong(
                    "seconds",
                    f"{shot.seconds:g} s from {float(now):g} s do not end at {float(end):g} s",
                )
            end = length
        if end is None:
            if shot.end is None:
                wrong("prompt", "has no length: give it seconds, or to")
            end = now
        elif end <= now:
            wrong("to", f"ends at {float(end):g} s, before it begins at {float(now):g} s")
        cut = (shot.transition or story.transition) == "cut" and number > 0
        if cut and shot.crossfade:
            wrong("crossfade", "begins with a cut, so there is nothing to fade from")
        yield Shot(prompt, now, end, cut, shot.crossfade, lines.of(("shot", number)))
        now = end
    if story.seconds is not None and Fraction(story.seconds).limit_denominator(1000) != now:
        line = lines.of(("seconds",))
        problems.append(f"{path}:{line}: the shots last {float(now):g} s, not {story.seconds:g} s")
    if now > MAX_SECONDS:
        problems.append(f"{path}:1: the shots last {float(now):g} s, at most {MAX_SECONDS:g} s")


def _moment(value: str | int | float | None, key: str, wrong: Any) -> Fraction | None:
    if value is None:
        return None
    try:
        return parse_moment(str(value), key)
    except LingenError as error:
        wrong(key, str(error))
        return None


def _reason(error: Any) -> str:
    """What is wrong with a key, and which one was probably meant."""
    if error["type"] == "missing":
        return "is missing"
    if error["type"] != "extra_forbidden":
        return str(error["msg"])
    section = _Story if len(error["loc"]) == 1 else _Shot
    known = [one.alias or name for name, one in section.model_fields.items()]
    return f"unknown key; {did_you_mean(str(error['loc'][-1]), known)}"


def _name(place: tuple[int | str, ...]) -> str:
    """`shot 3: to` for ("shot", 2, "to")."""
    parts = [str(part + 1) if isinstance(part, int) else part for part in place]
    return ": ".join([" ".join(parts[:2]), *parts[2:3]])


def subtitles(shots: list[tuple[Fraction, Fraction, str]]) -> str:
    """SubRip text of (begin, end, prompt) in seconds."""
    parts = [
        f"{number}\n{_clock(begin)} --> {_clock(end)}\n{prompt}\n"
        for number, (begin, end, prompt) in enumerate(shots, start=1)
    ]
    return "\n".join(parts)


def _clock(moment: Fraction) -> str:
    milliseconds = round(moment * 1000)
    seconds, rest = divmod(milliseconds, 1000)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02},{rest:03}"
