"""`lingen batch`: many videos, each made once, whatever stops it."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.cli.forked import Forked
from tests.cli.protocols import Fails, RunHere

SMALL = {"frames": 9, "steps": 2, "size": 64}


@pytest.fixture
def jobs(clean_environment: Path, tiny_weights: Path) -> Callable[..., str]:
    """Return a function that writes a list of jobs of a tiny model."""

    def write(*lines: Mapping[str, Any], name: str = "jobs.jsonl") -> str:
        common = SMALL | {"weights": str(tiny_weights)}
        text = "".join(json.dumps({**common, **line}) + "\n" for line in lines)
        Path(name).write_text(text, encoding="utf-8")
        return name

    return write


def names(folder: str) -> list[str]:
    return sorted(path.name for path in Path(folder).iterdir())


def events_of(result: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_every_line_becomes_a_video(jobs: Callable[..., str], lingen_here: RunHere) -> None:
    path = jobs({"prompt": "a red ball"}, {"prompt": "a blue star", "seed": 3})
    result = lingen_here("batch", path)
    assert result.returncode == 0, result.stderr
    made = ["0001-a-red-ball.mp4", "0002-a-blue-star.mp4"]
    assert names("jobs") == made
    assert result.stdout.splitlines() == [f"jobs/{name}" for name in made]
    assert "2 made, 0 there already, 0 failed" in result.stderr
    recipe = json.loads(lingen_here("show", "jobs/0002-a-blue-star.mp4", "--json").stdout)["recipe"]
    sampling = recipe["sampling"]
    assert (recipe["prompt"], sampling["seed"], sampling["steps"]) == ("a blue star", 3, 2)


def test_again_it_makes_what_is_missing(jobs: Callable[..., str], lingen_here: RunHere) -> None:
    path = jobs({"prompt": "a red ball"}, {"prompt": "a blue star"}, {"prompt": "a heart"})
    assert lingen_here("batch", path, "-o", "out").returncode == 0
    before = {name: (Path("out") / name).read_bytes() for name in names("out")}
    (Path("out") / "0002-a-blue-star.mp4").unlink()
    again = lingen_here("batch", path, "-o", "out", "--json")
    assert again.returncode == 0, again.stderr
    status = [event["status"] for event in events_of(again) if event["event"] == "job"]
    assert status == ["skipped", "done", "skipped"]
    end = events_of(again)[-1]
    assert (end["done"], end["skipped"], end["failed"], end["code"]) == (1, 2, 0, 0)
    assert names("out") == sorted(before)
    assert (Path("out") / "0001-a-red-ball.mp4").read_bytes() == before["0001-a-red-ball.mp4"]


def test_a_gallery_of_the_videos_is_written(jobs: Callable[..., str], lingen_here: RunHere) -> None:
    path = jobs({"prompt": "a red ball"}, {"prompt": "a heart"})
    for _ in range(2):  # the second time it replaces its own
        assert lingen_here("batch", path, "--gallery").returncode == 0
    page = (Path("jobs") / "gallery.html").read_text(encoding="utf-8")
    assert "0001-a-red-ball.mp4" in page and "0002-a-heart.mp4" in page
    assert names("jobs") == ["0001-a-red-ball.mp4", "0002-a-heart.mp4", "gallery.html"]


def test_the_model_is_read_once(
    jobs: Callable[..., str], lingen_here: RunHere, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lingen_cli.zoo import load_model as load

    read = load.load_model
    seen = []

    def counted(*given: Any) -> Any:
        seen.append(given)
        return read(*given)

    monkeypatch.setattr(load, "load_model", counted)
    path = jobs(*({"prompt": f"ball {number}"} for number in range(3)))
    assert lingen_here("batch", path).returncode == 0
    assert len(seen) == 1


def test_bad_lines_are_all_named_before_anything_is_made(
    jobs: Callable[..., str], lingen_here: RunHere, fails: Fails
) -> None:
    path = jobs(
        {"prompt": "a red ball"},
        {"prompt": ""},
        {"prompt": "a", "secnds": 3},
        {"prompt": "a", "steps": "many"},
        {"prompt": "a", "frames": -1},
        {"command": "explode"},
        {"command": "extend", "video": "none.mp4", "size": None, "frames": None},
        {"prompt": "a", "output": "../a.mp4"},
        {"prompt": "a", "output": "0001-a-red-ball"},
        {"prompt": "a", "json": True},
        {"prompt": "a", "dry_run": True},
        {},
    )
    result = lingen_here("batch", path)
    fails(result, 65, "11 of 12 lines cannot be made; --keep-going")
    told = [line for line in result.stderr.splitlines() if line.startswith("jobs.jsonl:")]
    assert [line.split(":")[1] for line in told] == [str(number) for number in range(2, 13)]
    for line, part in zip(
        told,
        (
            "prompt",
            "unknown key 'secnds'; did you mean 'seconds'?",
            "--steps",
            "frames",
            "unknown command 'explode'",
            "no such file: none.mp4",
            "outside jobs",
            "is that of line 1 too",
            "unknown key 'json'",
            "unknown key 'dry_run'",
            "PROMPT",
        ),
        strict=True,
    ):
        assert part in line
    assert not Path("jobs").exists()


def test_the_good_lines_are_made_with_keep_going(
    jobs: Callable[..., str], lingen_here: RunHere, fails: Fails
) -> None:
    path = jobs({"prompt": "a red ball"}, {"prompt": ""}, {"prompt": "a heart"})
    check = lingen_here("batch", path, "--check", "--keep-going")
    fails(check, 1, "1 of 3 lines cannot be made")
    assert not Path("jobs").exists()
    result = lingen_here("batch", path, "--keep-going")
    assert result.returncode == 1
    assert "error: 1 of 3 jobs failed" in result.stderr
    assert names("jobs") == ["0001-a-red-ball.mp4", "0003-a-heart.mp4"]


def test_a_job_that_fails_does_not_stop_the_others(
    jobs: Callable[..., str], lingen_here: RunHere, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lingen_cli.generation import encode

    encode_video = encode.encode_video
    seen = []

    def sometimes(job: Any, *rest: Any) -> Any:
        seen.append(job.timeline.sampled[0].prompt)
        if "star" in job.timeline.sampled[0].prompt and seen.count("a blue star") < 3:
            raise RuntimeError("it broke")
        return encode_video(job, *rest)

    monkeypatch.setattr(encode, "encode_video", sometimes)
    path = jobs({"prompt": "a blue star"}, {"prompt": "a heart"})
    result = lingen_here("batch", path, "--retry", "1")
    assert result.returncode == 1
    assert "jobs.jsonl:1: exit code 70: internal error: RuntimeError: it broke" in result.stderr
    assert seen == ["a blue star", "a blue star", "a heart"]
    assert result.stdout == "jobs/0002-a-heart.mp4\n"
    again = lingen_here("batch", path)
    assert again.returncode == 0, again.stderr
    assert "1 made, 1 there already, 0 failed" in again.stderr


def test_names_and_shards(jobs: Callable[..., str], lingen_here: RunHere, fails: Fails) -> None:
    path = jobs(*({"prompt": "a/../b", "seed": 5, "id": f"No. {number}"} for number in range(5)))
    template = "{id}_{seed}-{prompt}"
    assert lingen_here("batch", path, "--name", template, "--shard", "2/2").returncode == 0
    assert names("jobs") == ["no-1_5-a-b.mp4", "no-3_5-a-b.mp4"]
    fails(lingen_here("batch", path, "--name", "{prompt.__class__}"), 2, "--name knows index")
    fails(lingen_here("batch", path, "--shard", "3/2"), 2, "--shard must be like 1/4")
    same = lingen_here("batch", path, "--name", "all")
    assert "is that of line 1 too" in same.stderr


def test_an_output_of_something_else_is_never_touched(
    jobs: Callable[..., str], lingen_here: RunHere
) -> None:
    path = jobs({"prompt": "a red ball"})
    Path("jobs").mkdir()
    other = Path("jobs/0001-a-red-ball.mp4")
    other.write_bytes(b"mine")
    result = lingen_here("batch", path)
    assert result.returncode == 1
    assert "exit code 73: output already exists" in result.stderr
    assert other.read_bytes() == b"mine"


def test_videos_are_extended_too(
    jobs: Callable[..., str], lingen_here: RunHere, tiny_weights: Path
) -> None:
    made = lingen_here(
        *("generate", "a red ball", "--frames", 9, "--steps", 2, "--size", 64, "--seed", 1),
        *("--weights", tiny_weights, "-o", "a.mp4"),
    )
    assert made.returncode == 0, made.stderr
    none = {"frames": None, "size": None}
    path = jobs(
        {"command": "extend", "video": "a.mp4", "seconds": 1, **none},
        {"command": "retake", "video": "a.mp4", "from": "0.2s", "to": 0.4, "seed": 2, **none},
    )
    result = lingen_here("batch", path, "--name", "{index}-{command}")
    assert result.returncode == 0, result.stderr
    assert names("jobs") == ["0001-extend.mp4", "0002-retake.mp4"]
    assert "2 there already" in lingen_here("batch", path, "--name", "{index}-{command}").stderr


def test_a_killed_batch_goes_on(
    clean_environment: Path,
    jobs: Callable[..., str],
    lingen_here: RunHere,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LINGEN_JOURNAL_SECONDS", "0")
    path = jobs(*({"prompt": f"ball {number}", "steps": 30} for number in range(6)))
    for done in (1, 3):
        finished: int = done if done == 1 else 2
        with Forked("batch", path, "--json") as process:
            for line in process.stdout:
                event = json.loads(line)
                if event["event"] == "job" and event["status"] == "done":
                    finished -= 1
                if not finished and event.get("phase") == "sample" and event["done"] > 3:
                    break
            process.send_signal(signal.SIGKILL)
        assert len(names("jobs")) == done + 1  # and the work folder of the one that was stopped
    result = lingen_here("batch", path, "--json")
    assert result.returncode == 0, result.stderr
    events = events_of(result)
    assert [e["status"] for e in events if e["event"] == "job"] == ["skipped"] * 3 + ["done"] * 3
    assert sum(event["event"] == "resume" for event in events) == 1
    assert names("jobs") == [f"{n + 1:04}-ball-{n}.mp4" for n in range(6)]
