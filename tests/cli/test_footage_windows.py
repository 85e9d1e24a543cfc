"""Windows that stretches of videos are cut into."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

import lingen_playground as playground
from lingen_cli.datasets.footage import read_footage
from lingen_cli.datasets.footage_windows import LeftOut, Window, windows_of
from lingen_cli.datasets.prepare_plan import Length, Options, Stretch, Target, divide
from lingen_cli.media.writer import VideoWriter

Frames = np.ndarray[Any, np.dtype[np.uint8]]
SHORT, LONG = Length(2, 3), Length(4, 5)


def shot(seed: int, count: int) -> Frames:
    video = playground.render([playground.sample_scene(seed)], count, 64)
    return np.asarray(playground.as_frames(video[0]))


def cut(
    folder: Path,
    frames: Frames,
    lengths: tuple[Length, ...] = (SHORT,),
    *,
    rate: Fraction = Fraction(16),
    **options: Any,
) -> tuple[list[Window], list[LeftOut]]:
    """Windows of a video of these frames, and what is in none."""
    with VideoWriter(folder / "a.mp4", width=64, height=64, fps=rate) as writer:
        writer.write(frames)
    (folder / "a.txt").write_text("a", encoding="utf-8")
    (clip,) = read_footage(folder).clips
    assert clip.seconds is not None
    target = Target(((64, 64),), lengths, len(lengths) > 1)
    given = Options((target,), **{"min_seconds": 1.0, "cut": True} | options)
    left_out: list[LeftOut] = []
    found = list(windows_of(Stretch(clip, 0, 0.0, clip.seconds), "a.mp4", given, 8, left_out))
    return found, left_out


def test_windows_follow_one_another_and_the_last_overlaps(tmp_path: Path) -> None:
    video = shot(1, 44)  # 17 + 17 + 10, of which at least half is new
    found, left_out = cut(tmp_path, video)
    assert [one.begin * 16 for one in found] == [0, 17, 27]
    assert [one.seconds * 16 for one in found] == [17, 17, 10]
    assert left_out == []
    for one in found:
        first = round(one.begin * 16)
        shown = np.stack(one.frames).astype(int)
        assert shown.shape == (17, 64, 64, 3)
        assert np.abs(shown - video[first : first + 17]).mean() < 6  # but for the codec


def test_each_shot_has_the_longest_clips_that_it_fills(tmp_path: Path) -> None:
    video = np.concatenate([shot(1, 20), shot(2, 34), shot(3, 70)])
    found, left_out = cut(tmp_path, video, (SHORT, LONG))
    kept = [(round(one.shot * 16), one.kept, round(one.begin * 16)) for one in found]
    assert kept == [(0, 3, 0), (20, 5, 20), (54, 5, 54), (54, 5, 87)]
    assert left_out == []
    whole, _ = cut(tmp_path, video, (SHORT, LONG), cut=False)
    assert {one.shot for one in whole} == {0.0} and {one.kept for one in whole} == {5}


def test_what_stands_still_is_taken_once(tmp_path: Path) -> None:
    video = np.concatenate([np.repeat(shot(1, 1), 80, 0), shot(2, 20)])
    found, left_out = cut(tmp_path, video)
    assert [(one.shot, one.begin) for one in found] == [(0.0, 0.0), (5.0, 5.0)]
    (left,) = left_out
    assert left.why == "stands still" and left.end == 5.0


def test_short_shots_and_blank_stretches_are_told(tmp_path: Path) -> None:
    black = np.zeros((32, 64, 64, 3), np.uint8)
    video = np.concatenate([shot(5, 30), black, shot(2, 8), shot(3, 30), black])
    found, left_out = cut(tmp_path, video)
    assert [round(one.shot * 16) for one in found] == [0, 0, 70, 70]
    told = [(round(one.begin * 16), round(one.end * 16), one.why) for one in left_out]
    assert told == [
        (30, 62, "blank, or between two shots"),
        (62, 70, "shots shorter than 1 s"),
        (100, 132, "blank, or between two shots"),
    ]


def test_single_frames_are_a_second_apart(tmp_path: Path) -> None:
    found, _ = cut(tmp_path, shot(1, 60), (Length(1, 1),))
    assert [one.begin for one in found] == [0.0, 1.0, 2.0, 59 / 16]
    assert all(len(one.frames) == 1 for one in found)


def test_long_footage_is_divided(tmp_path: Path) -> None:
    cut(tmp_path, shot(1, 70), rate=Fraction(1, 10))
    footage = read_footage(tmp_path)
    target = Target(((64, 64),), (SHORT,), False)
    parts = divide(footage, [target], 16, 8, 8)
    spans = [[(one.begin, one.end) for one in part] for part in parts]
    assert spans == [[(0.0, 300.0)], [(300.0, 600.0)], [(600.0, 700.0)]]
    large = Target(((2048, 2048),), (SHORT,), False)
    assert len(divide(footage, [large], 16, 8, 8)) > 10
