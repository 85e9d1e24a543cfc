"""One video to be made: every choice settled, every check done that needs no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from lingen_cli.inputs.frame_rates import Grid
from lingen_cli.inputs.output_path import Destination
from lingen_cli.inputs.prompts import on_one_line
from lingen_cli.inputs.settings import CacheLimit
from lingen_cli.media.frame_hashes import FrameHash, Sha256
from lingen_cli.requests.edits import Added, Dropped, Edit, Sampled
from lingen_cli.zoo.locate import LocatedModel
from lingen_plugins.contracts import WeightFormats

if TYPE_CHECKING:
    import numpy as np

    from lingen_cli.media.images.resize import Fit, FitName
    from lingen_cli.media.tracks.inspect import Chapter
    from lingen_cli.requests.recipe import Base
    from lingen_cli.zoo.load_model import Lora, WeightFile
    from lingen_plugins.contracts import Sampler

_BYTES_PER_PIXEL = 0.2
"""H.264 at crf 18 took 0.015 to 0.13 bytes per pixel in tests; better quality takes more."""
_BYTES_PER_PNG_PIXEL = 1.5
_CONTAINER_BYTES = 1 << 20
_TITLE = 60
"""Characters of a chapter's title that are compared: one box of mp4 holds 255 bytes."""


@dataclass(frozen=True, kw_only=True)
class GivenImage:
    """An image that a video starts from or ends in, already at the video's size."""

    path: Path
    sha256: str
    pixels: np.ndarray[Any, Any] | None
    """uint8 (H, W, 3); None where the part that it belongs to is there already."""


@dataclass(frozen=True, kw_only=True)
class GivenVideo:
    """A video that another is made from; its frames are read when they are needed."""

    path: Path
    sha256: str
    size: tuple[int, int]
    """Width and height as seen, in pixels."""
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Origin:
    """The video that a job goes on with, in which the first `done` edits are."""

    path: Path
    """Absolute."""
    fingerprint: Sha256
    """As that of a base."""
    latents: Sha256 | None
    """SHA-256 of its latents, if its recipe names them."""
    done: Annotated[int, Field(ge=0)]
    copy_packets: bool
    """Whether its packets stand unchanged at the beginning of the new video."""
    hashes: tuple[FrameHash, ...] = ()
    """Of its frames, as far as its recipe has them."""


