"""Requests: what a command line, a line of a batch or a program asks for, not yet checked.

A field is an option: its type, default, name and help text stand here and nowhere else. Commands
get their options from them (`commands.options`), batch lines are read into them (`parse`), and
`resolve` turns one into a job.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from lingen_cli.errors import InvalidOptionError

SCENE = "Content"
LENGTH = "Length"
SAMPLING = "Sampling"
MODEL = "Model"
EXTERNAL = "For a video that lingen did not make"
OUTPUT = "Output"
PANELS = (None, SCENE, LENGTH, SAMPLING, MODEL, EXTERNAL, OUTPUT)
"""Panels of the help text, in their order."""


@dataclass(frozen=True, kw_only=True)
class Option:
    """Option of a command line that a field of a request is."""

    help: str
    panel: str | None = None
    name: str | None = None
    """Name of the option, without hyphens before it; None: the field's."""
    short: str | None = None
    metavar: str | None = None
    positional: bool = False
    default: str | None = None
    """Meaning of leaving it out, for the help text, where the value alone does not tell."""
    in_batch: bool = True
    """Whether a line of a batch may have it."""


_RENAMED = {"accept_licence": "accept_license"}


def current_name(name: str) -> str:
    """Name of an option now, if it had another one before; hyphens as they are in `name`."""
    found = _RENAMED.get(name.replace("-", "_"))
    return name if found is None else found.replace("_", "-") if "-" in name else found


Preview = Annotated[
    bool | None,
    Option(help="Draw the latents in the terminal as they form.", panel=OUTPUT, in_batch=False),
]
UnchangedDevice = Annotated[str | None, Option(help="auto, cpu or cuda.", default="unchanged")]
MovedImage = Annotated[Path | None, Option(help="The image it starts from, if that has moved.")]
MovedLastImage = Annotated[Path | None, Option(help="The image it ends in, if that has moved.")]
MovedWeights = Annotated[Path | None, Option(help="The folder of its weights, if that has moved.")]

Sampling = Annotated[Mapping[str, Any], "an option for each field of SamplingParams"]
"""Values of the sampling options by their names; those that were not given are None or missing."""


AcceptLicense = Annotated[
    bool,
    Option(help="Accept the license of open weights from elsewhere; asked for once.", panel=MODEL),
]


@dataclass(frozen=True, kw_only=True)
class Request:
    """Fields that all requests for a video have: its output."""

    output: Annotated[
        str | None,
        Option(
            help="An .mp4, .mov, .mkv, .webm, .gif or .png file, a folder for an .mp4, or "
            "frames/%05d.png for all frames.",
            panel=OUTPUT,
            short="o",
            default="a free name in the output folder",
        ),
    ] = None
    overwrite: Annotated[bool, Option(help="Replace the output.", panel=OUTPUT, in_batch=False)] = (
        False
    )
    no_metadata: Annotated[
        bool,
        Option(
            help="Write no recipe into the video; then lingen cannot rerun or verify it.",
            panel=OUTPUT,
            in_batch=False,
        ),
    ] = False
    preview: Preview = None


@dataclass(frozen=True, kw_only=True)
class GenerateRequest(Request):
    """A new video from a prompt or from a story."""

    prompt: Annotated[str | None, Option(help="What the video shows.", positional=True)] = None
    story: Annotated[
        Path | None,
        Option(
            help="A TOML file of shots, in place of a prompt (`lingen story check`).", panel=SCENE
        ),
    ] = None
    size: Annotated[
        str | None,
        Option(help="One side in pixels, or WIDTHxHEIGHT.", panel=SCENE, default="the model's"),
    ] = None
    image: Annotated[
        Path | None, Option(help="A PNG, JPEG or WebP that the video starts from.", panel=SCENE)
    ] = None
    last_image: Annotated[
        Path | None, Option(help="A PNG, JPEG or WebP that the video ends in.", panel=SCENE)
    ] = None
    video: Annotated[
        Path | None,
        Option(
            help="A video that this one is made from, for a model that diffusers runs and that "
            "takes one.",
            panel=SCENE,
        ),
    ] = None
    no_sound: Annotated[
        bool, Option(help="Leave out the sound of a model that makes some.", panel=SCENE)
    ] = False
    layout: Annotated[
        Path | None,
        Option(
            help="A JSON file of where things are over time, as `lingen layout` prints.",
            panel=SCENE,
        ),
    ] = None
    minutes: Annotated[
        str | float | None, Option(help="Length in minutes, or 1m30s.", panel=LENGTH)
    ] = None
    seconds: Annotated[
        str | float | None,
        Option(help="Length in seconds, or 1m30s.", panel=LENGTH, default="4"),
    ] = None
    frames: Annotated[int | None, Option(help="Length in frames.", panel=LENGTH)] = None
    fps: Annotated[
        str | None,
        Option(
            help="Frames per second, such as 24 or 24000/1001; motion keeps its speed.",
            panel=LENGTH,
            default="the model's",
        ),
    ] = None
    sampling: Sampling = field(default_factory=dict)
    model: Annotated[
        str | None,
        Option(
            help="A name from `lingen models list`, or a diffusers pipeline: its folder, or "
            "owner/name[@revision].",
            panel=MODEL,
            default="lingen-mini",
        ),
    ] = None
    weights: Annotated[
        Path | None,
        Option(help="A folder with weights of your own.", panel=MODEL, default="the model's"),
    ] = None
    lora: Annotated[
        list[str] | None,
        Option(
            help="A LoRA for the model: FILE[:SCALE], as `lingen train` or others made it, or "
            "owner/name of the hub. May be given again.",
            metavar="FILE[:SCALE]",
            panel=MODEL,
        ),
    ] = None
    denoiser: Annotated[
        list[str] | None,
        Option(
            help="A GGUF file in place of the denoiser of a model that diffusers runs; once for "
            "each, where there are two.",
            metavar="FILE",
            panel=MODEL,
        ),
    ] = None
    quantize: Annotated[
        str | None,
        Option(
            help="Hold the weights of a model that diffusers runs in int8, fp8 or nf4.",
            panel=MODEL,
        ),
    ] = None
    accept_license: AcceptLicense = False
    device: Annotated[
        str | None, Option(help="auto, cpu or cuda.", panel=MODEL, default="auto")
    ] = None
    offload: Annotated[
        str | None,
        Option(
            help="How a model larger than the card runs: auto, none, model (a part at a time), "
            "group (a block at a time) or disk.",
            panel=MODEL,
            default="auto",
        ),
    ] = None
    save_memory: Annotated[bool, Option(help="Use less memory; slower.", panel=MODEL)] = False


