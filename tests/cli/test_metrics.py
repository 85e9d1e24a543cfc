"""`lingen metrics`: real files, good and bad, and the files of VBench."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lingen_cli.media.reader import every_frame
from lingen_cli.media.writer import VideoWriter
from lingen_training.metrics.metric_names import METRICS
from tests.cli.protocols import Fails, RunHere
from tests.training.tiny_vision import tiny_clip, tiny_dino

UNWEIGHTED = [name for name, one in METRICS.items() if not one.needs]


def written(name: str, frames: int = 20, *, speed: float = 1.0, fps: int = 8) -> Path:
    """A square that moves over stripes."""
    images = np.full((frames, 64, 64, 3), 120, np.uint8)
    images[:, :, ::8] = 60
    for number, image in enumerate(images):
        left = int(4 + abs((number * speed + 40) % 80 - 40))
        image[20:40, left : left + 16] = (220, 60, 40)
    with VideoWriter(Path(name), width=64, height=64, fps=Fraction(fps)) as writer:
        writer.write(images)
    return Path(name)


def fps_of(frames: list[int], name: str) -> Path:
    """A video whose frames stand at these times, in seconds."""
    import av

    with av.open(name, "w") as container:
        stream = container.add_stream("libx264", rate=1)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = Fraction(1)
        for number, time in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), number * 9, np.uint8), "rgb24")
            frame.pts, frame.time_base = time, Fraction(1)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return Path(name)


def objects(text: str) -> list[Any]:
    return [json.loads(line) for line in text.splitlines()]


def test_a_table(lingen_here: RunHere) -> None:
    written("video.mp4")
    found = lingen_here("metrics", "video.mp4")
    assert found.returncode == 0, found.stderr
    rows = [line.split() for line in found.stdout.splitlines()]
    assert [row[0] for row in rows] == UNWEIGHTED
    assert rows[0][2:] == ["higher", "is", "better"] and 0.9 < float(rows[0][1]) < 1
    assert found.stderr == ""


def test_json_of_a_folder(lingen_here: RunHere) -> None:
    Path("videos").mkdir()
    written("videos/a.mp4", speed=0)
    written("videos/b.mp4", 37, speed=4)
    asked = "flow_dynamic_degree,temporal_flickering"
    found = lingen_here("metrics", "videos", "--metrics", asked, "--json")
    assert found.returncode == 0, found.stderr
    first, second, mean = objects(found.stdout)
    assert (first["path"], first["frames"], first["fps"]) == ("videos/a.mp4", 20, 8)
    assert first["clips"] == [[0, 16], [4, 20]]
    assert second["clips"] == [[0, 16], [16, 32], [21, 37]]
    assert list(first["scores"]) == ["temporal_flickering", "flow_dynamic_degree"]
    assert first["scores"]["flow_dynamic_degree"] == 0
    assert second["scores"]["flow_dynamic_degree"] == 1
    assert first["scores"]["temporal_flickering"] > second["scores"]["temporal_flickering"]
    each = second["clip_scores"]["temporal_flickering"]
    assert second["scores"]["temporal_flickering"] == pytest.approx(sum(each) / 3)
    assert mean["videos"] == 2
    assert mean["mean"]["flow_dynamic_degree"] == 0.5
    whole = lingen_here("metrics", "videos/b.mp4", "--clip-seconds", 0, "--json")
    assert objects(whole.stdout)[0]["clips"] == [[0, 37]]


def test_static_only(lingen_here: RunHere) -> None:
    written("video.mp4", speed=4)
    words = ("metrics", "video.mp4", "--metrics", "temporal_flickering")
    assert "0.9" in lingen_here(*words).stdout
    found = lingen_here(*words, "--static-only")
    assert found.stdout.split()[:2] == ["temporal_flickering", "-"]


def test_bad_files_are_named_and_the_others_measured(lingen_here: RunHere, fails: Fails) -> None:
    good = written("good.mp4")
    Path("empty.mp4").touch()
    Path("text.mp4").write_text("hello")
    one, long = written("one.mp4", 1), fps_of([0, 18_000, 36_000], "long.mp4")
    bad = ["empty.mp4", "text.mp4", one, long, "missing.mp4"]
    found = lingen_here("metrics", *bad[:3], good, *bad[3:], "--json")
    assert found.returncode == 65
    assert [line["path"] for line in objects(found.stdout)[:-1]] == ["good.mp4"]
    for name in bad:
        assert sum(line.startswith(f"lingen: {name}: ") for line in found.stderr.splitlines()) == 1
    assert "5 of 6 videos cannot be read" in found.stderr
    fails(lingen_here("metrics", "empty.mp4"), 65, "file is empty")
    fails(lingen_here("metrics", "text.mp4"), 65, "not a supported video file")
    fails(lingen_here("metrics", one), 65, "fewer than two frames")
    fails(lingen_here("metrics", long), 65, "fewer than one frame per second")
    fails(lingen_here("metrics", "missing.mp4"), 66, "no such file")


def test_a_video_that_breaks_off_is_told(lingen_here: RunHere) -> None:
    written("whole.mp4", 80)
    subprocess.run(
        ["ffmpeg", "-v", "error", "-i", "whole.mp4", "-c", "copy", "-g", "8", "whole.mkv"],
        check=True,
    )
    content = Path("whole.mkv").read_bytes()
    Path("short.mkv").write_bytes(content[: len(content) // 2])
    found = lingen_here("metrics", "short.mkv", "--json")
    assert found.returncode == 0
    assert 2 <= objects(found.stdout)[0]["frames"] < 72
    assert "of 80 frames are there: short.mkv" in found.stderr


def test_wrong_usage(lingen_here: RunHere, fails: Fails) -> None:
    video = written("video.mp4", 4)
    Path("folder").mkdir()
    for words, told in (
        (("--metrics", "sharpnes"), "did you mean sharpness?"),
        (("--metrics", "quality"), "there are temporal_flickering"),
        (("--metrics", ","), "names no metric"),
        (("--metrics", "subject_consistency"), "--dino FOLDER"),
        (("--metrics", "sharpness", "--clip", "folder"), "no metric of --metrics needs --clip"),
        (("--prompt", "a ball"), "--prompt is for"),
        (("--reference", "folder"), "--fvd-network FILE and --reference FOLDER"),
        (("--clip-seconds", "nan"), "--clip-seconds"),
        (("--device", "tpu"), "--device"),
    ):
        fails(lingen_here("metrics", video, *words), 2, told)
    fails(lingen_here("metrics", "folder"), 2, "no videos")
    fails(lingen_here("metrics", video, "--dino", "nowhere"), 66, "no such folder: nowhere")
    fails(lingen_here("metrics", video, "--dino", "folder"), 65, "no config.json in folder")
    network = ("--fvd-network", "net.pt", "--reference", "folder")
    fails(lingen_here("metrics", video, *network), 66, "no such file: net.pt")
    Path("net.pt").write_text("hello")
    fails(lingen_here("metrics", video, *network), 65, "not a TorchScript file")


def test_without_transformers(
    lingen_here: RunHere, fails: Fails, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lingen_training.metrics import feature_networks

    monkeypatch.setattr(feature_networks, "find_spec", lambda name: None)
    Path("clip").mkdir()
    found = lingen_here("metrics", written("video.mp4", 4), "--clip", "clip")
    fails(found, 69, "pip install 'lingen[hub]'")


def test_dino_and_clip(lingen_here: RunHere, tmp_path: Path) -> None:
    dino, clip = tiny_dino(tmp_path / "dino"), tiny_clip(tmp_path / "clip")
    videos = [written("a.mp4"), written("b.mp4", 36, speed=4)]
    Path("b.txt").write_text("a red ball")
    words = ("--dino", dino, "--clip", clip, "--json")
    found = lingen_here("metrics", *videos, *words, "--vbench", "out")
    assert found.returncode == 0, found.stderr
    first, second, mean = objects(found.stdout)
    assert list(second["scores"]) == list(METRICS)
    for one in (first, second):
        for name, score in one["scores"].items():
            if name.endswith(("consistency", "across_clips")):
                assert 0 < score <= 1 + 1e-5
    assert first["prompt"] is None and "clip_score" not in first["scores"]
    assert second["prompt"] == "a red ball" and 0 <= second["scores"]["clip_score"] <= 100
    assert mean["mean"]["clip_score"] == second["scores"]["clip_score"]
    warning, end = found.stderr.splitlines()
    assert warning.startswith("lingen: warning: no prompt") and "a.txt" in warning
    assert end == "lingen: results in out/lingen_eval_results.json"
    results = json.loads(Path("out/lingen_eval_results.json").read_text())
    assert len(results["clip_score"][1]) == 1 and len(results["subject_consistency"][1]) == 2
    info = json.loads(Path("out/lingen_full_info.json").read_text())
    assert [one["prompt_en"] for one in info] == ["", "a red ball"]
    one = lingen_here("metrics", "a.mp4", *words[2:], "--metrics", "clip_score", "--prompt", "ball")
    assert list(objects(one.stdout)[0]["scores"]) == ["clip_score"] and one.stderr == ""


def test_files_of_vbench(lingen_here: RunHere, fails: Fails) -> None:
    for name in ("a.mp4", "b.mp4"):
        written(name)
    words = ("metrics", "a.mp4", "nothing.mp4", "b.mp4", "--metrics", "temporal_flickering")
    found = lingen_here(*words, "--json", "--vbench", "out/results")
    assert found.returncode == 65
    first, second, mean = (one for one in objects(found.stdout))
    results = json.loads(Path("out/results/lingen_eval_results.json").read_text())
    score, rows = results["temporal_flickering"]
    assert list(results) == ["temporal_flickering"]
    assert score == mean["mean"]["temporal_flickering"]
    assert rows == [
        {"video_path": one["path"], "video_results": one["scores"]["temporal_flickering"]}
        for one in (first, second)
    ]
    info = json.loads(Path("out/results/lingen_full_info.json").read_text())
    assert [one["video_list"] for one in info] == [["a.mp4"], ["b.mp4"]]
    assert info[0]["dimension"] == ["temporal_flickering"]
    assert sorted(os.listdir("out/results")) == [
        "lingen_eval_results.json",
        "lingen_full_info.json",
    ]
    fails(lingen_here("metrics", "a.mp4", "--vbench", "out/results"), 73, "--overwrite")
    again = lingen_here("metrics", "a.mp4", "--vbench", "out/results", "--overwrite")
    assert again.returncode == 0
    again_read = json.loads(Path("out/results/lingen_eval_results.json").read_text())
    assert list(again_read) == UNWEIGHTED and len(again_read["sharpness"][1]) == 1
    Path("out/results/lingen_eval_results.json").unlink()
    fails(lingen_here("metrics", "a.mp4", "--vbench", "out/results"), 73, "lingen_full_info.json")
    assert os.listdir("out/results") == ["lingen_full_info.json"]
    Path("file").touch()
    fails(lingen_here("metrics", "a.mp4", "--vbench", "file"), 74, "file")


def test_nothing_is_written_when_nothing_could_be_measured(lingen_here: RunHere) -> None:
    assert lingen_here("metrics", "nothing.mp4", "--vbench", "out").returncode == 66
    assert os.listdir("out") == []


def network(path: Path) -> Path:
    """A TorchScript file: the mean of each color."""
    import torch

    class Means(torch.nn.Module):
        def forward(self, clip: torch.Tensor) -> torch.Tensor:
            return clip.mean((2, 3, 4))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        scripted: Any = torch.jit.script(Means())
        scripted.save(str(path))
    return path


def test_fvd(lingen_here: RunHere, fails: Fails) -> None:
    Path("real").mkdir()
    for name, speed in (("a", 1.0), ("b", 3.0)):
        written(f"real/{name}.mp4", speed=speed)
    Path("real/text.mp4").write_text("hello")
    net = network(Path("net.pt"))
    words = ("--fvd-network", net, "--reference", "real", "--fvd-frames", 5, "--metrics", "")
    found = lingen_here("metrics", "real/a.mp4", "real/b.mp4", *words, "--json")
    assert found.returncode == 0, found.stderr
    *_, of_all = objects(found.stdout)
    assert of_all["fvd_clips"] == [8, 8]
    assert of_all["fvd"] == pytest.approx(0, abs=1e-6)
    assert "not in the reference: real/text.mp4" in found.stderr
    with VideoWriter(Path("white.mp4"), width=64, height=64, fps=Fraction(8)) as writer:
        writer.write(np.full((12, 64, 64, 3), 255, np.uint8))
    found = lingen_here("metrics", "white.mp4", *words)
    assert found.returncode == 0, found.stderr
    (row,) = [line for line in found.stdout.splitlines() if line.startswith("fvd")]
    assert float(row.split()[1]) > 1 and "(2 clips against 8)" in row
    short = ("--fvd-network", net, "--reference", "white.mp4")
    fails(lingen_here("metrics", "white.mp4", *short), 65, "two clips of 16 frames")


def test_prompts(
    lingen_here: RunHere, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, with_recipe: Any
) -> None:
    """Given, of the recipe, beside the video, and none."""
    from lingen_cli.datasets.measured_video import prompt_of

    asked: list[str | None] = []
    plain = written("plain.mp4", 4)
    beside = written("beside.mp4", 4)
    Path("beside.txt").write_text("a dog\n")
    made = with_recipe(plain, Path("made.mp4"), {"prompt": "a red ball", "edits": []})
    edits = [{"prompt": "a red ball"}, {"prompt": "a blue star"}]
    edited = with_recipe(plain, Path("edited.mp4"), {"prompt": "a red ball", "edits": edits})
    for video in (plain, beside, made, edited):
        asked.append(prompt_of(video, None))
    assert asked == [None, "a dog", "a red ball", None]
    assert prompt_of(edited, "a cat") == "a cat"


def test_every_frame_comes_once_in_one_size(lingen_here: RunHere) -> None:
    found = list(every_frame(written("video.mp4", 7)))
    assert [one.shape for one in found] == [(64, 64, 3)] * 7
    assert [int(one[30, 10:50, 0].argmax()) for one in found[::3]] != [0, 0, 0]
    subprocess.run(
        "ffmpeg -v error -f lavfi -i color=red:s=64x48:d=1:r=4 -f mpegts a.ts "
        "&& ffmpeg -v error -f lavfi -i color=blue:s=128x96:d=1:r=4 -f mpegts b.ts "
        "&& cat a.ts b.ts > both.ts",
        shell=True,
        check=True,
    )
    found = list(every_frame(Path("both.ts")))
    assert {one.shape for one in found} == {(48, 64, 3)} and len(found) >= 6
    assert found[0][20, 20].argmax() == 0 and found[-1][20, 20].argmax() == 2


def test_names_are_completed(clean_environment: Path) -> None:
    from lingen_cli.usage.completion import completed

    complete = completed("metrics")
    assert complete is not None
    assert complete("temp") == ["temporal_flickering"]
    assert complete("sharpness,col") == ["sharpness,color_drift"]


def test_help_needs_no_torch(clean_environment: Path) -> None:
    code = (
        "import sys; from lingen_cli.app import run; run(['metrics', '--help']); "
        "print('torch' in sys.modules, 'av' in sys.modules)"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.endswith("False False\n")
