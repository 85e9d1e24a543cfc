"""Everything around the call, for pipelines that nobody registered: three of very different kinds.

One has two transformers, one begins with an image, one decodes whole and tells its decoder a time.
"""

import importlib.util
import itertools
import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch

from tests.cli.protocols import Fails, RunHere

pytestmark = [
    pytest.mark.skipif(
        importlib.util.find_spec("diffusers") is None,
        reason="needs diffusers: pip install 'lingen[hub]'",
    ),
    # What diffusers 0.42 does with numpy 2 in its schedulers warns of later versions.
    pytest.mark.filterwarnings("ignore:__array:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning"),
]
KINDS = ("wan-2.2-a14b", "cogvideox-i2v", "ltx-timed")
WISH = ("--size", "32", "--frames", "9", "--steps", "2", "--seed", "3")
_LEFT_BEHIND: list[Any] = []
"""What a forked process cannot free, since the threads that it waits for are not there."""


@pytest.fixture
def wish(hub: RunHere, twin: Callable[..., Any]) -> Callable[..., tuple[Any, ...]]:
    """Return a function from the name of a twin to the command that makes a video with it."""
    from lingen_cli.media.images.image_files import write_png

    pixels = np.random.default_rng(1).integers(0, 255, (32, 32, 3), np.uint8)
    write_png(Path("first.png"), pixels)

    def command(name: str, *more: object) -> tuple[Any, ...]:
        image = ("--image", "first.png") if name.endswith("i2v") else ()
        return ("generate", "a red cat", "--model", str(twin(name)), *WISH, *image, *more)

    return command


def killed(command: tuple[Any, ...], place: Any, name: str, *, at: int = 1) -> Any:
    """Run a command in a process of its own that kills itself where it calls a function, which is
    in a module or in a class, for the first time or a later one."""
    pid = os.fork()
    if pid == 0:
        torch.set_num_threads(1)  # its pool of threads is not that of the parent
        if shared := getattr(av.video.frame, "_thread_local", None):
            # Nor are those of PyAV 19 that all frames share, as diffusers scales them.
            _LEFT_BEHIND.append(getattr(shared, "reformatter", None))
            shared.reformatter = None
        call, calls = getattr(place, name), itertools.count(1)

        def dying(*given: Any, **named: Any) -> Any:
            if next(calls) == at:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*given, **named)

        setattr(place, name, dying)
        from lingen_cli.app import run

        os._exit(run([*command]))
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def recipe_of(name: str) -> Any:
    from lingen_cli.requests.recipe import recipe_from_video

    return recipe_from_video(Path(name))


