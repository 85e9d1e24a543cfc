"""A video as an animated GIF, and as a PNG with a contact sheet."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from pathlib import Path

import av
from av.filter import Graph
from av.filter.context import FilterContext
from av.video.frame import VideoFrame

from lingen_cli.media.images.contact_sheet import contact_sheet, sheet_times
from lingen_cli.media.images.image_files import as_png
from lingen_cli.media.reader import frames_at
from lingen_cli.media.writer import BITEXACT

FASTEST_GIF = 50
"""Frames per second: browsers show faster ones slowly."""
SHEET_FRAMES = 8
_SHEET_BOX = (320, 320)


def write_gif(
    frames: Callable[[], Iterator[VideoFrame]], rate: Fraction, size: tuple[int, int], path: Path
) -> None:
    """Write `frames`, which are gone through twice: for the palette, and with it. It loops."""
    every = -(-rate // FASTEST_GIF)
    palette = _palette(frames())
    with av.open(f"file:{path}", "w", format="gif") as container:
        container.flags |= BITEXACT
        stream = container.add_stream("gif", rate=rate / every)
        stream.width, stream.height, stream.pix_fmt = *size, "pal8"
        for frame in _in_palette(itertools.islice(frames(), 0, None, every), palette):
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def _palette(frames: Iterator[VideoFrame]) -> VideoFrame:
    """The 256 colors that suit all frames best, as an image of 16 x 16."""
    graph, first = Graph(), next(frames)
    source = _buffer(graph, first)
    maker, sink = graph.add("palettegen", "stats_mode=full"), graph.add("buffersink")
    graph.link_nodes(source, maker, sink).configure()
    for frame in itertools.chain([first], frames, [None]):
        source.push(frame)
    palette = sink.pull()
    assert isinstance(palette, VideoFrame)
    return palette


def _in_palette(frames: Iterator[VideoFrame], palette: VideoFrame) -> Iterator[VideoFrame]:
    graph, first = Graph(), next(frames)
    palette.pts, palette.time_base = 0, first.time_base
    source, colors = _buffer(graph, first), _buffer(graph, palette)
    user, sink = graph.add("paletteuse", "dither=bayer:bayer_scale=3"), graph.add("buffersink")
    source.link_to(user, 0, 0)
    colors.link_to(user, 0, 1)
    user.link_to(sink)
    graph.configure()
    colors.push(palette)
    colors.push(None)
    for frame in itertools.chain([first], frames, [None]):
        source.push(frame)
        while True:
            try:
                found = sink.pull()
            except (av.BlockingIOError, av.EOFError):
                break
            assert isinstance(found, VideoFrame)
            yield found


def _buffer(graph: Graph, frame: VideoFrame) -> FilterContext:
    return graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base
    )


def write_sheet(
    video: Path, seconds: float, frames: int, tags: Mapping[str, str], path: Path
) -> None:
    """Write a contact sheet of `video` as PNG, with `tags` as text."""
    times = sheet_times(seconds, min(SHEET_FRAMES, frames))
    sheet = contact_sheet(list(frames_at(video, times, box=_SHEET_BOX)), times)
    path.write_bytes(as_png(sheet, tags))
