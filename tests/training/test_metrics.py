"""Metrics of videos that need no weights: on known motions, by hand, and in the expected order."""

from __future__ import annotations

import math
import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from lingen_playground import as_frames, render, sample_scene
from lingen_training.metrics.clip_windows import clip_length, clip_windows
from lingen_training.metrics.frame_statistics import lab, mean_gradient
from lingen_training.metrics.frechet import frechet_distance, frechet_distance_of
from lingen_training.metrics.metric_names import METRICS
from lingen_training.metrics.motion_metrics import top_flow
from lingen_training.metrics.optical_flow import middle_flow
from lingen_training.metrics.score_video import UnmeasurableError, score_video
from lingen_training.metrics.vbench_results import eval_results, full_info

RATE = 8.0
UNWEIGHTED = [name for name, one in METRICS.items() if not one.needs]


def texture(side: int = 200, seed: int = 0) -> torch.Tensor:
    """A smooth random image (1, 3, side, side), 8-bit levels."""
    noise = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(seed))
    for _ in range(2):
        noise = F.avg_pool2d(noise, 9, 1, 4)
    return ((noise - noise.mean()) * 2000 + 127).clamp(0, 255)


def moving(steps: list[float], side: int = 96) -> np.ndarray:
    """Frames of a texture that moves to the right by `steps` pixels in turn: (T, side, side, 3)."""
    places = np.cumsum([0, *steps]).astype(int)
    whole = texture(side + int(places[-1]))[0].permute(1, 2, 0).numpy().astype(np.uint8)
    lefts = places[-1] - places
    return np.stack([whole[:side, left : left + side] for left in lefts])


def grey(*levels: int, side: int = 16) -> np.ndarray:
    return np.stack([np.full((side, side, 3), one, np.uint8) for one in levels])


def scores_of(frames: np.ndarray, rate: float = RATE, **options: Any) -> dict[str, Any]:
    return score_video(iter(frames), rate, UNWEIGHTED, **options).scores


@pytest.mark.parametrize("move", [(0, 0), (1, 0), (3, -2), (8, 5), (-14, 9), (16, 0)])
def test_flow_of_known_translations(move: tuple[int, int]) -> None:
    x, y = move
    whole = texture()
    first, second = whole[..., 40:136, 40:136], whole[..., 40 - y : 136 - y, 40 - x : 136 - x]
    flow, middle = middle_flow(first, second)
    inner = flow[0, :, 16:-16, 16:-16]
    error = (inner - torch.tensor([x, y])[:, None, None]).square().sum(0).sqrt()
    assert error.mean() < 0.05
    if x % 2 == y % 2 == 0:
        half_y, half_x = y // 2, x // 2
        true = whole[..., 40 - half_y : 136 - half_y, 40 - half_x : 136 - half_x]
        assert (middle - true)[..., 16:-16, 16:-16].abs().mean() < 0.1
    else:
        assert middle.shape == first.shape


def test_flow_of_a_plain_square_leaves_the_far_background_alone() -> None:
    first = torch.full((1, 3, 128, 128), 40.0)
    second, true = first.clone(), first.clone()
    for frame, left in ((first, 20), (true, 22), (second, 24)):
        frame[..., 20:50, left : left + 30] = 200
    flow, middle = middle_flow(first, second)
    assert abs(float(flow[0, 0, 35, 37]) - 4) < 0.1
    assert float(flow[0, :, 90:, 90:].abs().max()) == 0
    assert abs(top_flow(flow) - 4) < 0.2
    assert (middle - true).abs().mean() < 0.05 < ((first + second) / 2 - true).abs().mean()


def test_flickering_is_vbenchs_formula() -> None:
    assert scores_of(grey(100, 103, 99))["temporal_flickering"] == (255 - 3.5) / 255
    assert scores_of(grey(7, 7, 7))["temporal_flickering"] == 1


def test_smoothness_is_the_likeness_to_the_middle() -> None:
    scores = score_video(iter(grey(50, 62, 50, 50, 50)), RATE, ["interpolation_smoothness"])
    # frame 1 is 12 levels off, frame 3 is right
    assert scores.scores == {"interpolation_smoothness": pytest.approx((255 - 6) / 255)}
    assert scores_of(grey(50, 60))["interpolation_smoothness"] is None