@dataclass(frozen=True, kw_only=True)
class Timeline:
    """Frames of a video: where each part of them comes from, and what it shows."""

    edits: tuple[Edit, ...]
    samplers: Mapping[str, Sampler]
    """Those that the edits name."""
    rate: Fraction
    width: int
    """Of the model's images, and of the video's where it has no other base."""
    height: int
    base: Base | None = None
    image: GivenImage | None
    last_image: GivenImage | None = None
    video: GivenVideo | None = None
    """What is sampled first is made from it."""
    origin: Origin | None = None
    draws_seeds: bool = False
    """The user gave no seed: that of a stopped run is as good."""

    @property
    def bounds(self) -> list[int]:
        """Ends of each separately encoded segment of the video, in frames."""
        return _bounds(self.edits, self.base)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the video."""
        base = self.base
        return (self.width, self.height) if base is None else (base.width, base.height)

    @property
    def must_encode(self) -> bool:
        """Tell whether what is kept is known to be no neighbour for new packets."""
        return self.base is not None and not self.base.headers and self.origin is None

    @property
    def frames_before(self) -> int:
        """Frames of the video that the job goes on with."""
        done = 0 if self.origin is None else self.origin.done
        return (_bounds(self.edits[:done], self.base) or [0])[-1]

    @property
    def frames(self) -> int:
        """Frames of the whole video."""
        return self.bounds[-1]

    @property
    def seconds(self) -> float:
        """Length of the whole video."""
        return float(self.frames / self.rate)

    @property
    def parts(self) -> list[Chapter]:
        """Begin and end in seconds of every part with a prompt of its own, and the prompt on one
        line."""
        found: list[tuple[int, int, str]] = []
        place = 0 if self.base is None else self.base.frames
        for edit in self.edits:
            if isinstance(edit, Dropped):
                found = [(a, min(b, edit.keep), text) for a, b, text in found if a < edit.keep]
                place = edit.keep
            elif isinstance(edit, Added):
                prompt = on_one_line(edit.prompt)
                if found and found[-1][2] == prompt and not edit.cut:
                    found[-1] = (found[-1][0], place + edit.frames, prompt)
                else:
                    found.append((place, place + edit.frames, prompt))
                place += edit.frames
        return [(begin / self.rate, end / self.rate, text) for begin, end, text in found]

    @property
    def chapters(self) -> list[Chapter]:
        """Same as `parts`, and what was there before; none where there is one prompt alone."""
        found = self.parts
        if self.base is not None:
            end = self.base.frames / self.rate
            found = [(Fraction(0), end, self.base.file.stem), *found]
        return found if len(found) > 1 else []

    def chapters_after(self, old: Sequence[Chapter], beside: Path | None) -> list[Chapter]:
        """Chapters of the video where the video `beside` has the chapters `old`: those that
        somebody gave it stay, as far as it is kept, and what follows has its prompts."""
        made = self
        if self.origin is not None:
            made = replace(self, edits=self.edits[: self.origin.done], origin=None)
        if not old or _starts(old) == _starts(made.chapters):
            return self.chapters
        end = self._frames_of(beside) / self.rate
        found = [(begin, min(stop, end), title) for begin, stop, title in old if begin < end]
        for begin, stop, title in self.parts:
            if stop <= end:
                continue
            if found and found[-1][1:] == (end, title):
                found[-1] = (found[-1][0], stop, title)
            else:
                found.append((max(begin, end), stop, title))
        return found

    def _frames_of(self, beside: Path | None) -> int:
        """Frames of the video `beside` that are in this one."""
        if self.origin is not None:
            cuts = (edit.keep for edit in self.pending if isinstance(edit, Dropped))
            return min([self.frames_before, *cuts])
        if self.base is not None and self.base.file == beside:
            return self.base.frames
        return self.frames

    @property
    def kept(self) -> int:
        """Frames that are taken over from the video before, as they are encoded there."""
        if self.origin is not None and self.origin.copy_packets:
            return self.bounds[-2]
        return 0 if self.base is None else self.base.frames

    @property
    def kept_hashes(self) -> tuple[FrameHash, ...]:
        """Hashes of the frames that are taken over."""
        return self.origin.hashes if self.origin is not None and self.origin.copy_packets else ()

    @property
    def kept_from(self) -> Path | None:
        """The video whose first frames are kept."""
        if self.origin is not None and self.origin.copy_packets:
            return self.origin.path
        return None if self.base is None else self.base.file

    @property
    def pending(self) -> tuple[Edit, ...]:
        """The edits that are still to be made."""
        return self.edits if self.origin is None else self.edits[self.origin.done :]

    @property
    def sampled(self) -> tuple[Sampled, ...]:
        """Those of them that are sampled."""
        return tuple(edit for edit in self.pending if isinstance(edit, Sampled))

    @property
    def fit_of_video(self) -> Fit:
        """Fit of the images of the video, or of one before it, to the model's size."""
        from lingen_cli.media.images.resize import Fit

        name: FitName = "stretch"
        if self.base is not None and self.base.fit == "pad":
            name = "pad"
        return Fit(name=name, seen=self.size, size=(self.width, self.height))