@dataclass(frozen=True, kw_only=True)
class EditRequest(Request):
    """Fields that requests which go on with a video have in common.

    Sampling options that are not given are those of the end of the video.
    """

    video: Annotated[Path, Option(help="A video that lingen made.", positional=True)]
    sampling: Sampling = field(default_factory=dict)
    weights: Annotated[
        Path | None, Option(help="The folder of its weights, if that has moved.", panel=MODEL)
    ] = None
    device: Annotated[
        str | None, Option(help="auto, cpu or cuda.", panel=MODEL, default="unchanged")
    ] = None


@dataclass(frozen=True, kw_only=True)
class LongerRequest(EditRequest):
    """Fields that requests which add to a video have in common; at most one length is given."""

    seconds: Annotated[
        str | float | None,
        Option(help="Seconds to add, or 1m30s.", panel=LENGTH, default="4"),
    ] = None
    minutes: Annotated[
        str | float | None, Option(help="Minutes to add, or 1m30s.", panel=LENGTH)
    ] = None
    to: Annotated[
        str | None,
        Option(
            help="Length of the whole video, in place of these: 90, 1:30 or 1m30s.", panel=LENGTH
        ),
    ] = None
    crossfade: Annotated[
        float,
        Option(help="Seconds in which the prompt before gives way to the new one.", panel=SAMPLING),
    ] = 0.0


@dataclass(frozen=True, kw_only=True)
class ExtendRequest(LongerRequest):
    """A longer video; `fit`, `size` and `model` are for one that lingen did not make."""

    video: Annotated[Path, Option(help="Any video.", positional=True)]
    prompt: Annotated[
        str | None, Option(help="Another prompt.", panel=SAMPLING, default="unchanged")
    ] = None
    accept_license: AcceptLicense = False
    fit: Annotated[
        str | None,
        Option(
            help="How the model sees it: stretch, pad or crop.", panel=EXTERNAL, default="stretch"
        ),
    ] = None
    size: Annotated[
        str | None,
        Option(help="The size at which the model works, such as 128 or 192x128.", panel=EXTERNAL),
    ] = None
    model: Annotated[
        str | None,
        Option(help="A name from `lingen models list`.", panel=EXTERNAL, default="lingen-mini"),
    ] = None


@dataclass(frozen=True, kw_only=True)
class ContinueRequest(ExtendRequest):
    """A longer video with another prompt."""

    prompt: Annotated[str, Option(help="What follows.", positional=True)]


@dataclass(frozen=True, kw_only=True)
class BranchRequest(LongerRequest):
    """The beginning of a video, and something else after it."""

    prompt: Annotated[str, Option(help="What follows.", positional=True)]
    at: Annotated[str, Option(help="Where it branches off: 30, 0:30 or 30s.", panel=LENGTH)]


@dataclass(frozen=True, kw_only=True)
class RetakeRequest(EditRequest):
    """A video of which a stretch is made anew."""

    begin: Annotated[str, Option(help="Where the stretch begins: 23, 0:23 or 23s.", name="from")]
    end: Annotated[
        str | None, Option(help="Where it ends.", name="to", default="the end of the video")
    ] = None
    prompt: Annotated[
        str | None, Option(help="Another prompt.", panel=SAMPLING, default="unchanged")
    ] = None


@dataclass(frozen=True, kw_only=True)
class RerunRequest(Request):
    """The same video again, from the recipe inside it."""

    video: Annotated[Path, Option(help="A video that lingen made.", positional=True)]
    image: MovedImage = None
    last_image: MovedLastImage = None
    given_video: Annotated[
        Path | None, Option(help="The video it is made from, if that has moved.")
    ] = None
    weights: MovedWeights = None
    device: UnchangedDevice = None


@dataclass(frozen=True, kw_only=True)
class Report:
    """Choices of how a command tells what it does."""

    events: Annotated[
        str | None,
        Option(
            help="Write one JSON object per line to a file; - is standard output.", panel=OUTPUT
        ),
    ] = None
    as_json: Annotated[bool, Option(help="Short for --events -.", panel=OUTPUT, name="json")] = (
        False
    )
    quiet: Annotated[bool, Option(help="Print errors only.", panel=OUTPUT, short="q")] = False

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