@pytest.mark.parametrize("name", KINDS)
def test_it_is_killed_and_ends_in_the_same_bytes(
    hub: RunHere, wish: Callable[..., tuple[Any, ...]], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    import diffusers

    from lingen_cli.generation import encode

    assert hub(*wish(name, "-o", "whole.mp4")).returncode == 0
    monkeypatch.setenv("LINGEN_JOURNAL_SECONDS", "0")
    stopped = killed(wish(name, "-o", "v.mp4"), encode, "_write")
    assert stopped == -signal.SIGKILL and not Path("v.mp4").exists()
    monkeypatch.setattr(  # all is sampled: none of it is done again
        diffusers.DiffusionPipeline, "progress_bar", lambda *_, **__: pytest.fail("sampled again")
    )
    result = hub("resume", "v.mp4")
    assert result.returncode == 0, result.stderr
    assert Path("v.mp4").read_bytes() == Path("whole.mp4").read_bytes()
    assert not list(Path().glob(".*lingen*"))


@pytest.mark.parametrize("name", KINDS)
def test_it_is_made_again_and_verified(
    hub: RunHere,
    wish: Callable[..., tuple[Any, ...]],
    twin: Callable[..., Any],
    tmp_path: Path,
    name: str,
) -> None:
    assert hub(*wish(name, "-o", "v.mp4")).returncode == 0
    assert "made already" in hub(*wish(name, "-o", "v.mp4")).stderr
    assert hub("rerun", "v.mp4", "-o", "again.mp4").returncode == 0
    assert Path("again.mp4").read_bytes() == Path("v.mp4").read_bytes()
    assert hub("verify", "v.mp4").returncode == 0
    recipe = recipe_of("v.mp4")
    assert recipe.model == str(twin(name)) and recipe.weights_folder is None
    index = json.loads((twin(name) / "model_index.json").read_text())
    networks = {part for part, value in index.items() if isinstance(value, list) and value[0]}
    renamed = {"transformer": "denoiser", "vae": "autoencoder"}
    assert set(recipe.weights) == {renamed.get(part, part) for part in networks}
    moved = tmp_path / "moved"
    shutil.copytree(twin(name), moved)
    again = hub("rerun", "v.mp4", "--weights", moved, "-o", "moved.mp4")
    assert again.returncode == 0 and "not those the video" not in again.stderr
    assert hub("verify", "moved.mp4").returncode == 0


@pytest.mark.parametrize("name", KINDS)
def test_a_batch_makes_each_video_once(
    hub: RunHere,
    twin: Callable[..., Any],
    wish: Callable[..., tuple[Any, ...]],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    line = {"model": str(twin(name)), "size": "32", "frames": 9, "steps": 2}
    if name.endswith("i2v"):
        line["image"] = "first.png"
    lines = [line | {"prompt": "a red cat", "seed": 3}, line | {"prompt": "a blue ball", "seed": 4}]
    Path("jobs.jsonl").write_text("".join(json.dumps(one) + "\n" for one in lines))
    from lingen_plugins.hub import loading

    loaded, load = [], loading.load_pipeline

    def counted(*given: Any) -> Any:
        loaded.append(given)
        return load(*given)

    monkeypatch.setattr(loading, "load_pipeline", counted)
    assert hub("batch", "jobs.jsonl", "-o", "out").returncode == 0
    assert len(loaded) == 1
    again = hub("batch", "jobs.jsonl", "-o", "out")
    assert "0 made, 2 there already, 0 failed" in again.stderr
    first, second = sorted(Path("out").glob("*.mp4"))
    assert hub(*wish(name, "-o", "alone.mp4")).returncode == 0
    assert first.read_bytes() == Path("alone.mp4").read_bytes() != second.read_bytes()


def test_killed_while_it_samples_it_begins_again(
    hub: RunHere, wish: Callable[..., tuple[Any, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    from lingen_plugins.hub.by_signature import BySignature

    name = "wan-2.2-a14b"
    assert hub(*wish(name, "-o", "whole.mp4")).returncode == 0
    monkeypatch.setenv("LINGEN_JOURNAL_SECONDS", "0")
    assert killed(wish(name, "-o", "v.mp4"), BySignature, "_checked") == -signal.SIGKILL
    assert not Path("v.mp4").exists()
    assert hub(*wish(name, "-o", "v.mp4")).returncode == 0
    assert Path("v.mp4").read_bytes() == Path("whole.mp4").read_bytes()


def test_a_repository_of_the_hub(
    hub: RunHere,
    fails: Fails,
    wish: Callable[..., tuple[Any, ...]],
    twin: Callable[..., Any],
    tmp_path: Path,
) -> None:
    name = ("generate", "a red cat", "--model", "me/tiny-wan", *WISH)
    fails(
        hub(*name), 69, "me/tiny-wan at main is not in the cache", "lingen models pull me/tiny-wan"
    )
    fails(hub(*name[:3], "me/tiny-wan@v2", *WISH), 69, "me/tiny-wan at v2 is not in the cache")
    entry = tmp_path / "hf" / "hub" / "models--me--tiny-wan"
    commit = "0123456789abcdef0123456789abcdef01234567"
    (entry / "refs").mkdir(parents=True)
    (entry / "refs" / "main").write_text(commit)
    shutil.copytree(twin("wan-2.2-a14b"), entry / "snapshots" / commit)
    result = hub(*name, "-o", "v.mp4")
    assert result.returncode == 0, result.stderr
    assert recipe_of("v.mp4").model == f"me/tiny-wan@{commit}"
    (entry / "refs" / "main").write_text("f" * 40)  # the branch went on: the video stays
    assert hub("rerun", "v.mp4", "-o", "again.mp4").returncode == 0
    assert Path("again.mp4").read_bytes() == Path("v.mp4").read_bytes()


def test_a_file_beside_it_says_what_no_signature_says(
    hub: RunHere, fails: Fails, twin: Callable[..., Any], tmp_path: Path
) -> None:
    folder = tmp_path / "named"
    shutil.copytree(twin("wan-2.2-a14b"), folder)
    file = folder / "lingen-model.toml"
    common = 'fps = 24\nsize = "64x32"\nsteps = 2\nguidance = 3\nframes = 9\n'
    negative = 'negative_prompt = "a ball"\nlicense = "Tiny"\nlicense_url = "https://x.y/z"\n'
    file.write_text(common + negative + "[call]\nguidance_scale_2 = 1.5\n")
    command = ("generate", "a red cat", "--model", folder, "--seed", "3", "--frames", "9")
    fails(hub(*command), 69, "licensed under Tiny", "--accept-license")
    result = hub(*command, "--accept-license", "-o", "v.mp4")
    assert result.returncode == 0, result.stderr
    recipe = recipe_of("v.mp4")
    assert (recipe.width, recipe.height, recipe.fps) == (64, 32, "24")
    sampling = recipe.sampling
    assert (sampling.steps, sampling.guidance_scale) == (2, 3.0)
    assert sampling.negative_prompt == "a ball"
    assert hub(*command, "--negative", "", "-o", "w.mp4").returncode == 0
    assert recipe_of("w.mp4").sampling.negative_prompt == ""
    fails(hub(*command[:-1], "12"), 2, "at most 0.375 s")
    shown = hub("models", "show", folder).stdout
    assert "WanPipeline" in shown and "64x32, 24 fps" in shown and "Tiny" in shown
    file.write_text(common + negative + "[call]\nguidance_scale_2 = 4.5\n")
    again = hub("rerun", "v.mp4", "-o", "again.mp4")
    assert "the settings weights are not those" in again.stderr
    for text, said in (
        ("fps = 0", "fps cannot be 0"),
        ('fps = "fast"', "fps cannot be 'fast'"),
        ("speed = 3", "unknown key 'speed'; known: fps"),
        ('size = "big"', "size must be WIDTHxHEIGHT"),
        ("[call]\nwind = 3", "takes no 'wind'"),
        ("fps =", "lingen-model.toml: Invalid value"),
    ):
        file.write_text(text)
        fails(hub(*command), 65, said)


def test_a_settings_file_may_name_a_folder_inside_its_own(
    hub: RunHere, fails: Fails, twin: Callable[..., Any], tmp_path: Path
) -> None:
    shutil.copytree(twin("wan-2.2-a14b"), "weights")
    Path("lingen.toml").write_text('model = "./weights"\n')
    Path("deep").mkdir()
    os.chdir("deep")
    result = hub("generate", "a red cat", *WISH, "-o", "v.mp4")
    assert result.returncode == 0, result.stderr
    assert recipe_of("v.mp4").model == str(Path("../weights").resolve())
    Path("../lingen.toml").write_text(f'model = "{twin("wan-2.2-a14b")}"\n')
    fails(hub("generate", "a red cat", *WISH), 78, "model must lie inside the folder")


def test_what_it_cannot_do_is_said_before_it_is_loaded(
    hub: RunHere, fails: Fails, wish: Callable[..., tuple[Any, ...]], twin: Callable[..., Any]
) -> None:
    image, text = str(twin("cogvideox-i2v")), str(twin("wan-2.2-a14b"))
    start = ("generate", "a red cat", *WISH, "--model")
    fails(hub(*start, image), 2, "begins with an image: give one with --image")
    wish("wan-2.2-a14b")
    fails(hub(*start, text, "--image", "first.png"), 2, "takes no images: leave out --image")
    fails(
        hub(*start, image, "--image", "first.png", "--last-image", "first.png"), 2, "--last-image"
    )
    fails(hub(*start, text, "--sampler", "heun"), 2, "leave out --sampler")
    fails(hub(*start, text, "--size", "40"), 2, "multiple of 16")
    assert not list(Path().glob("*.mp4"))


def test_two_transformers_in_the_folder_of_a_family_that_has_one(
    hub: RunHere, twin: Callable[..., Any]
) -> None:
    wish = ("generate", "a red cat", *WISH, "--accept-license")
    folder = twin("wan-2.2-a14b")
    result = hub(*wish, "--model", "wan-1.3b", "--weights", folder, "-o", "v.mp4")
    assert result.returncode == 0, result.stderr
    assert hub(*wish, "--model", folder, "--guidance", "5", "-o", "w.mp4").returncode == 0
    hashes = [recipe_of(one).frame_hashes for one in ("v.mp4", "w.mp4")]
    assert hashes[0] == hashes[1] and "transformer_2" in recipe_of("v.mp4").weights


def test_folders_that_cannot_be_used(
    hub: RunHere, fails: Fails, twin: Callable[..., Any], tmp_path: Path
) -> None:
    start = ("generate", "a red cat", *WISH, "--model")
    fails(hub(*start, tmp_path / "nothing"), 66, "no such folder")
    fails(hub(*start, "./nothing"), 66, "no such folder")
    (tmp_path / "empty").mkdir()
    fails(hub(*start, tmp_path / "empty"), 66, "no model_index.json")
    (tmp_path / "empty" / "modular_model_index.json").write_text("{}")
    fails(hub(*start, tmp_path / "empty"), 65, "names no pipeline")
    folder = tmp_path / "copy"
    shutil.copytree(twin("wan-2.2-a14b"), folder)
    index = json.loads((folder / "model_index.json").read_text())
    for name, code, said in (
        ("AllegroPipeline", 65, "turns its images"),
        ("StableDiffusionPipeline", 65, "makes no video"),
        ("Nonsense", 65, "has no class Nonsense"),
        ("AutoencoderKLWan", 65, "is no pipeline"),
        ("LucyEditPipeline", 2, "give one with --video"),
    ):
        (folder / "model_index.json").write_text(json.dumps(index | {"_class_name": name}))
        fails(hub(*start, folder), code, said)
    (folder / "model_index.json").write_text(json.dumps(index))
    network = importlib.import_module("diffusers").WanTransformer3DModel.from_pretrained(
        folder / "transformer"
    )
    shutil.rmtree(folder / "transformer")
    network.save_pretrained(folder / "transformer", max_shard_size="20KB")
    shards = sorted((folder / "transformer").glob("*-of-*.safetensors"))
    assert len(shards) > 1
    shards[-1].rename(tmp_path / "shard")
    told = f"1 of {len(shards)} files are missing ({shards[-1].name}): download it again"
    fails(hub(*start, folder), 65, str(folder / "transformer"), told)
    (tmp_path / "shard").rename(shards[-1])
    second = folder / "transformer_2" / "diffusion_pytorch_model.safetensors"
    second.rename(second.with_suffix(".bin"))
    told = "only safetensors are read, not diffusion_pytorch_model.bin"
    fails(hub(*start, folder), 65, "transformer_2", told, "save_pretrained")
    second.with_suffix(".bin").unlink()
    fails(hub(*start, folder), 65, "transformer_2", "it holds no weights: download them again")
    shutil.rmtree(folder / "transformer_2")
    fails(hub(*start, folder), 66, "a part of the weights is missing", "transformer_2")
    assert not list(Path().iterdir())


def test_a_library_that_cannot_be_imported(
    hub: RunHere,
    fails: Fails,
    wish: Callable[..., tuple[Any, ...]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from lingen_plugins.hub import found, loading

    def broken(name: str) -> None:
        raise ImportError("No module named 'httpx'")

    found._describe.cache_clear()
    monkeypatch.setattr(loading, "import_module", broken)
    result = hub(*wish("wan-2.2-a14b"))
    fails(result, 69, "No module named 'httpx'", "pip install --upgrade 'lingen[hub]'")