@dataclass(frozen=True, kw_only=True)
class WeightChanges:
    """Changes to the weights of a model from elsewhere."""

    loras: tuple[Lora, ...] = ()
    denoisers: tuple[WeightFile, ...] = ()
    """GGUF files in place of its denoisers."""
    quantize: str | None = None
    """Format in which its linear layers are held."""

    @property
    def formats(self) -> WeightFormats:
        """Formats in which the weights are held in memory."""
        return WeightFormats(
            quantize=self.quantize, denoisers=tuple(one.path for one in self.denoisers)
        )


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """Settings of the machine that computes. Frames depend on device, dtype, threads and tiles, and
    on nothing else of them."""

    device: str
    dtype: str | None = None
    """None: the model's choice for the device."""
    threads: int | None = None
    cache: CacheLimit
    """How much the cache of latents may hold."""
    preview: bool = False
    """Draw the latents while they form."""
    decode_only: bool = False
    """Everything must be in the journal already."""
    offload: str = "auto"
    """Which parts of a model from elsewhere wait beside the card."""
    tiles: bool = False
    """Decode in tiles, as the video was made before."""
    frugal: bool = False
    """Smaller parts at a time from the beginning; on a GPU nothing but the denoiser."""


@dataclass(frozen=True, kw_only=True)
class Output:
    """Files that a job writes."""

    destination: Destination
    crf: int
    encoder_preset: str
    beside: Path | None = None
    """The video whose sound, subtitles, chapters and tags are taken over."""
    metadata: bool = True
    """Write into the video how it was made."""
    subtitles: bool = False
    """Write the prompts beside the video, as subtitles."""
    sound: bool = False
    """Write the sound that the model makes with the video."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """The settled choices of `generate`, `rerun` and `extend`."""

    timeline: Timeline
    model: LocatedModel
    weights: WeightChanges = WeightChanges()
    runtime: Runtime
    output: Output

    def with_edits(self, edits: tuple[Edit, ...]) -> Job:
        """The job with other edits, of the same samplers."""
        return replace(self, timeline=replace(self.timeline, edits=edits))

    @property
    def in_place(self) -> bool:
        """Tell whether the video takes the place of the one that it goes on with."""
        timeline, path = self.timeline, self.output.destination.path
        old = timeline.base if timeline.origin is None else timeline.origin
        return old is not None and path is not None and _place(Path(old.path)) == _place(path)

    @property
    def grid(self) -> Grid:
        """Grid that says which of the model's frames is behind each frame of the video."""
        base = self.timeline.base
        fps, group = Fraction(self.model.variant.fps), self.model.time_stride
        return Grid(self.timeline.rate, fps, 0 if base is None else base.frames, group)

    @property
    def expected_bytes(self) -> int:
        """A generous guess at the size of the file."""
        quality = 2 ** max(0.0, (18 - self.output.crf) / 6)
        frames, base, old = self.timeline.frames, self.timeline.base, 0
        if base is not None and base.headers:
            frames, old = frames - base.frames, base.file.stat().st_size
        width, height = self.timeline.size
        pixels = frames * width * height
        return _CONTAINER_BYTES + old + int(pixels * _BYTES_PER_PIXEL * quality)

    @property
    def image_bytes(self) -> int:
        """A guess at the size of the numbered images, 0 where none are asked for."""
        width, height = self.timeline.size
        pixels = self.timeline.frames * width * height
        return int(pixels * _BYTES_PER_PNG_PIXEL) if self.output.destination.pattern else 0


def _place(path: Path) -> Path:
    """Return the one path of a name, which may be that of a link."""
    return path.parent.resolve() / path.name


def _starts(chapters: Sequence[Chapter]) -> list[tuple[int, str]]:
    """Begins in milliseconds, and titles, as far as every mp4 holds them."""
    return [(round(begin * 1000), title[:_TITLE]) for begin, _, title in chapters]


def _bounds(edits: tuple[Edit, ...], base: Base | None) -> list[int]:
    ends = [] if base is None else [base.frames]
    for edit in edits:
        if isinstance(edit, Dropped):
            ends = [*(end for end in ends if end < edit.keep), edit.keep]
        elif isinstance(edit, Added):
            ends.append((ends[-1] if ends else 0) + edit.frames)
    return ends
