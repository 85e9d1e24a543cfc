"""Damaged videos end in frames or in one of our errors, never in a crash or another exception."""

from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest

from lingen_cli.errors import BadDataError
from lingen_cli.media.metadata import read_recipe, recipe_tags
from lingen_cli.media.probe import video_info
from lingen_cli.media.reader import frames_at


@pytest.mark.parametrize("container", ["mp4", "matroska", "mpegts", "nut"])
def test_mutated_videos(make_video: Callable[..., Path], tmp_path: Path, container: str) -> None:
    source, path = make_video(frames=40, metadata=recipe_tags({"seed": 1})), tmp_path / "x"
    with av.open(str(source)) as original, av.open(str(path), "w", format=container) as copy:
        stream = copy.add_stream_from_template(original.streams.video[0])
        for packet in original.demux(original.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                copy.mux(packet)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    outcomes = {"read": 0, "refused": 0}
    for turn in range(9):
        data = bytearray(whole)
        if turn % 3 == 0:
            del data[rng.integers(len(data)) :]
        else:
            reach = len(data) if turn % 3 == 1 else min(len(data), 1500)
            for at in rng.integers(0, reach, 12):
                data[at] = rng.integers(256)
        path.write_bytes(data or b"x")
        try:
            assert video_info(path).width > 0
            assert read_recipe(path) in (None, {"seed": 1})
            assert len(list(frames_at(path, [0.0, 1.0, 20.0], box=(32, 32)))) == 3
            outcomes["read"] += 1
        except BadDataError as error:
            assert str(path) in str(error)
            outcomes["refused"] += 1
    assert outcomes["read"] > 0
    assert sum(outcomes.values()) == 9
