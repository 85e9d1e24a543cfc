"""Layouts that a user draws: JSON files of objects and paths, as `lingen layout` prints them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from lingen_cli.errors import BadDataError, InvalidOptionError
from lingen_cli.files.open_file import open_file
from lingen_cli.files.printable import printable
from lingen_cli.inputs.frame_rates import MAX_SECONDS
from lingen_cli.inputs.prompts import check_prompt

if TYPE_CHECKING:
    from lingen_models.sampling.layout import Layout

MAX_OBJECTS = 16
MAX_KEYFRAMES = 10_000
_MAX_BYTES = 16 << 20
_FAR = 10.0
"""Frame widths from the corner; nothing needs to be further outside of the image."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DrawnKeyframe(_Part):
    """Place of an object at a time."""

    seconds: float = Field(ge=0, le=MAX_SECONDS, allow_inf_nan=False)
    x: float = Field(ge=-_FAR, le=_FAR, allow_inf_nan=False)
    """Of its middle, in frame widths from the left."""
    y: float = Field(ge=-_FAR, le=_FAR, allow_inf_nan=False)
    """In frame heights from above."""
    radius: float = Field(gt=0, le=1, allow_inf_nan=False)
    """Of a disc of its area, in frame widths."""
    angle: float = Field(0.0, ge=-1e6, le=1e6, allow_inf_nan=False)
    """How far it is turned clockwise, in degrees."""


class DrawnObject(_Part):
    """An object, and its way."""

    phrase: str
    """What it is and does, such as `large red ball bouncing`."""
    path: tuple[DrawnKeyframe, ...] = Field(min_length=1, max_length=MAX_KEYFRAMES)

    @field_validator("phrase")
    @classmethod
    def _printable(cls, value: str) -> str:
        try:
            return check_prompt(value, name="phrase")
        except InvalidOptionError as error:
            raise ValueError(str(error)) from None

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        times = [one.seconds for one in self.path]
        if sorted(set(times)) != times:
            raise ValueError("the keyframes of a path need increasing seconds")
        return self


class DrawnLayout(_Part):
    """A whole layout, in seconds."""

    objects: tuple[DrawnObject, ...] = Field(min_length=1, max_length=MAX_OBJECTS)

    @classmethod
    def of(cls, layout: Layout, fps: float) -> Self:
        """A layout of a model of so many frames per second, rounded as a reader would."""
        return cls.model_validate(
            {
                "objects": [
                    {
                        "phrase": one.phrase,
                        "path": [
                            {
                                "seconds": round(key.frame / fps, 4),
                                "x": round(key.x, 4),
                                "y": round(key.y, 4),
                                "radius": round(key.radius, 4),
                                "angle": round(key.angle, 2),
                            }
                            for key in one.path
                        ],
                    }
                    for one in layout.objects
                ]
            }
        )

    def at_rate(self, fps: float) -> Layout:
        """The layout in frames of a model."""
        from lingen_models.sampling.layout import Keyframe, Layout, LayoutObject

        return Layout(
            tuple(
                LayoutObject(
                    one.phrase,
                    tuple(
                        Keyframe(key.seconds * fps, key.x, key.y, key.radius, key.angle)
                        for key in one.path
                    ),
                )
                for one in self.objects
            )
        )


def read_layout(path: Path) -> DrawnLayout:
    """Read a layout file. Raises BadDataError (65) naming what is wrong with it,
    MissingInputError (66), PermissionDeniedError (77)."""
    with open_file(path) as file:
        data = file.read(_MAX_BYTES + 1)
    name = printable(path)
    if len(data) > _MAX_BYTES:
        raise BadDataError(f"{name}: a layout has at most {_MAX_BYTES} bytes")
    try:
        values: Any = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise BadDataError(f"{name}: not valid JSON: {error}") from None
    try:
        return DrawnLayout.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the layout"
        raise BadDataError(f"{name}: {place}: {first['msg']}") from None
