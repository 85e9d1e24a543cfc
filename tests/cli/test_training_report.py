"""The report of a training, its samples, and its numbers in the files of other tools."""

from __future__ import annotations

import json
import re
import shutil
from contextlib import chdir
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from lingen_models.checkpoints.safetensors import load_tensors
from lingen_training.optimization.stage_logs import read_log
from tests.cli import forked
from tests.cli.browser import browsed
from tests.cli.protocols import Fails, RunHere
from tests.tiny_recipe import STAGE, tiny_recipe

PROMPT = 'a <b>red</b> & "ball" </script><script>document.title="taken over"</script>'
SAMPLED = f"sample_every = 20\nsample_prompts = ['''{PROMPT}''', 'a star']\nbatches = 2"
RECIPE = tiny_recipe(STAGE.format(more=SAMPLED).replace("steps = 2", "steps = 40", 1))


def data_of(page: Path) -> Any:
    text = page.read_text(encoding="utf-8")
    (data,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', text)
    return json.loads(data)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a training of seconds, by two processes, that wrote for TensorBoard, too."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "tiny.toml").write_text(RECIPE, encoding="utf-8")
    options = ("--processes", 2, "--log-to", "tensorboard", "--device", "cpu")
    with chdir(folder):
        done = forked.run("train", "tiny.toml", "-o", "out", *options)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "out\n"
    return folder / "out"


def test_the_report_has_what_was_logged(trained: Path) -> None:
    text = (trained / "report.html").read_text(encoding="utf-8")
    assert not re.search(r"(src|href)=.?https?:", text)
    data = data_of(trained / "report.html")
    codec, one = data["stages"]
    assert (codec["name"], codec["step"], codec["finished"]) == ("autoencoder", 1, True)
    assert (one["name"], one["step"], one["steps"], one["finished"]) == ("one", 40, 40, True)
    log = read_log(trained / "one.jsonl")
    assert one["log"]["step"] == [10, 20, 30, 40]
    for name in ("loss", "norm", "learning_rate", "tokens", "tokens_per_second", "frame/0"):
        assert one["log"][name] == [record[name] for record in log]
    assert any(name.startswith("noise/") for name in one["log"])
    assert json.loads(data["recipe"])["name"] == "tiny"
    (session,) = data["sessions"]
    assert session["result"] == "done" and "torch" in session["machine"]


def test_samples_are_videos_beside_the_report(trained: Path) -> None:
    from lingen_cli.media.probe import video_info

    names = sorted(path.name for path in (trained / "samples").iterdir())
    assert names == [f"one-{step:06d}-{number}.mp4" for step in (20, 40) for number in (1, 2)]
    info = video_info(trained / "samples" / names[0])
    assert (info.width, info.height, info.frames) == (64, 64, 9)
    (_, one) = data_of(trained / "report.html")["stages"]
    assert [column["step"] for column in one["samples"]] == [20, 40]
    for column in one["samples"]:
        assert [clip["prompt"] for clip in column["clips"]] == [PROMPT, "a star"]
        assert all(clip["url"].startswith("data:video/mp4;base64,") for clip in column["clips"])


def test_a_browser_draws_curves_and_plays_samples(trained: Path) -> None:
    script = """
        const svg = document.querySelector("#stage-one svg"), box = svg.getBoundingClientRect();
        svg.dispatchEvent(new PointerEvent("pointermove", { clientX: box.left + 1 }));
        const told = svg.parentNode.querySelector(".legend b").textContent;
        const where = svg.parentNode.querySelector("figcaption span").textContent;
        const video = document.querySelector("video");
        const tell = what => document.title += ["", told, where, what, video.videoWidth].join("|");
        video.addEventListener("loadeddata", () => tell("plays"));
        video.addEventListener("error", () => tell("fails"));
    """
    page, main = browsed(trained / "report.html", script=script)
    heads = re.findall(r"<figcaption>([^<]*?) <span", main)
    curves = ["Loss", "Loss by noise level", "Loss by latent frame", "Learning rate"]
    assert heads[-6:] == [*curves, "Gradient norm", "Tokens per second"]
    assert main.count("<svg") == len(heads)
    assert main.count("<video") == 4
    assert "<b>red</b>" not in main and "one: done, 40 of 40 steps" in main
    assert main.count('aria-label="Loss over step"') == 2
    title, told, where, what, width = page.split("|")
    (_, one) = data_of(trained / "report.html")["stages"]
    assert float(told) == pytest.approx(one["log"]["loss"][0], rel=1e-3)
    assert (title, where, what, width) == ("Training tiny", "at step 10", "plays", "64")


def test_the_axis_stands_in_the_address(trained: Path) -> None:
    _, main = browsed(trained / "report.html", "#axis=tokens&log=1")
    assert "Loss over tokens" in main
    assert "Loss over step" in main  # the autoencoder has no tokens


def events_of(folder: Path) -> Any:
    """The events of the stage, as TensorBoard reads them."""
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    return reader.EventAccumulator(str(folder / "tensorboard" / "one")).Reload()


def test_tensorboard_reads_the_same_numbers(trained: Path) -> None:
    log, events = read_log(trained / "one.jsonl"), events_of(trained)
    named = {name for record in log for name in record} - {"step"}
    assert set(events.Tags()["scalars"]) == named
    for name in named:
        expected = [(record["step"], record[name]) for record in log if name in record]
        assert [(one.step, one.value) for one in events.Scalars(name)] == [
            (step, pytest.approx(value)) for step, value in expected
        ]


def test_a_training_that_is_broken_off_has_a_report(
    trained: Path, lingen_here: RunHere, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lingen_training.optimization import stage_logs

    recipe, out = tmp_path / "tiny.toml", tmp_path / "out"
    recipe.write_text(RECIPE, encoding="utf-8")
    out.mkdir()
    shutil.copy(trained / "autoencoder.safetensors", out)
    (out / "latents").symlink_to(trained / "latents")

    def append(path: Path, record: Any) -> None:
        if record["step"] == 30:
            raise KeyboardInterrupt
        kept(path, record)

    kept = stage_logs.append
    arguments = ("train", recipe, "-o", out, "--processes", "1", "--log-to", "tensorboard")
    with monkeypatch.context() as patched:
        patched.setattr("lingen_training.optimization.loop.append", append)
        assert lingen_here(*arguments).returncode == 130
    data = data_of(out / "report.html")
    (_, one) = data["stages"]
    assert (one["step"], one["finished"]) == (20, False)
    assert [column["step"] for column in one["samples"]] == [20]
    assert data["sessions"][0]["result"] == "interrupted"
    assert "one: not finished, 20 of 40 steps" in browsed(out / "report.html")[1]
    assert lingen_here(*arguments).returncode == 0
    data = data_of(out / "report.html")
    assert [session["result"] for session in data["sessions"]] == ["interrupted", "done"]
    assert data["stages"][1]["finished"] and len(data["stages"][1]["samples"]) == 2
    assert [one.step for one in events_of(out).Scalars("loss")] == [10, 20, 30, 40]


def test_a_report_is_made_anew(trained: Path, lingen_here: RunHere, tmp_path: Path) -> None:
    folder = tmp_path / "older"
    shutil.copytree(trained, folder, ignore=shutil.ignore_patterns("latents", "report.html"))
    (folder / "sessions.json").unlink()
    (folder / "samples" / "one-000020-2.mp4").write_bytes(b"no video")
    old = [{"step": step, "loss": 1.0, "seconds": step} for step in range(1, 4001)]
    (folder / "one.jsonl").write_text("\n".join(map(json.dumps, old)) + '\n{"st')
    done = lingen_here("report", folder)
    assert (done.returncode, done.stdout) == (0, f"{folder / 'report.html'}\n")
    data = data_of(folder / "report.html")
    (_, one) = data["stages"]
    assert (data["sessions"], one["step"]) == ([], 4000)
    assert len(one["log"]["step"]) == 1334 and one["log"]["step"][0] == 3
    assert one["samples"][0]["clips"][1]["prompt"] == ""
    assert browsed(folder / "report.html")[0] == "Training tiny"


def test_folders_without_a_training_are_refused(lingen_here: RunHere, fails: Fails) -> None:
    fails(lingen_here("report", "nowhere"), 66, "no training in nowhere")
    Path("recipe.json").write_text("{}")
    fails(lingen_here("report", "."), 65, "not the recipe of a training: recipe.json")


def test_many_samples_are_thinned_out() -> None:
    from lingen_cli.gallery.training_report import _spread

    assert _spread([1, 2, 3], 12) == [1, 2, 3]
    assert _spread(range(0, 1000, 10), 12) == [
        *(0, 90, 180, 270, 360, 450, 540, 630, 720, 810, 900, 990),
    ]


def test_unknown_tools_and_missing_packages(
    lingen_here: RunHere, fails: Fails, monkeypatch: pytest.MonkeyPatch
) -> None:
    unknown = lingen_here("train", "x.toml", "--log-to", "tensorbord")
    fails(unknown, 2, "unknown tool 'tensorbord'", "tensorboard")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    told = "--log-to tensorboard needs tensorboard: pip install 'lingen[tensorboard]'"
    fails(lingen_here("train", "x.toml", "--log-to", "tensorboard"), 69, told)


@pytest.mark.skipif(find_spec("wandb") is not None, reason="wandb is installed")
def test_a_folder_of_runs_is_not_taken_for_the_package(
    lingen_here: RunHere, fails: Fails, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("wandb").mkdir()
    monkeypatch.syspath_prepend(str(Path.cwd()))
    failed = lingen_here("train", "x.toml", "--log-to", "wandb")
    fails(failed, 69, "--log-to wandb needs wandb: pip install 'lingen[wandb]'")


WANDB = """
import json, os
from pathlib import Path

class Run:
    def __init__(self, **given):
        self.file = Path(given["dir"]) / "told.jsonl"
        self._tell("init", {**given, "config": given["config"]["name"]})
    def _tell(self, what, value):
        with self.file.open("a") as file:
            file.write(json.dumps([what, value]) + "\\n")
    def define_metric(self, name, step_metric=None):
        self._tell("metric", [name, step_metric])
    def log(self, values):
        self._tell("log", values)
    def finish(self, exit_code):
        self._tell("finish", [exit_code, os.environ.get("WANDB_ERROR_REPORTING")])

init = Run
"""


def test_wandb_is_told_the_same_numbers_offline(
    trained: Path, clean_environment: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Through a module of that name that writes down what it is told."""
    (tmp_path / "wandb.py").write_text(WANDB, encoding="utf-8")
    recipe, out = tmp_path / "tiny.toml", tmp_path / "mine"
    recipe.write_text(RECIPE, encoding="utf-8")
    out.mkdir()
    shutil.copy(trained / "autoencoder.safetensors", out)
    (out / "latents").symlink_to(trained / "latents")
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    arguments = ("train", recipe, "-o", out, "--processes", "1", "--log-to", "wandb")
    done = forked.run(*arguments)
    assert done.returncode == 0, done.stderr
    told = [json.loads(line) for line in (out / "told.jsonl").read_text().splitlines()]
    (begun,) = [value for what, value in told if what == "init"]
    assert (begun["mode"], begun["project"], begun["name"]) == ("offline", "lingen", "mine")
    assert (begun["dir"], begun["config"]) == (str(out), "tiny")
    assert begun["id"] == (out / "wandb" / "run-id").read_text()
    assert ["metric", ["one/*", "one/step"]] in told
    logged = [value for what, value in told if what == "log"]
    log = read_log(out / "one.jsonl")
    assert logged == [{f"one/{key}": value for key, value in record.items()} for record in log]
    assert told[-1] == ["finish", [0, "false"]]


def test_a_training_that_diverges_says_what_to_do(
    trained: Path, lingen_here: RunHere, fails: Fails, tmp_path: Path
) -> None:
    """One line; what was saved stays; with a lower rate it goes on from there."""
    recipe, out = tmp_path / "tiny.toml", tmp_path / "out"
    text = re.sub(r"sample_.*\n", "", RECIPE)
    out.mkdir()
    shutil.copy(trained / "autoencoder.safetensors", out)
    (out / "latents").symlink_to(trained / "latents")
    arguments = ("train", recipe, "-o", out, "--device", "cpu", "--processes")
    recipe.write_text(text.replace("steps = 40", "steps = 5"), encoding="utf-8")
    assert lingen_here(*arguments, "1").returncode == 0
    (out / "one.averaged.safetensors").unlink()
    before = (out / "one.state.safetensors").read_bytes()
    recipe.write_text(text.replace("learning_rate = 1e-2", "learning_rate = 1e38"), "utf-8")
    told = ("one: no finite gradient in steps ", "lower its learning_rate in", "from step 5")
    fails(forked.run(*arguments, "2"), 65, *told)
    assert (out / "one.state.safetensors").read_bytes() == before
    assert not (out / "one.averaged.safetensors").exists()
    assert "one: no finite gradient" in data_of(out / "report.html")["sessions"][-1]["result"]
    recipe.write_text(text.replace("steps = 40", "steps = 12"), encoding="utf-8")
    done = lingen_here(*arguments, "1")
    assert done.returncode == 0 and "going on at step 5 of 12" in done.stderr
    tensors, _ = load_tensors(out / "one.averaged.safetensors")
    assert all(value.isfinite().all() for value in tensors.values())
