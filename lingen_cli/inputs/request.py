"""Requests: what a command line, a line of a batch or a program asks for, not yet checked.

A field is an option of Typer: its type, default, name and help text stand here and nowhere else.
Commands get their options from them (`commands.options`), batch lines are read into them
(`request_options`), and `resolve` turns one into a job.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from lingen_cli.errors import InvalidOptionError

CONTENT = "Content"
LENGTH = "Length"
SAMPLING = "Sampling"
MODEL = "Model"
EXTERNAL = "For a video that lingen did not make"
OUTPUT = "Output"
PANELS = (None, CONTENT, LENGTH, SAMPLING, MODEL, EXTERNAL, OUTPUT)
"""Panels of the help text, in their order."""
_content, _length, _sampling, _model, _external, _output = (
    partial(typer.Option, rich_help_panel=panel) for panel in PANELS[1:]
)

_RENAMED = {"accept_licence": "accept_license"}


def current_name(name: str) -> str:
    """Name of an option now, if it had another one before; hyphens as they are in `name`."""
    found = _RENAMED.get(name.replace("-", "_"))
    return name if found is None else found.replace("_", "-") if "-" in name else found


Preview = Annotated[bool | None, _output(help="Draw the latents in the terminal as they form.")]
UnchangedDevice = Annotated[
    str | None, typer.Option(help="auto, cpu or cuda.", show_default="unchanged")
]
MovedImage = Annotated[
    Path | None, typer.Option(help="The image it starts from, if that has moved.")
]
MovedLastImage = Annotated[
    Path | None, typer.Option(help="The image it ends in, if that has moved.")
]
MovedWeights = Annotated[
    Path | None, typer.Option(help="The folder of its weights, if that has moved.")
]

Sampling = Annotated[Mapping[str, Any], "an option for each field of SamplingParams"]
"""Values of the sampling options by their names; those that were not given are None or missing."""


AnotherPrompt = Annotated[str | None, _sampling(help="Another prompt.", show_default="unchanged")]
AcceptLicense = Annotated[
    bool, _model(help="Accept the license of open weights from elsewhere; asked for once.")
]


@dataclass(frozen=True, kw_only=True)
class Request:
    """Fields that all requests for a video have: its output."""

    output: Annotated[
        str | None,
        _output(
            "--output",
            "-o",
            help="An .mp4, .mov, .mkv, .webm, .gif or .png file, a folder for an .mp4, or "
            "frames/%05d.png for all frames.",
            show_default="a free name in the output folder",
        ),
    ] = None
    overwrite: Annotated[bool, _output(help="Replace the output.")] = False
    no_metadata: Annotated[
        bool, _output(help="Write no recipe into the video; then lingen cannot rerun or verify it.")
    ] = False
    preview: Preview = None


@dataclass(frozen=True, kw_only=True)
class GenerateRequest(Request):
    """A new video from a prompt or from a story."""

    prompt: Annotated[
        str | None, typer.Argument(metavar="PROMPT", help="What the video shows.")
    ] = None
    story: Annotated[
        Path | None,
        _content(help="A TOML file of shots, in place of a prompt (`lingen story check`)."),
    ] = None
    size: Annotated[
        str | None,
        _content(help="One side in pixels, or WIDTHxHEIGHT.", show_default="the model's"),
    ] = None
    image: Annotated[
        Path | None, _content(help="A PNG, JPEG or WebP that the video starts from.")
    ] = None
    last_image: Annotated[
        Path | None, _content(help="A PNG, JPEG or WebP that the video ends in.")
    ] = None
    video: Annotated[
        Path | None,
        _content(
            help="A video that this one is made from, for a model that diffusers runs and that "
            "takes one."
        ),
    ] = None
    no_sound: Annotated[bool, _content(help="Leave out the sound of a model that makes some.")] = (
        False
    )
    layout: Annotated[
        Path | None,
        _content(help="A JSON file of where things are over time, as `lingen layout` prints."),
    ] = None
    minutes: Annotated[str | float | None, _length(help="Length in minutes, or 1m30s.")] = None
    seconds: Annotated[
        str | float | None, _length(help="Length in seconds, or 1m30s.", show_default="4")
    ] = None
    frames: Annotated[int | None, _length(help="Length in frames.")] = None
    fps: Annotated[
        str | None,
        _length(
            help="Frames per second, such as 24 or 24000/1001; motion keeps its speed.",
            show_default="the model's",
        ),
    ] = None
    sampling: Sampling = field(default_factory=dict)
    model: Annotated[
        str | None,
        _model(
            help="A name from `lingen models list`, or a diffusers pipeline: its folder, or "
            "owner/name[@revision].",
            show_default="lingen-mini",
        ),
    ] = None
    weights: Annotated[
        Path | None, _model(help="A folder with weights of your own.", show_default="the model's")
    ] = None
    lora: Annotated[
        list[str] | None,
        _model(
            help="A LoRA for the model: FILE[:SCALE], as `lingen train` or others made it, or "
            "owner/name of the hub. May be given again.",
            metavar="FILE[:SCALE]",
        ),
    ] = None
    denoiser: Annotated[
        list[str] | None,
        _model(
            help="A GGUF file in place of the denoiser of a model that diffusers runs; once for "
            "each, where there are two.",
            metavar="FILE",
        ),
    ] = None
    quantize: Annotated[
        str | None,
        _model(help="Hold the weights of a model that diffusers runs in int8, fp8 or nf4."),
    ] = None
    accept_license: AcceptLicense = False
    device: Annotated[str | None, _model(help="auto, cpu or cuda.", show_default="auto")] = None
    offload: Annotated[
        str | None,
        _model(
            help="How a model larger than the card runs: auto, none, model (a part at a time), "
            "group (a block at a time) or disk.",
            show_default="auto",
        ),
    ] = None
    save_memory: Annotated[bool, _model(help="Use less memory; slower.")] = False


@dataclass(frozen=True, kw_only=True)
class EditRequest(Request):
    """Fields that requests which go on with a video have in common.

    Sampling options that are not given are those of the end of the video.
    """

    video: Annotated[Path, typer.Argument(metavar="VIDEO", help="A video that lingen made.")]
    sampling: Sampling = field(default_factory=dict)
    weights: Annotated[
        Path | None, _model(help="The folder of its weights, if that has moved.")
    ] = None
    device: Annotated[str | None, _model(help="auto, cpu or cuda.", show_default="unchanged")] = (
        None
    )


@dataclass(frozen=True, kw_only=True)
class LongerRequest(EditRequest):
    """Fields that requests which add to a video have in common; at most one length is given."""

    seconds: Annotated[
        str | float | None, _length(help="Seconds to add, or 1m30s.", show_default="4")
    ] = None
    minutes: Annotated[str | float | None, _length(help="Minutes to add, or 1m30s.")] = None
    to: Annotated[
        str | None, _length(help="Length of the whole video, in place of these: 90, 1:30 or 1m30s.")
    ] = None
    crossfade: Annotated[
        float, _sampling(help="Seconds in which the prompt before gives way to the new one.")
    ] = 0.0


@dataclass(frozen=True, kw_only=True)
class ExtendRequest(LongerRequest):
    """A longer video; `fit`, `size` and `model` are for one that lingen did not make."""

    video: Annotated[Path, typer.Argument(metavar="VIDEO", help="Any video.")]
    prompt: AnotherPrompt = None
    accept_license: AcceptLicense = False
    fit: Annotated[
        str | None,
        _external(help="How the model sees it: stretch, pad or crop.", show_default="stretch"),
    ] = None
    size: Annotated[
        str | None, _external(help="The size at which the model works, such as 128 or 192x128.")
    ] = None
    model: Annotated[
        str | None, _external(help="A name from `lingen models list`.", show_default="lingen-mini")
    ] = None


@dataclass(frozen=True, kw_only=True)
class ContinueRequest(ExtendRequest):
    """A longer video with another prompt."""

    prompt: Annotated[str, typer.Argument(metavar="PROMPT", help="What follows.")]


@dataclass(frozen=True, kw_only=True)
class BranchRequest(LongerRequest):
    """The beginning of a video, and something else after it."""

    prompt: Annotated[str, typer.Argument(metavar="PROMPT", help="What follows.")]
    at: Annotated[str, _length(help="Where it branches off: 30, 0:30 or 30s.")]


@dataclass(frozen=True, kw_only=True)
class RetakeRequest(EditRequest):
    """A video of which a stretch is made anew."""

    begin: Annotated[str, typer.Option("--from", help="Where the stretch begins: 23, 0:23 or 23s.")]
    end: Annotated[
        str | None, typer.Option("--to", help="Where it ends.", show_default="the end of the video")
    ] = None
    prompt: AnotherPrompt = None


@dataclass(frozen=True, kw_only=True)
class RerunRequest(Request):
    """The same video again, from the recipe inside it."""

    video: Annotated[Path, typer.Argument(metavar="VIDEO", help="A video that lingen made.")]
    image: MovedImage = None
    last_image: MovedLastImage = None
    given_video: Annotated[
        Path | None, typer.Option(help="The video it is made from, if that has moved.")
    ] = None
    weights: MovedWeights = None
    device: UnchangedDevice = None


@dataclass(frozen=True, kw_only=True)
class Report:
    """Choices of how a command tells what it does."""

    events: Annotated[
        str | None, _output(help="Write one JSON object per line to a file; - is standard output.")
    ] = None
    as_json: Annotated[bool, _output("--json", help="Short for --events -.")] = False
    quiet: Annotated[bool, _output("--quiet", "-q", help="Print errors only.")] = False

    def target(self) -> str | None:
        """Return where events go. Raises InvalidOptionError (2) for two places."""
        if self.as_json and self.events not in (None, "-"):
            raise InvalidOptionError("--json means --events -, so --events FILE contradicts it")
        return "-" if self.as_json else self.events


REQUESTS: dict[str, type[Request]] = {
    "generate": GenerateRequest,
    "extend": ExtendRequest,
    "continue": ContinueRequest,
    "branch": BranchRequest,
    "retake": RetakeRequest,
    "rerun": RerunRequest,
}
"""Command -> what it asks for."""