def test_smoothness_tells_steady_motion_from_unsteady() -> None:
    steady = scores_of(moving([4] * 12))["interpolation_smoothness"]
    jerky = scores_of(moving([0, 8] * 6))["interpolation_smoothness"]
    assert steady > 0.99 > jerky + 0.02


@pytest.mark.parametrize(("step", "flow", "moves"), [(0, 0, 0), (2, 5.33, 0), (4, 10.67, 1)])
def test_dynamic_degree_counts_pixels_of_a_short_side_of_256(
    step: int, flow: float, moves: int
) -> None:
    scores = scores_of(moving([step] * 10))
    assert scores["flow_dynamic_degree"] == moves
    assert scores["top_flow"] == pytest.approx(flow, rel=0.1)


@pytest.mark.parametrize(("jumps", "moves"), [(3, 0), (4, 1)])
def test_a_quarter_of_the_frames_must_move_on(jumps: int, moves: int) -> None:
    steps: list[float] = [8 if number < jumps else 0 for number in range(15)]
    assert scores_of(moving(steps))["flow_dynamic_degree"] == moves


def test_flow_is_looked_at_eight_times_a_second() -> None:
    slow = np.repeat(moving([4] * 15), 3, axis=0)  # 24 frames per second, each third one moves on
    assert scores_of(slow, 24)["top_flow"] == pytest.approx(10.67, rel=0.1)


def test_clips_are_those_of_vbench_long() -> None:
    assert clip_length(16, 2) == 32 and clip_length(23.976, 2) == 46
    assert clip_windows(96, 32) == [range(32), range(32, 64), range(64, 96)]
    assert clip_windows(70, 32) == [range(32), range(32, 64), range(38, 70)]
    assert clip_windows(20, 32) == [range(20)]


def test_scores_are_means_over_clips() -> None:
    frames = np.concatenate([grey(*[10] * 16), grey(*[20, 30] * 8), grey(30, 30)])
    found = score_video(iter(frames), RATE, ["temporal_flickering"])
    last = (10 * 13) / 15  # fourteen frames of the second clip, two of the third
    likeness = [1, (255 - 10) / 255, (255 - last) / 255]
    assert found.clips == [range(16), range(16, 32), range(18, 34)]
    assert found.clip_scores["temporal_flickering"] == pytest.approx(likeness)
    assert found.scores["temporal_flickering"] == pytest.approx(sum(likeness) / 3)
    whole = score_video(iter(frames), RATE, ["temporal_flickering"], clip_seconds=0)
    assert whole.clips == [range(34)]
    # changes: 10 between the clips, 10 fifteen times, 0 to 30
    assert whole.scores["temporal_flickering"] == pytest.approx((255 - 160 / 33) / 255)


def test_static_only_leaves_out_clips_that_move() -> None:
    steps: list[float] = [*[0] * 15, 0, *[8] * 15]
    found = score_video(iter(moving(steps)), RATE, ["temporal_flickering"], static_only=True)
    assert found.clip_scores == {"temporal_flickering": [1, None]}
    assert found.scores == {"temporal_flickering": 1}
    found = score_video(iter(moving([8.0] * 15)), RATE, ["temporal_flickering"], static_only=True)
    assert found.scores == {"temporal_flickering": None}


