"""Names of the metrics, and what each needs. Nothing here needs torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Needs = Literal["", "dino", "clip"]


@dataclass(frozen=True)
class MetricInfo:
    """Facts about a metric of single videos. `needs` names the network whose features it compares;
    `better` is the direction of the better score, "" where neither is."""

    name: str
    summary: str
    better: Literal["higher", "lower", ""]
    needs: Needs = ""
    prompted: bool = False
    """It also needs the prompt of the video."""


METRICS: dict[str, MetricInfo] = {
    one.name: one
    for one in (
        MetricInfo("temporal_flickering", "likeness of neighboring frames", "higher"),
        MetricInfo(
            "interpolation_smoothness",
            "likeness of frames to the middle of their neighbors",
            "higher",
        ),
        MetricInfo("flow_dynamic_degree", "share of clips in which much moves", ""),
        MetricInfo("top_flow", "fastest 5% of pixels, pixels of 1/256 per 1/8 s", ""),
        MetricInfo("sharpness", "mean gradient, levels per pixel", ""),
        MetricInfo("color_drift", "last 5 s against the first 5 s, Delta E", "lower"),
        MetricInfo("sharpness_drift", "last 5 s against the first 5 s, doublings", "lower"),
        MetricInfo("subject_consistency", "DINO features inside clips", "higher", "dino"),
        MetricInfo(
            "subject_consistency_across_clips", "DINO features from clip to clip", "higher", "dino"
        ),
        MetricInfo("background_consistency", "CLIP features inside clips", "higher", "clip"),
        MetricInfo(
            "background_consistency_across_clips",
            "CLIP features from clip to clip",
            "higher",
            "clip",
        ),
        MetricInfo("clip_score", "CLIP features of frames and prompt", "higher", "clip", True),
    )
}
"""By name, in the order in which they are told."""

FVD = "fvd"
"""Name of the metric of all videos together; it needs a network for videos and a reference."""
