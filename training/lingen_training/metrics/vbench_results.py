"""Results in the files of VBench: `NAME_eval_results.json` and `NAME_full_info.json`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lingen_training.metrics.clip_windows import mean_of
from lingen_training.metrics.metric_names import METRICS

Scores = Mapping[str, Mapping[str, float | None]]
"""By the path of a video: its scores by metric."""


def eval_results(scores: Scores) -> dict[str, list[Any]]:
    """{metric: [mean, [{"video_path": ..., "video_results": ...}, ...]]}, for every metric that
    has a score of some video. Names are VBench's where formula and network are, too."""
    found: dict[str, list[Any]] = {}
    for name in METRICS:
        known = {path: one[name] for path, one in scores.items() if one.get(name) is not None}
        if known:
            rows = [{"video_path": path, "video_results": one} for path, one in known.items()]
            found[name] = [mean_of(list(known.values())), rows]
    return found


def full_info(scores: Scores, prompts: Mapping[str, str | None]) -> list[dict[str, Any]]:
    """One record per video: its prompt ("" if unknown), and what it was measured by."""
    return [
        {
            "prompt_en": prompts.get(path) or "",
            "dimension": [name for name, score in one.items() if score is not None],
            "video_list": [path],
        }
        for path, one in scores.items()
    ]