def test_drift_compares_the_last_seconds_with_the_first() -> None:
    frames = np.concatenate([grey(*[100] * 41), grey(*[200] * 20), grey(*[140] * 41)])
    found = scores_of(frames)
    assert found["color_drift"] == pytest.approx(
        float(lab(np.full(3, 140.0))[0] - lab(np.full(3, 100.0))[0]), abs=0.01
    )
    assert found["sharpness_drift"] == 0 and found["sharpness"] == 0
    stripes = np.zeros((16, 16, 3), np.uint8)
    stripes[:, ::2] = 80
    assert mean_gradient(stripes.astype(np.float32)) == 80
    faded = np.concatenate([np.repeat(stripes[None], 8, 0), np.repeat(stripes[None] // 2, 8, 0)])
    found = scores_of(faded)
    assert found["sharpness_drift"] == pytest.approx(1, abs=1e-3)
    assert found["sharpness"] == pytest.approx(60)


@pytest.mark.parametrize("count", [0, 1])
def test_one_frame_cannot_be_measured(count: int) -> None:
    with pytest.raises(UnmeasurableError, match="frame"):
        scores_of(grey(*[5] * count) if count else np.zeros((0, 8, 8, 3), np.uint8))


def test_memory_does_not_grow_with_the_length() -> None:
    alive: set[int] = set()
    most = 0

    def frames() -> Iterator[np.ndarray]:
        nonlocal most
        for number in range(200):
            frame = grey(number % 256)[0].copy()
            alive.add(number)
            weakref.finalize(frame, alive.discard, number)
            most = max(most, len(alive))
            yield frame

    assert score_video(frames(), RATE, UNWEIGHTED).frames == 200
    assert most <= 4


def test_frozen_noise_and_a_render_come_in_the_expected_order() -> None:
    """The figures in docs/metrics.md."""
    real = np.asarray(as_frames(render([sample_scene(5)], 49, 128)[0]))
    frozen = np.repeat(real[:1], 49, 0)
    noise = np.random.default_rng(0).integers(0, 256, real.shape, dtype=np.uint8)
    still, true, random = (scores_of(one, 16.0) for one in (frozen, real, noise))
    for name in ("temporal_flickering", "interpolation_smoothness"):
        assert still[name] == pytest.approx(1, abs=1e-6)
        assert 1 > true[name] > 0.99 > 0.8 > random[name]
    assert random["temporal_flickering"] == pytest.approx(2 / 3, abs=0.01)  # 85 levels of 255
    assert still["flow_dynamic_degree"] == 0 and still["top_flow"] == 0
    assert true["flow_dynamic_degree"] == 1
    assert 0 < true["top_flow"] < random["top_flow"]
    assert random["sharpness"] == pytest.approx(85 * 2 / 3**0.5, rel=0.15)
    assert still["sharpness"] == pytest.approx(true["sharpness"], rel=0.2)
    assert still["color_drift"] == still["sharpness_drift"] == 0
    assert true["color_drift"] < 3


def test_frechet_distance_of_known_gaussians() -> None:
    one = np.eye(3)
    assert frechet_distance(np.zeros(3), one, np.array([1, 2, 2.0]), one) == pytest.approx(9)
    # Along common axes it is the sum of squared differences of the deviations.
    first, second = np.diag([1, 4, 9.0]), np.diag([4, 4, 1.0])
    assert frechet_distance(np.zeros(3), first, np.zeros(3), second) == pytest.approx(1 + 0 + 4)
    turn, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))
    turned = (turn @ one_of @ turn.T for one_of in (first, second))
    a, b = turned
    assert frechet_distance(np.zeros(3), a, np.zeros(3), b) == pytest.approx(5)
    # A covariance without full rank, and two that do not commute.
    flat = np.zeros((2, 2))
    assert frechet_distance(np.zeros(2), flat, np.zeros(2), np.eye(2)) == pytest.approx(2)
    a, b = np.array([[2, 1], [1, 2.0]]), np.diag([1, 4.0])
    product = np.linalg.eigvals(a @ b)  # the trace of the root is the sum of their roots
    expected = 4 + 5 - 2 * np.sqrt(product.real).sum()
    assert frechet_distance(np.zeros(2), a, np.zeros(2), b) == pytest.approx(expected)


def test_frechet_distance_of_samples() -> None:
    base = np.array([[1, 0], [-1, 0], [0, 2], [0, -2.0]])  # covariance diag(2, 8) / 3
    assert frechet_distance_of(base, base + np.array([3, 4])) == pytest.approx(25)
    assert frechet_distance_of(base, base * 2) == pytest.approx((2 + 8) / 3)
    assert frechet_distance_of(base[:1], base) is None
    assert math.isclose(frechet_distance_of(base[:, :1], base[:, :1] + 2) or 0, 4)


def test_files_of_vbench() -> None:
    scores: dict[str, dict[str, float | None]] = {
        "a.mp4": {"temporal_flickering": 0.9, "clip_score": None},
        "b.mp4": {"temporal_flickering": 0.7, "clip_score": 30.0},
    }
    assert eval_results(scores) == {
        "temporal_flickering": [
            pytest.approx(0.8),
            [
                {"video_path": "a.mp4", "video_results": 0.9},
                {"video_path": "b.mp4", "video_results": 0.7},
            ],
        ],
        "clip_score": [30.0, [{"video_path": "b.mp4", "video_results": 30.0}]],
    }
    assert full_info(scores, {"b.mp4": "a dog"})[1] == {
        "prompt_en": "a dog",
        "dimension": ["temporal_flickering", "clip_score"],
        "video_list": ["b.mp4"],
    }
    assert full_info(scores, {})[0]["prompt_en"] == ""
