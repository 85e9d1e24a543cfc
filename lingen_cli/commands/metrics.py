"""`lingen metrics`: any videos, by metrics that others use."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lingen_cli.commands.options import Device, JsonPerVideo
from lingen_cli.errors import (
    BadDataError,
    InvalidOptionError,
    LingenError,
    MissingInputError,
    NotAvailableError,
)
from lingen_cli.files.printable import printable
from lingen_cli.terminal import console, signals
from lingen_cli.usage.completion import completed

if TYPE_CHECKING:
    from lingen_cli.files.work_folder import WorkFolder
    from lingen_training.metrics.feature_networks import VideoEncoder
    from lingen_training.metrics.frechet import ClipFeatures
    from lingen_training.metrics.score_video import Networks, VideoScores

_FULL_INFO = "lingen_full_info.json"
_LONGEST_CLIP = 60.0
"""Seconds; the features of so many frames are held, to end with a clip as long as the others."""


def metrics(
    videos: Annotated[
        list[Path],
        typer.Argument(
            metavar="PATH...",
            help="Videos, made by lingen or not, and folders of them.",
            autocompletion=completed("video"),
        ),
    ],
    metrics: Annotated[
        str | None,
        typer.Option(
            metavar="NAME,...",
            help="Metrics to measure, by name.",
            show_default="all whose networks are given",
            autocompletion=completed("metrics"),
        ),
    ] = None,
    dino: Annotated[
        Path | None, typer.Option(help="Folder of DINO weights, for subject consistency.")
    ] = None,
    clip: Annotated[
        Path | None,
        typer.Option(help="Folder of CLIP weights, for background consistency and the CLIP score."),
    ] = None,
    prompt: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT",
            help="Prompt of all the videos, for the CLIP score.",
            show_default="that of the recipe, or the text file beside the video",
        ),
    ] = None,
    fvd_network: Annotated[
        Path | None, typer.Option(help="TorchScript file of I3D or the like, for FVD.")
    ] = None,
    reference: Annotated[
        Path | None,
        typer.Option(
            help="Folder of real videos that FVD compares with.", autocompletion=completed("video")
        ),
    ] = None,
    fvd_frames: Annotated[int, typer.Option(min=2, max=256, help="Frames of a clip of FVD.")] = 16,
    clip_seconds: Annotated[
        float, typer.Option(help="Length of the clips that are averaged; 0: the whole video.")
    ] = 2.0,
    static_only: Annotated[
        bool,
        typer.Option(
            "--static-only", help="Measure flickering on clips alone in which little moves."
        ),
    ] = False,
    device: Device = "auto",
    vbench: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Also write the results in the files of VBench."),
    ] = None,
    as_json: JsonPerVideo = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the files that --vbench writes.")
    ] = False,
) -> None:
    """Measure any videos by metrics after VBench and VBench-Long, and by FVD.

    Long videos are cut into clips, whose scores are averaged. Without --dino, --clip and
    --fvd-network, metrics that need no weights are measured; nothing is ever downloaded.
    """
    from lingen_cli.datasets.measured_video import measure, prompt_of
    from lingen_cli.files.work_folder import WorkFolder, check_target
    from lingen_cli.gallery.collect import find_videos
    from lingen_cli.requests.new_video import check_device
    from lingen_cli.terminal.each_file import for_each
    from lingen_training.metrics.metric_names import FVD

    if (fvd_network is None) != (reference is None):
        raise InvalidOptionError("FVD needs both --fvd-network FILE and --reference FOLDER")
    if not 0 <= clip_seconds <= _LONGEST_CLIP:  # also refuses nan
        raise InvalidOptionError(f"--clip-seconds must be from 0 to {_LONGEST_CLIP:g}")
    check_device(device)
    chosen = _chosen(metrics, dino, clip, prompt, fvd=fvd_network is not None)
    paths = [one for path in videos for one in (find_videos([path]) if path.is_dir() else [path])]
    if not paths:
        raise InvalidOptionError("there are no videos in the folders that were named")
    measured: dict[str, dict[str, float | None]] = {}
    prompts: dict[str, str | None] = {}
    with ExitStack() as stack:
        stack.enter_context(signals.announced())
        work = None
        if vbench is not None:
            vbench.mkdir(parents=True, exist_ok=True)
            target = vbench / "lingen_eval_results.json"
            check_target(vbench / _FULL_INFO, overwrite)
            work = stack.enter_context(WorkFolder(target, overwrite=overwrite))
        networks, encoder = _networks(chosen, dino, clip, fvd_network, fvd_frames, device)
        features = None
        if encoder is not None and reference is not None:
            from lingen_training.metrics.frechet import ClipFeatures, frechet_distance_of

            real = _reference(reference, encoder, fvd_frames)
            features = ClipFeatures(encoder, fvd_frames)

        def one(video: Path) -> None:
            words = prompt_of(video, prompt) if "clip_score" in chosen else None
            scores, rate = measure(
                video,
                chosen,
                clip_seconds=clip_seconds,
                static_only=static_only,
                networks=networks,
                prompt=words,
                fvd=features,
            )
            measured[str(video)], prompts[str(video)] = scores.scores, words
            if as_json:
                console.result(json.dumps(_as_json(video, scores, rate, words)))
            elif scores.scores:
                console.result(_table(scores.scores, video if len(paths) > 1 else None))

        failed = None
        try:
            for_each(paths, one)
        except LingenError as error:
            failed = error
        if measured:
            means = _means(measured)
            distance: dict[str, Any] = {}
            if features is not None:
                counts = [len(features.features), len(real.features)]
                value = frechet_distance_of(features.features, real.features)
                distance = {FVD: value, "fvd_clips": counts}
            if len(paths) > 1 or distance:
                _tell_of_all(len(measured), means, distance, as_json=as_json)
            if work is not None:
                _write_vbench(work, measured, prompts)
                console.note(f"lingen: results in {work.target}")
    if failed is not None:
        raise failed


def _chosen(
    names: str | None, dino: Path | None, clip: Path | None, prompt: str | None, *, fvd: bool
) -> list[str]:
    """Names of the metrics to measure. Raises InvalidOptionError (2)."""
    from lingen_models.spelling import nearest
    from lingen_training.metrics.metric_names import METRICS

    given = {"": True, "dino": dino is not None, "clip": clip is not None}
    if prompt is not None and clip is None:
        raise InvalidOptionError("--prompt is for the metric clip_score, which needs --clip FOLDER")
    if names is None:
        return [name for name, one in METRICS.items() if given[one.needs]]
    chosen = [one.strip() for one in names.split(",") if one.strip()]
    for name in chosen:
        if name not in METRICS:
            near = nearest(name, METRICS)
            hint = f"did you mean {near}?" if near else f"there are {', '.join(METRICS)}"
            raise InvalidOptionError(f"--metrics knows no {name[:40]!r}; {hint}")
        if not given[METRICS[name].needs]:
            network = METRICS[name].needs
            raise InvalidOptionError(
                f"{name} needs --{network} FOLDER with the weights of {network.upper()}; "
                f"docs/metrics.md says which"
            )
    if not chosen and not fvd:
        raise InvalidOptionError("--metrics names no metric")
    for network in ("dino", "clip"):
        if given[network] and not any(METRICS[name].needs == network for name in chosen):
            raise InvalidOptionError(f"no metric of --metrics needs --{network}")
    if prompt is not None and "clip_score" not in chosen:
        raise InvalidOptionError("--prompt is for the metric clip_score")
    return chosen


def _networks(
    chosen: list[str],
    dino: Path | None,
    clip: Path | None,
    fvd_network: Path | None,
    fvd_frames: int,
    device: str,
) -> tuple[Networks, VideoEncoder | None]:
    """Load what was given.

    Raises MissingInputError (66), BadDataError (65) and NotAvailableError (69).
    """
    from lingen_cli.files.open_file import open_file
    from lingen_cli.zoo.load_model import find_device
    from lingen_training.metrics.feature_networks import (
        ClipEncoder,
        DinoEncoder,
        MissingTransformersError,
        NetworkError,
        VideoEncoder,
    )
    from lingen_training.metrics.score_video import Networks

    place = find_device(device)
    for folder in (dino, clip):
        if folder is not None and not folder.is_dir():
            raise MissingInputError(f"no such folder: {printable(folder)}")
    if fvd_network is not None:
        with open_file(fvd_network):
            pass
    try:
        networks = Networks(
            dino=None if dino is None else DinoEncoder(dino, place),
            clip=None if clip is None else ClipEncoder(clip, place, texts="clip_score" in chosen),
        )
        encoder = None if fvd_network is None else VideoEncoder(fvd_network, fvd_frames, place)
    except MissingTransformersError as error:
        raise NotAvailableError(
            "DINO and CLIP are read by transformers: pip install 'lingen[hub]'"
        ) from error
    except NetworkError as error:
        raise BadDataError(str(error)) from error
    return networks, encoder


def _reference(path: Path, encoder: VideoEncoder, length: int) -> ClipFeatures:
    """Features of the real videos. Those that cannot be read are named and left out.

    Raises MissingInputError (66), and BadDataError (65) where there are fewer than two clips.
    """
    from lingen_cli.datasets.measured_video import measure
    from lingen_cli.gallery.collect import find_videos
    from lingen_training.metrics.frechet import ClipFeatures

    found = ClipFeatures(encoder, length)
    for video in list(find_videos([path])):
        try:
            measure(video, [], fvd=found)
        except LingenError as error:
            console.warning(f"not in the reference: {printable(video)}: {error}")
    if len(found.features) < 2:
        raise BadDataError(
            f"FVD needs two clips of {length} frames at least to compare with: {printable(path)}"
        )
    return found


def _means(measured: Mapping[str, Mapping[str, float | None]]) -> dict[str, float | None]:
    from lingen_training.metrics.clip_windows import mean_of

    names = {name: None for one in measured.values() for name in one}
    return {name: mean_of([one.get(name) for one in measured.values()]) for name in names}


def _as_json(
    video: Path, scores: VideoScores, rate: float, prompt: str | None
) -> dict[str, object]:
    return {
        "path": str(video),
        "frames": scores.frames,
        "fps": rate,
        "prompt": prompt,
        "clips": [[clip.start, clip.stop] for clip in scores.clips],
        "scores": scores.scores,
        "clip_scores": scores.clip_scores,
    }


def _table(
    scores: Mapping[str, float | None], video: Path | None, more: tuple[tuple[str, str], ...] = ()
) -> str:
    from lingen_cli.terminal.tables import columns
    from lingen_training.metrics.metric_names import METRICS

    rows = [] if video is None else [("file", printable(video), "")]
    for name, score in scores.items():
        better = METRICS[name].better
        rows.append((name, _number(score), f"{better} is better" if better else ""))
    return columns([*rows, *((*one, "") for one in more)])


def _number(score: float | None) -> str:
    return "-" if score is None else f"{score:.4f}"


def _tell_of_all(
    count: int,
    means: Mapping[str, float | None],
    distance: Mapping[str, Any],
    *,
    as_json: bool,
) -> None:
    if as_json:
        console.result(json.dumps({"videos": count, "mean": means, **distance}))
        return
    more = []
    if distance:
        ours, theirs = distance["fvd_clips"]
        shown = _number(distance["fvd"])
        more = [("fvd", f"{shown} ({ours} clips against {theirs})")]
    console.result(_table(means, Path(f"mean of {count}"), tuple(more)))


def _write_vbench(
    work: WorkFolder,
    measured: Mapping[str, Mapping[str, float | None]],
    prompts: Mapping[str, str | None],
) -> None:
    from lingen_training.metrics.vbench_results import eval_results, full_info

    contents = (eval_results(measured), full_info(measured, prompts))
    files = [work.temporary(".json") for _ in contents]
    for file, content in zip(files, contents, strict=True):
        file.write_text(json.dumps(content, indent=4) + "\n", encoding="utf-8")
    info = work.target.with_name(_FULL_INFO)
    work.publish(files[0], beside=[(files[1], info)])
