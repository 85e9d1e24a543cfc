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
    better: Literal["higher", "lower", ""]
    needs: Needs = ""


METRICS: dict[str, MetricInfo] = {
    one.name: one
    for one in (
        MetricInfo("temporal_flickering", "higher"),
        MetricInfo("interpolation_smoothness", "higher"),
        MetricInfo("flow_dynamic_degree", ""),
        MetricInfo("top_flow", ""),
        MetricInfo("sharpness", ""),
        MetricInfo("color_drift", "lower"),
        MetricInfo("sharpness_drift", "lower"),
        MetricInfo("subject_consistency", "higher", "dino"),
        MetricInfo("subject_consistency_across_clips", "higher", "dino"),
        MetricInfo("background_consistency", "higher", "clip"),
        MetricInfo("background_consistency_across_clips", "higher", "clip"),
        MetricInfo("clip_score", "higher", "clip"),
    )
}
"""By name, in the order in which they are told."""

FVD = "fvd"
"""Name of the metric of all videos together; it needs a network for videos and a reference."""
