"""LoRAs, shifts, step caches and negative prompts of models that diffusers runs."""

import functools
import importlib.util
import json
import subprocess
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.cli.protocols import Collect, Fails, RunHere

pytestmark = [
    pytest.mark.skipif(
        importlib.util.find_spec("diffusers") is None,
        reason="needs diffusers: pip install 'lingen[hub]'",
    ),
    # What diffusers 0.42 does with numpy 2 in its schedulers warns of later versions.
    pytest.mark.filterwarnings("ignore:__array:DeprecationWarning"),
]
with_peft = pytest.mark.skipif(
    importlib.util.find_spec("peft") is None, reason="needs peft: pip install 'lingen[hub]'"
)
WISH = ("--size", "32", "--frames", "5", "--steps", "3", "--seed", "3")


@pytest.fixture
def generate(
    hub: RunHere, twin: Callable[[str], Path]
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return a function that makes a video with a tiny Wan, under a name."""
    start = ("generate", "a red cat", "--model", str(twin("wan")), *WISH)
    return lambda name, *more: hub(*start, *more, "-o", name)


def lora(
    name: str | Path, *, layer: str = "blocks.0.attn1.to_q", width: int = 24, seed: int = 1
) -> str:
    """Write a LoRA of rank 2 on one layer."""
    import torch
    from safetensors.torch import save_file

    draw = torch.Generator().manual_seed(seed)
    tensors = {
        f"transformer.{layer}.lora_A.weight": torch.randn(2, width, generator=draw),
        f"transformer.{layer}.lora_B.weight": torch.randn(width, 2, generator=draw),
    }
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, name)
    return str(name)


def recipe_of(name: object) -> Any:
    from lingen_cli.requests.recipe import recipe_from_video

    return recipe_from_video(Path(str(name)))


def hashes(*names: object) -> list[Any]:
    return [recipe_of(name).frame_hashes for name in names]


@with_peft
def test_a_lora_is_that_of_diffusers(
    generate: Callable[..., subprocess.CompletedProcess[str]],
    hub: RunHere,
    twin: Callable[[str], Path],
    written: Collect,
    plain: Callable[[Any], np.ndarray],
) -> None:
    import diffusers
    import torch

    files = (lora("one.safetensors"), lora("two.safetensors", seed=2))
    with written() as frames:
        result = generate("v.mp4", "--lora", f"{files[0]}:0.8", "--lora", files[1])
    assert result.returncode == 0, result.stderr
    recipe = recipe_of("v.mp4")
    assert [(Path(one.name).name, one.scale) for one in recipe.loras] == [
        ("one.safetensors", 0.8),
        ("two.safetensors", 1.0),
    ]
    dtype = {"default": getattr(torch, recipe.dtype), "vae": torch.float32}
    pipe = diffusers.WanPipeline.from_pretrained(twin("wan"), dtype=dtype)
    with warnings.catch_warnings(action="ignore"):
        pipe.load_lora_weights(".", weight_name="one.safetensors", adapter_name="a")
        pipe.load_lora_weights(".", weight_name="two.safetensors", adapter_name="b")
    pipe.set_adapters(["a", "b"], [0.8, 1.0])
    output = pipe(
        "a red cat",
        negative_prompt=recipe.sampling.negative_prompt,
        num_frames=5,
        height=32,
        width=32,
        num_inference_steps=3,
        generator=torch.Generator().manual_seed(3),
    )
    assert np.array_equal(frames.all, plain(output))
    assert generate("plain.mp4").returncode == 0
    assert hashes("v.mp4") != hashes("plain.mp4")


@with_peft
def test_a_lora_belongs_to_the_video(
    generate: Callable[..., subprocess.CompletedProcess[str]],
    hub: RunHere,
    fails: Fails,
    twin: Callable[[str], Path],
) -> None:
    import hashlib

    file = lora("one.safetensors")
    assert generate("v.mp4", "--lora", file).returncode == 0
    (given,) = recipe_of("v.mp4").loras
    assert given.sha256 == hashlib.sha256(Path(file).read_bytes()).hexdigest()
    assert hub("rerun", "v.mp4", "-o", "again.mp4").returncode == 0
    assert Path("again.mp4").read_bytes() == Path("v.mp4").read_bytes()
    lora("one.safetensors", seed=9)
    fails(hub("rerun", "v.mp4", "-o", "w.mp4"), 65, "is not the LoRA that the video was made with")
    Path(file).unlink()
    fails(hub("rerun", "v.mp4", "-o", "w.mp4"), 66, "no such LoRA", "one.safetensors")
    assert not Path("w.mp4").exists()
    line = {"prompt": "a red cat", "model": str(twin("wan")), "size": "32", "frames": 5, "steps": 3}
    line |= {"seed": 3, "lora": [lora("one.safetensors")]}
    Path("jobs.jsonl").write_text(json.dumps(line) + "\n" + json.dumps(line | {"lora": []}) + "\n")
    assert hub("batch", "jobs.jsonl", "-o", "out").returncode == 0
    first, second = sorted(Path("out").glob("*.mp4"))
    assert hashes(first) == hashes("v.mp4") != hashes(second)


@with_peft
def test_a_lora_out_of_the_cache_of_huggingface_hub(
    generate: Callable[..., subprocess.CompletedProcess[str]], fails: Fails, tmp_path: Path
) -> None:
    fails(generate("v.mp4", "--lora", "me/style"), 69, "lingen models pull me/style")
    commit = "0123456789abcdef0123456789abcdef01234567"
    entry = tmp_path / "hf" / "hub" / "models--me--style"
    (entry / "refs").mkdir(parents=True)
    (entry / "refs" / "main").write_text(commit)
    lora(entry / "snapshots" / commit / "a.safetensors")
    assert generate("v.mp4", "--lora", "me/style:0.5").returncode == 0
    (given,) = recipe_of("v.mp4").loras
    assert (given.name, given.scale) == (f"me/style@{commit}/a.safetensors", 0.5)
    lora(entry / "snapshots" / commit / "b.safetensors")
    fails(generate("w.mp4", "--lora", "me/style"), 65, "there are: a.safetensors, b.safetensors")
    assert generate("w.mp4", "--lora", "me/style/a.safetensors:0.5").returncode == 0
    assert hashes("w.mp4") == hashes("v.mp4")


@with_peft
def test_loras_that_cannot_be_used(
    generate: Callable[..., subprocess.CompletedProcess[str]],
    hub: RunHere,
    fails: Fails,
    twin: Callable[[str], Path],
) -> None:
    deep = lora("deep.safetensors", layer="blocks.7.attn1.to_q")
    fails(generate("v.mp4", "--lora", deep), 65, "of another model", "blocks.7.attn1.to_q")
    wide = lora("wide.safetensors", width=40)
    fails(generate("v.mp4", "--lora", wide), 65, "wide.safetensors is no LoRA that WanPipeline")
    Path("cut.safetensors").write_bytes(Path(deep).read_bytes()[:-40])
    fails(generate("v.mp4", "--lora", "cut.safetensors"), 65, "cut.safetensors")
    Path("old.bin").write_bytes(b"x")
    fails(generate("v.mp4", "--lora", "old.bin"), 65, "only .safetensors files are")
    fails(generate("v.mp4", "--lora", "none.safetensors"), 66, "no such LoRA")
    fails(generate("v.mp4", "--lora", f"{deep}:1e9"), 2, "a scale is a number from -100 to 100")
    fails(hub("generate", "a red ball", "--lora", deep), 65, "no LoRA that lingen train wrote")
    assert not list(Path().glob("*.mp4"))


def test_a_shift_is_that_of_the_scheduler(
    generate: Callable[..., subprocess.CompletedProcess[str]],
    hub: RunHere,
    fails: Fails,
    twin: Callable[[str], Path],
    written: Collect,
    plain: Callable[[Any], np.ndarray],
) -> None:
    import diffusers
    import torch

    with written() as frames:
        assert generate("v.mp4", "--shift", "9").returncode == 0
    recipe = recipe_of("v.mp4")
    assert recipe.sampling.shift == 9
    dtype = {"default": getattr(torch, recipe.dtype), "vae": torch.float32}
    pipe = diffusers.WanPipeline.from_pretrained(twin("wan"), dtype=dtype)
    pipe.scheduler = type(pipe.scheduler).from_config(pipe.scheduler.config, flow_shift=9.0)
    output = pipe(
        "a red cat",
        negative_prompt=recipe.sampling.negative_prompt,
        num_frames=5,
        height=32,
        width=32,
        num_inference_steps=3,
        generator=torch.Generator().manual_seed(3),
    )
    assert np.array_equal(frames.all, plain(output))
    assert generate("own.mp4").returncode == 0
    assert hashes("own.mp4") != hashes("v.mp4")
    fails(hub("generate", "a red ball", "--shift", "3"), 2, "leave out --shift")
    fails(hub("generate", "a cat", "--model", "helios-14b", "--shift", "3"), 2, "leave out --shift")


def test_the_defaults_of_authors(
    hub: RunHere,
    generate: Callable[..., subprocess.CompletedProcess[str]],
    twin: Callable[[str], Path],
) -> None:
    from lingen_plugins.hub import register_hub_models
    from lingen_plugins.hub.found import describe

    records = {one.name: one for one in register_hub_models()}
    assert records["skyreels-v2-1.3b"].shift == 8.0
    wan = records["wan-1.3b"].negative_prompt
    assert wan.startswith("Bright tones, overexposed") and wan.endswith("walking backwards")
    assert records["helios-14b"].negative_prompt == wan
    found = describe("here", twin("wan"))
    assert (found.negative_prompt, found.fps, found.guidance) == (wan, 16, 5.0)
    kandinsky = describe("here", twin("kandinsky-5"))
    assert kandinsky.negative_prompt.startswith("Static, 2D cartoon") and kandinsky.fps == 24
    assert generate("v.mp4").returncode == 0 and generate("w.mp4", "--negative", "").returncode == 0
    assert recipe_of("v.mp4").sampling.negative_prompt == wan
    assert recipe_of("w.mp4").sampling.negative_prompt == ""
    assert hashes("v.mp4") != hashes("w.mp4")


def test_guidance_1_asks_once_a_step(
    generate: Callable[..., subprocess.CompletedProcess[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    import diffusers

    asked: list[int] = []
    forward = diffusers.WanTransformer3DModel.forward

    def counted(self: Any, *given: Any, **named: Any) -> Any:
        asked.append(1)
        return forward(self, *given, **named)

    monkeypatch.setattr(diffusers.WanTransformer3DModel, "forward", counted)
    for guidance, count in (("5", 6), ("1", 3)):
        asked.clear()
        assert generate(f"{guidance}.mp4", "--guidance", guidance).returncode == 0
        assert len(asked) == count


def test_a_step_cache_skips_blocks(
    generate: Callable[..., subprocess.CompletedProcess[str]],
    fails: Fails,
    hub: RunHere,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from diffusers.models.transformers.transformer_wan import WanTransformerBlock

    asked, forward = [], WanTransformerBlock.forward

    @functools.wraps(forward)  # its signature is read
    def counted(self: Any, *given: Any, **named: Any) -> Any:
        asked.append(1)
        return forward(self, *given, **named)

    monkeypatch.setattr(WanTransformerBlock, "forward", counted)
    counts = []
    for threshold in ("0", "10"):
        asked.clear()
        result = generate(f"{threshold}.mp4", "--step-cache", threshold)
        assert result.returncode == 0, result.stderr
        counts.append(len(asked))
    assert counts[1] < counts[0]
    assert hashes("0.mp4") != hashes("10.mp4")
    assert generate("again.mp4").returncode == 0  # nothing of the cache is left
    assert hashes("again.mp4") == hashes("0.mp4")
    fails(hub("generate", "a cat", "--model", "sana-video-2b", "--step-cache", "1"), 2, "leave out")
