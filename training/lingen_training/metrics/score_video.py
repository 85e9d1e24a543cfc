"""Scores of one video, whose frames come one after another, in memory that does not grow."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

from lingen_training.metrics.appearance_metrics import Appearance
from lingen_training.metrics.clip_windows import (
    CLIP_SECONDS,
    clip_length,
    clip_windows,
    mean_of,
)
from lingen_training.metrics.consistency_metrics import FeatureMetrics
from lingen_training.metrics.feature_networks import ClipEncoder, DinoEncoder
from lingen_training.metrics.frame_statistics import Array
from lingen_training.metrics.frechet import ClipFeatures
from lingen_training.metrics.metric_names import METRICS
from lingen_training.metrics.motion_metrics import Flickering, FlowMetrics
from lingen_training.metrics.seen_frame import Observer, SeenFrame


class UnmeasurableError(ValueError):
    """A video of which there is nothing to compare; the message is one line."""


@dataclass(frozen=True)
class Networks:
    """Networks that were loaded; None: not given."""

    dino: DinoEncoder | None = None
    clip: ClipEncoder | None = None


@dataclass(frozen=True)
class VideoScores:
    """Scores by metric, of the video and of each of its clips; None where there is none, such as
    of a clip of two frames that has no middle."""

    frames: int
    clips: list[range]
    scores: dict[str, float | None]
    clip_scores: dict[str, list[float | None]]


def score_video(
    frames: Iterable[Array],
    rate: float,
    metrics: Collection[str],
    *,
    clip_seconds: float = CLIP_SECONDS,
    static_only: bool = False,
    networks: Networks | None = None,
    prompt: str | None = None,
    fvd: ClipFeatures | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> VideoScores:
    """Measure a video.

    Args:
        frames: uint8 RGB (h, w, 3), all of one size, in order.
        rate: frames per second.
        metrics: names of `METRICS`; those whose networks are not given are left out.
        clip_seconds: length of the clips whose scores are averaged; 0 takes the whole video.
        static_only: measure `temporal_flickering` on clips alone in which little moves.
        networks: what the metrics with weights compare with.
        prompt: text that the video was made from.
        fvd: takes in all frames, too.
        progress: told how many frames were seen.

    Raises UnmeasurableError for fewer than two frames, NetworkError as the networks do.
    """
    networks = networks or Networks()
    length = clip_length(rate, clip_seconds) if clip_seconds else 0
    wanted = {name for name in METRICS if name in metrics}
    seen = wanted | ({"flow_dynamic_degree"} if static_only else set())
    observers = _observers(seen, rate, length, networks, prompt)
    kept = 0 if fvd is None else len(fvd.features)
    count = 0
    try:
        for count, pixels in enumerate(frames, start=1):
            frame = SeenFrame(count - 1, pixels)
            for one in observers:
                one.see(frame)
            if fvd is not None:
                fvd.see(frame)
            progress(count)
        if count < 2:
            raise UnmeasurableError("it has fewer than two frames, and metrics compare frames")
    except BaseException:
        if fvd is not None:
            fvd.drop_after(kept)
        raise
    clips = clip_windows(count, length or count)
    of_clips: dict[str, list[float | None]] = {}
    of_video: dict[str, float | None] = {}
    for one in observers:
        of_clips |= one.clip_scores(clips)
        of_video |= one.video_scores(rate)
    if static_only and "temporal_flickering" in of_clips:
        moves = of_clips["flow_dynamic_degree"]
        still = zip(of_clips["temporal_flickering"], moves, strict=True)
        of_clips["temporal_flickering"] = [None if much else one for one, much in still]
    scores = {name: mean_of(one) for name, one in of_clips.items()} | of_video
    order = [name for name in METRICS if name in wanted and name in scores]
    return VideoScores(
        frames=count,
        clips=clips,
        scores={name: scores[name] for name in order},
        clip_scores={name: of_clips[name] for name in order if name in of_clips},
    )


def _observers(
    metrics: set[str], rate: float, length: int, networks: Networks, prompt: str | None
) -> list[Observer]:
    found: list[Observer] = []
    if "temporal_flickering" in metrics:
        found.append(Flickering())
    smoothness = "interpolation_smoothness" in metrics
    dynamics = bool(metrics & {"flow_dynamic_degree", "top_flow"})
    if smoothness or dynamics:
        found.append(FlowMetrics(rate, smoothness=smoothness, dynamics=dynamics))
    if metrics & {"sharpness", "color_drift", "sharpness_drift"}:
        found.append(Appearance())
    subject = any(name.startswith("subject_") for name in metrics)
    if networks.dino is not None and subject:
        found.append(FeatureMetrics("subject", networks.dino, length))
    background = any(name.startswith("background_") for name in metrics)
    if networks.clip is not None:
        words = None
        if prompt and "clip_score" in metrics:
            words = networks.clip.text_features(prompt)
        if background or words is not None:
            found.append(
                FeatureMetrics(
                    "background", networks.clip, length, consistency=background, prompt=words
                )
            )
    return found
