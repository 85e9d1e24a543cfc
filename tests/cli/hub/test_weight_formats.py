"""Weights in fewer bits: quantized while they are read, saved so, or out of a GGUF file."""

import hashlib
import importlib.util
import json
import shutil
import subprocess
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.cli.hub.test_fit import Card
from tests.cli.protocols import Collect, Fails, RunHere


def here(*packages: str) -> bool:
    return all(importlib.util.find_spec(one) is not None for one in packages)


pytestmark = [
    pytest.mark.skipif(not here("diffusers"), reason="needs diffusers: pip install 'lingen[hub]'"),
    # What diffusers 0.42 does with numpy 2 in its schedulers warns of later versions.
    pytest.mark.filterwarnings("ignore:__array:DeprecationWarning"),
]
with_torchao = pytest.mark.skipif(not here("torchao"), reason="needs torchao")
with_bitsandbytes = pytest.mark.skipif(not here("bitsandbytes"), reason="needs bitsandbytes")
with_gguf = pytest.mark.skipif(not here("gguf"), reason="needs gguf")
WISH = ("--size", "32", "--frames", "5", "--steps", "2", "--seed", "3")
WIDTH = 64
"""Of linear layers: blocks of 32 numbers share a scale in GGUF, of 64 in nf4."""

Make = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module", autouse=True)
def imported() -> Iterator[None]:
    """Import what warns of itself while it is imported."""
    with warnings.catch_warnings(action="ignore"):
        for package in ("torchao.quantization", "bitsandbytes", "gguf"):
            if here(package.split(".")[0]):
                importlib.import_module(package)
    yield


@pytest.fixture(scope="module")
def wide(wan_parts: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a Wan whose layers are wide enough for blocks of numbers."""
    return wan_of(WIDTH, wan_parts, tmp_path_factory.mktemp("wide"))


def wan_of(width: int, wan_parts: dict[str, Any], folder: Path) -> Path:
    """A folder in which a Wan was saved whose layers are so wide."""
    import torch
    from diffusers import WanPipeline, WanTransformer3DModel
    from transformers import UMT5Config, UMT5EncoderModel

    torch.manual_seed(5)
    network = WanTransformer3DModel(
        num_attention_heads=2,
        attention_head_dim=width // 2,
        in_channels=16,
        out_channels=16,
        text_dim=width,
        freq_dim=32,
        ffn_dim=2 * width,
        num_layers=2,
        rope_max_seq_len=32,
    )
    text = UMT5EncoderModel(
        UMT5Config(
            vocab_size=64,
            d_model=width,
            d_kv=32,
            d_ff=width,
            num_layers=1,
            num_heads=2,
            pad_token_id=0,
            eos_token_id=1,
        )
    )
    pipe: Any = WanPipeline(**wan_parts | {"transformer": network, "text_encoder": text})
    pipe.save_pretrained(folder)
    return folder


@pytest.fixture
def make(hub: RunHere, wide: Path) -> Make:
    """Return a function that makes a video under a name."""

    def run(name: str, *more: object, model: object = wide) -> subprocess.CompletedProcess[str]:
        return hub("generate", "a red cat", "--model", model, *WISH, *more, "-o", name)

    return run


def recipe_of(name: object) -> Any:
    from lingen_cli.requests.recipe import recipe_from_video

    return recipe_from_video(Path(str(name)))


def hashes(name: object) -> Any:
    return recipe_of(name).frame_hashes


def directly(pipe: Any, recipe: Any) -> np.ndarray:
    """The frames of a pipeline of diffusers that is asked for the same, uint8."""
    import torch

    output = pipe(
        recipe.prompt,
        negative_prompt=recipe.sampling.negative_prompt,
        num_frames=5,
        height=32,
        width=32,
        num_inference_steps=2,
        generator=torch.Generator().manual_seed(3),
    )
    return (np.asarray(output.frames[0]) * 255).round().astype(np.uint8)


def write_gguf(
    path: str | Path,
    folder: Path,
    *,
    part: str = "transformer",
    rename: Callable[[str], str] = str,
    without: str = "",
    more: tuple[str, ...] = (),
) -> str:
    """Write the numbers of a denoiser as GGUF, matrices with eight bits, under other names."""
    import gguf
    from safetensors.numpy import load_file

    tensors = load_file(folder / part / "diffusion_pytorch_model.safetensors")
    tensors |= dict.fromkeys(more, np.zeros((WIDTH, WIDTH), np.float32))
    writer, eight = gguf.GGUFWriter(str(path), "wan"), gguf.GGMLQuantizationType.Q8_0
    for name, numbers in tensors.items():
        if without and name.startswith(without):
            continue
        if "blocks" in name and numbers.ndim == 2 and numbers.shape[1] % 32 == 0:
            packed = gguf.quants.quantize(numbers.astype(np.float32), eight)
            writer.add_tensor(rename(name), packed, raw_dtype=eight)
        else:
            writer.add_tensor(rename(name), numbers.astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return str(path)


def of_its_authors(name: str) -> str:
    """The name that Wan's authors, and the GGUF files that people share, have for a tensor."""
    for here, there in (
        ("condition_embedder.time_embedder.linear_1", "time_embedding.0"),
        ("condition_embedder.time_embedder.linear_2", "time_embedding.2"),
        ("condition_embedder.text_embedder.linear_1", "text_embedding.0"),
        ("condition_embedder.text_embedder.linear_2", "text_embedding.2"),
        ("condition_embedder.time_proj", "time_projection.1"),
        ("attn1.to_", "self_attn."),
        ("attn2.to_", "cross_attn."),
        ("attn1.", "self_attn."),
        ("attn2.", "cross_attn."),
        ("_attn.out.0", "_attn.o"),
        ("ffn.net.0.proj", "ffn.0"),
        ("ffn.net.2", "ffn.2"),
        ("norm2", "norm3"),
        ("proj_out", "head.head"),
    ):
        name = name.replace(here, there)
    if name == "scale_shift_table":
        return "head.modulation"
    return name.replace("scale_shift_table", "modulation")


@with_torchao
@pytest.mark.parametrize("quantize", ["int8", "fp8"])
def test_eight_bits_are_those_of_diffusers(
    make: Make, hub: RunHere, wide: Path, written: Collect, quantize: str
) -> None:
    import diffusers
    import torch
    import transformers
    from diffusers.quantizers.pipe_quant_config import PipelineQuantizationConfig
    from torchao.quantization import Float8WeightOnlyConfig, Int8WeightOnlyConfig

    with written() as frames:
        result = make("v.mp4", "--quantize", quantize)
    assert result.returncode == 0 and "torchao" not in result.stderr, result.stderr
    recipe = recipe_of("v.mp4")
    assert recipe.quantize == quantize
    kind = {"int8": Int8WeightOnlyConfig, "fp8": Float8WeightOnlyConfig}[quantize]
    mapping: dict[str, Any] = {
        "transformer": diffusers.TorchAoConfig(kind()),
        "text_encoder": transformers.TorchAoConfig(kind()),
    }
    pipe = diffusers.WanPipeline.from_pretrained(
        wide,
        dtype={"default": getattr(torch, recipe.dtype), "vae": torch.float32},
        quantization_config=PipelineQuantizationConfig(quant_mapping=mapping),
    )
    assert np.array_equal(frames.all, directly(pipe, recipe))
    assert make("plain.mp4").returncode == 0
    assert hashes("plain.mp4") != hashes("v.mp4")
    assert hub("rerun", "v.mp4", "-o", "again.mp4").returncode == 0
    assert Path("again.mp4").read_bytes() == Path("v.mp4").read_bytes()


@with_torchao
def test_a_model_by_its_name_is_quantized_and_goes_on(
    hub: RunHere, tiny_skyreels: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lingen_plugins.hub import loading

    asked: list[Any] = []
    load = loading.load_network

    def told(*given: Any) -> Any:
        asked.append(given[-1])
        return load(*given)

    monkeypatch.setattr(loading, "load_network", told)
    command = ("generate", "a red cat", "--model", "skyreels-v2-1.3b", "--weights", tiny_skyreels)
    given = ("--accept-license", "--quantize", "int8", "-o", "v.mp4")
    result = hub(*command, *WISH, *given)
    assert result.returncode == 0, result.stderr
    assert sorted(map(str, asked)) == ["None", "int8", "int8"]
    result = hub("extend", "v.mp4", "--seconds", "0.2", "-o", "w.mp4")
    assert result.returncode == 0, result.stderr
    assert recipe_of("w.mp4").quantize == "int8"


@with_torchao
def test_lists_and_stopped_runs_keep_the_format(
    hub: RunHere, make: Make, wide: Path, fails: Fails, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert make("v.mp4", "--quantize", "fp8").returncode == 0
    line = {"prompt": "a red cat", "model": str(wide), "size": "32", "frames": 5, "steps": 2}
    lines = [line | {"seed": 3, "quantize": one} for one in ("fp8", None, "int4")]
    Path("jobs.jsonl").write_text("".join(json.dumps(one) + "\n" for one in lines))
    result = hub("batch", "jobs.jsonl", "-o", "out")
    assert result.returncode == 65 and "--quantize must be int8, fp8 or nf4" in result.stderr
    result = hub("batch", "jobs.jsonl", "-o", "out", "--keep-going")
    assert result.returncode == 1, result.stderr
    first, second = sorted(Path("out").glob("*.mp4"))
    assert hashes(first) == hashes("v.mp4") != hashes(second)


@with_torchao
@pytest.mark.skipif(not here("peft"), reason="needs peft")
def test_a_lora_on_quantized_weights(make: Make, hub: RunHere) -> None:
    import torch
    from safetensors.torch import save_file

    draw = torch.Generator().manual_seed(1)
    layer = "transformer.blocks.0.attn1.to_q"
    tensors = {
        f"{layer}.lora_A.weight": torch.randn(2, WIDTH, generator=draw),
        f"{layer}.lora_B.weight": torch.randn(WIDTH, 2, generator=draw),
    }
    save_file(tensors, "one.safetensors")
    result = make("v.mp4", "--quantize", "int8", "--lora", "one.safetensors")
    assert result.returncode == 0, result.stderr
    assert make("w.mp4", "--quantize", "int8").returncode == 0
    assert hashes("v.mp4") != hashes("w.mp4")


@with_bitsandbytes
def test_four_bits_are_those_of_diffusers(
    make: Make, wide: Path, written: Collect, fails: Fails, monkeypatch: pytest.MonkeyPatch
) -> None:
    fails(make("v.mp4", "--quantize", "nf4"), 69, "--quantize nf4 needs a GPU", "int8 or fp8")
    assert not list(Path().glob("*.mp4"))
    with monkeypatch.context() as patch:
        on_the_cpu(patch)
        check_four_bits(make, wide, written)
    fails(make("w.mp4", model="./four"), 69, "which is quantized, needs a GPU")


def check_four_bits(make: Make, wide: Path, written: Collect) -> None:
    import diffusers
    import torch
    import transformers
    from diffusers.quantizers.pipe_quant_config import PipelineQuantizationConfig

    with written() as frames:
        result = make("v.mp4", "--quantize", "nf4")
    assert result.returncode == 0, result.stderr
    recipe = recipe_of("v.mp4")
    assert recipe.quantize == "nf4"
    four: dict[str, Any] = {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}
    four["bnb_4bit_compute_dtype"] = dtype = getattr(torch, recipe.dtype)
    mapping: dict[str, Any] = {
        "transformer": diffusers.BitsAndBytesConfig(**four),
        "text_encoder": transformers.BitsAndBytesConfig(**four),
    }
    pipe = diffusers.WanPipeline.from_pretrained(
        wide,
        dtype={"default": dtype, "vae": torch.float32},
        quantization_config=PipelineQuantizationConfig(quant_mapping=mapping),
    )
    assert np.array_equal(frames.all, directly(pipe, recipe))
    pipe = diffusers.WanPipeline.from_pretrained(  # computing has packed the other's numbers anew
        wide,
        dtype={"default": dtype, "vae": torch.float32},
        quantization_config=PipelineQuantizationConfig(quant_mapping=mapping),
    )
    pipe.save_pretrained("four")
    assert make("saved.mp4", model="./four").returncode == 0
    assert hashes("saved.mp4") == hashes("v.mp4")
    assert recipe_of("saved.mp4").quantize is None


def on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let diffusers quantize to four bits on a machine without a GPU, where it refuses to."""
    from diffusers.quantizers.bitsandbytes.bnb_quantizer import BnB4BitDiffusersQuantizer

    monkeypatch.setattr("lingen_plugins.hub.weight_formats.has_card", lambda: True)
    kind = BnB4BitDiffusersQuantizer
    monkeypatch.setattr(kind, "validate_environment", lambda *_, **__: None)
    monkeypatch.setattr(kind, "update_device_map", lambda _, given: given or {"": "cpu"})


@with_torchao
def test_a_folder_that_was_saved_with_eight_bits(
    make: Make, wide: Path, fails: Fails, monkeypatch: pytest.MonkeyPatch
) -> None:
    import diffusers
    import torch
    from torchao.quantization import Int8WeightOnlyConfig

    assert make("v.mp4", "--quantize", "int8").returncode == 0
    shutil.copytree(wide, "eight")
    network = diffusers.WanTransformer3DModel.from_pretrained(
        wide / "transformer",
        dtype=getattr(torch, recipe_of("v.mp4").dtype),
        quantization_config=diffusers.TorchAoConfig(Int8WeightOnlyConfig()),
    )
    shutil.rmtree("eight/transformer")
    network.save_pretrained("eight/transformer")
    assert make("w.mp4", "--quantize", "int8", model="./eight").returncode == 0
    assert hashes("w.mp4") == hashes("v.mp4")  # what was saved so is not quantized again
    config = json.loads(Path("eight/transformer/config.json").read_text())
    config["quantization_config"]["quant_method"] = "nobodys"
    Path("eight/transformer/config.json").write_text(json.dumps(config))
    result = make("x.mp4", model="./eight")
    fails(result, 69, "which is quantized, needs the package nobodys: pip install nobodys")


@with_gguf
def test_a_denoiser_from_gguf_is_that_of_diffusers(
    make: Make, hub: RunHere, fails: Fails, wide: Path, written: Collect
) -> None:
    import diffusers
    import torch

    file = write_gguf("one.gguf", wide, rename=of_its_authors)
    with written() as frames:
        result = make("v.mp4", "--denoiser", file)
    assert result.returncode == 0, result.stderr
    recipe = recipe_of("v.mp4")
    (given,) = recipe.denoisers
    assert given.sha256 == hashlib.sha256(Path(file).read_bytes()).hexdigest()
    assert given.name == str(Path(file).absolute())
    dtype = getattr(torch, recipe.dtype)
    network = diffusers.WanTransformer3DModel.from_single_file(
        file,
        config=str(wide / "transformer"),
        quantization_config=diffusers.GGUFQuantizationConfig(compute_dtype=dtype),
        torch_dtype=dtype,
    )
    kinds = {"default": dtype, "vae": torch.float32}
    pipe = diffusers.WanPipeline.from_pretrained(wide, transformer=network, dtype=kinds)
    assert np.array_equal(frames.all, directly(pipe, recipe))
    assert make("plain.mp4").returncode == 0 and hashes("plain.mp4") != hashes("v.mp4")
    own = write_gguf("two.gguf", wide)  # with the names of diffusers
    assert make("w.mp4", "--denoiser", own).returncode == 0
    assert hashes("w.mp4") == hashes("v.mp4")
    assert hub("rerun", "v.mp4", "-o", "again.mp4").returncode == 0
    assert Path("again.mp4").read_bytes() == Path("v.mp4").read_bytes()
    Path(file).write_bytes(Path(own).read_bytes())
    fails(hub("rerun", "v.mp4", "-o", "x.mp4"), 65, "is not the GGUF file that the video was made")
    Path(file).unlink()
    fails(hub("rerun", "v.mp4", "-o", "x.mp4"), 66, "no such GGUF file", "one.gguf")
    assert not Path("x.mp4").exists()


def packed_at_random(kind: str, rows: int, columns: int, seed: int) -> np.ndarray:
    """Blocks of a format as they lie in a file, (rows, bytes): any bytes are numbers but for their
    scales, which are small here."""
    import gguf

    numbers_of, size = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[kind]]
    shape = (rows, columns // numbers_of, size)
    blocks = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
    for place, scale in SCALES[kind].items():
        blocks[..., place : place + 2] = np.array([scale], np.float16).view(np.uint8)
    return blocks.reshape(rows, -1)


SCALES = {
    "Q2_K": {80: 2e-3, 82: 2e-3},
    "Q3_K": {108: 5e-4},
    "Q4_K": {0: 1e-4, 2: 7e-4},
    "Q5_K": {0: 5e-5, 2: 7e-4},
    "Q6_K": {208: 1e-5},
    "IQ4_NL": {0: 5e-4},
    "IQ4_XS": {0: 1e-5},
}
"""Format -> the bytes of a block at which a scale of two bytes begins, and one that makes numbers
of a few hundredths."""


@with_gguf
@pytest.mark.parametrize("kind", SCALES)
def test_small_blocks_are_what_they_stand_for(
    make: Make, wan_parts: dict[str, Any], written: Collect, kind: str, tmp_path: Path
) -> None:
    """A denoiser of packed blocks beside one of the numbers that they stand for."""
    import diffusers
    import gguf
    import torch
    from safetensors.numpy import load_file, save_file

    folder = wan_of(256, wan_parts, tmp_path / "packed")
    weights = folder / "transformer" / "diffusion_pytorch_model.safetensors"
    tensors, raw = load_file(weights), gguf.GGMLQuantizationType[kind]
    writer = gguf.GGUFWriter("packed.gguf", "wan")
    for number, (name, numbers) in enumerate(tensors.items()):
        if "blocks" in name and numbers.ndim == 2 and numbers.shape[1] % 256 == 0:
            rows, columns = numbers.shape
            packed = packed_at_random(kind, rows, columns, number)
            tensors[name] = gguf.quants.dequantize(packed, raw).astype(np.float32)
            assert tensors[name].shape == numbers.shape and 0 < tensors[name].std() < 0.1
            writer.add_tensor(of_its_authors(name), packed, raw_dtype=raw)
        else:
            writer.add_tensor(of_its_authors(name), numbers.astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with written() as frames:
        result = make("v.mp4", "--denoiser", "packed.gguf", model=folder)
    assert result.returncode == 0, result.stderr
    recipe = recipe_of("v.mp4")
    dtype = getattr(torch, recipe.dtype)
    network = diffusers.WanTransformer3DModel.from_single_file(
        "packed.gguf",
        config=str(folder / "transformer"),
        quantization_config=diffusers.GGUFQuantizationConfig(compute_dtype=dtype),
        torch_dtype=dtype,
    )
    kinds = {"default": dtype, "vae": torch.float32}
    pipe = diffusers.WanPipeline.from_pretrained(folder, transformer=network, dtype=kinds)
    assert np.array_equal(frames.all, directly(pipe, recipe))
    with written() as before:
        assert make("u.mp4", model=folder).returncode == 0
    save_file(tensors, weights, {"format": "pt"})
    with written() as plain:
        assert make("w.mp4", model=folder).returncode == 0
    # Scales are multiplied in half precision by diffusers, exactly by gguf.
    off, other = (np.abs(frames.all.astype(int) - one.all).mean() for one in (plain, before))
    assert off < 0.5 < other and off < other / 4


@with_gguf
@pytest.mark.parametrize("kind", ["IQ3_S", "TQ1_0", "MXFP4"])
def test_blocks_that_diffusers_cannot_read(
    make: Make, fails: Fails, wan_parts: dict[str, Any], tmp_path: Path, kind: str
) -> None:
    import gguf

    folder = wan_of(256, wan_parts, tmp_path / "packed")
    raw = gguf.GGMLQuantizationType[kind]
    numbers, size = gguf.GGML_QUANT_SIZES[raw]
    writer = gguf.GGUFWriter("strange.gguf", "wan")
    blocks = np.zeros((256, 256 // numbers * size), np.uint8)
    writer.add_tensor("blocks.0.self_attn.q.weight", blocks, raw_dtype=raw)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    result = make("v.mp4", "--denoiser", "strange.gguf", model=folder)
    fails(result, 65, "strange.gguf is no GGUF of the WanTransformer3DModel of")
    assert not list(Path().glob("*.mp4"))


@with_gguf
def test_only_the_configuration_of_a_replaced_denoiser_is_needed(
    make: Make, hub: RunHere, wide: Path
) -> None:
    file = write_gguf("one.gguf", wide)
    assert make("v.mp4", "--denoiser", file).returncode == 0
    shutil.copytree(wide, "bare")
    Path("bare/transformer/diffusion_pytorch_model.safetensors").unlink()
    assert make("w.mp4", "--denoiser", file, model="./bare").returncode == 0
    assert hashes("w.mp4") == hashes("v.mp4")
    assert recipe_of("w.mp4").weights["denoiser"] == recipe_of("v.mp4").weights["denoiser"]
    plan = ("plan", "a red cat", "--model", "./bare", *WISH, "--device", "cpu", "--json")
    small = json.loads(hub(*plan, "--denoiser", file).stdout)
    assert small["parts"]["transformer"] == pytest.approx(Path(file).stat().st_size, rel=0.01)
    assert small["formats"] == "denoisers from GGUF"


@with_gguf
def test_gguf_files_that_cannot_be_used(
    make: Make, hub: RunHere, fails: Fails, wide: Path, twin: Callable[[str], Path]
) -> None:
    def refused(file: object, code: int, *words: str, model: object = wide) -> None:
        fails(make("v.mp4", "--denoiser", file, model=model), code, *words)
        assert not list(Path().glob("*.mp4"))

    file = write_gguf("one.gguf", wide)
    whole = Path(file).read_bytes()
    Path("cut.gguf").write_bytes(whole[: len(whole) // 2])
    refused("cut.gguf", 65, "cut.gguf is no GGUF of the WanTransformer3DModel of")
    Path("head.gguf").write_bytes(whole[:40])
    refused("head.gguf", 65, "head.gguf is no GGUF of the WanTransformer3DModel of")
    Path("text.gguf").write_bytes(b"hello")
    refused("text.gguf", 65, "text.gguf is no GGUF file, or a damaged one")
    refused("none.gguf", 66, "no such GGUF file: none.gguf")
    refused("me/some-gguf", 69, "lingen models pull me/some-gguf")
    Path("a.safetensors").write_bytes(b"x")
    refused("a.safetensors", 65, "only .gguf files are")
    refused(file, 65, "is no GGUF of the WanTransformer3DModel of", model=twin("wan"))
    lacks = write_gguf("lacks.gguf", wide, without="blocks.1.attn1.to_q")
    refused(lacks, 65, "it lacks tensors that the configuration names")
    more = write_gguf(
        "more.gguf", wide, rename=of_its_authors, more=("blocks.2.attn1.to_q.weight",)
    )
    refused(more, 65, "tensors that the configuration knows nothing of")
    other = write_gguf("other.gguf", wide, rename=lambda name: f"double_{name}")
    refused(other, 65, "other.gguf is no GGUF of the WanTransformer3DModel of")
    refused(
        file,
        69,
        "diffusers reads no GGUF for a CogVideoXTransformer3DModel",
        model=twin("cogvideox"),
    )
    refused(file, 2, "has 2 denoisers (transformer, transformer_2)", model=twin("wan-2.2-a14b"))
    fails(
        hub("generate", "a red ball", "--denoiser", file), 2, "lingen-mini", "leave out --denoiser"
    )


@with_gguf
def test_each_of_two_denoisers_has_its_file(
    make: Make, twin: Callable[[str], Path], hub: RunHere, tmp_path: Path
) -> None:
    folder = twin("wan-2.2-a14b")
    first, second = (
        write_gguf(f"{part}.gguf", folder, part=part, rename=of_its_authors)
        for part in ("transformer", "transformer_2")
    )
    result = make("v.mp4", "--denoiser", first, "--denoiser", second, model=folder)
    assert result.returncode == 0, result.stderr
    assert [Path(one.name).stem for one in recipe_of("v.mp4").denoisers] == [
        "transformer",
        "transformer_2",
    ]
    result = make("w.mp4", "--denoiser", second, "--denoiser", first, model=folder)
    assert result.returncode == 0 and hashes("w.mp4") != hashes("v.mp4")


@with_gguf
@with_torchao
@with_bitsandbytes
def test_each_place_gives_the_same_frames(
    make: Make, wide: Path, fails: Fails, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lingen_models import precision

    file = write_gguf("one.gguf", wide)
    given: dict[str, tuple[object, ...]] = {
        "int8": ("--quantize", "int8"),
        "gguf": ("--denoiser", file),
        "four": ("--quantize", "nf4"),
    }
    compute = precision.compute_dtype
    monkeypatch.setattr(precision, "compute_dtype", lambda _: compute("cpu"))
    on_the_cpu(monkeypatch)
    card = Card(monkeypatch)
    waits = {"int8": ("model", "block", "leaf"), "gguf": ("model", "block", "leaf", "disk")}
    for name, options in given.items():
        result = make(f"{name}.mp4", *options, "--device", "cuda")
        assert result.returncode == 0 and card.seen == ["whole"], result.stderr
        for place in waits.get(name, ("model",)):
            card.begin, card.seen = place, []
            result = make(f"{name}-{place}.mp4", *options, "--device", "cuda")
            assert result.returncode == 0 and card.seen == [place], result.stderr
            assert hashes(f"{name}-{place}.mp4") == hashes(f"{name}.mp4"), place
        card.begin, card.seen = "whole", []
    card.begin = "block"  # bitsandbytes cannot wait there, nor in what follows: the CPU it is
    assert make("cpu.mp4", *given["four"], "--device", "cuda").returncode == 0
    assert card.seen == ["cpu"] and hashes("cpu.mp4") == hashes("four.mp4")


def test_wishes_that_no_format_can_meet(
    make: Make, hub: RunHere, fails: Fails, monkeypatch: pytest.MonkeyPatch
) -> None:
    fails(make("v.mp4", "--quantize", "int4"), 2, "--quantize must be int8, fp8 or nf4")
    fails(hub("generate", "a red ball", "--quantize", "int8"), 2, "leave out --quantize")
    fails(make("v.mp4", "--quantize", "nf4", "--offload", "group"), 2, "leave out --offload")
    fails(make("v.mp4", "--quantize", "int8", "--offload", "disk"), 2, "leave out --offload")
    monkeypatch.setattr("lingen_plugins.hub.weight_formats.find_spec", lambda name: None)
    words = ("--quantize fp8 needs the package torchao", "pip install 'lingen[quantize]'")
    fails(make("v.mp4", "--quantize", "fp8"), 69, *words)
    fails(make("v.mp4", "--quantize", "nf4"), 69, "needs the package bitsandbytes")
    Path("a.gguf").write_bytes(b"GGUF")
    fails(make("v.mp4", "--denoiser", "a.gguf"), 69, "a GGUF file needs the package gguf")
    assert not list(Path().glob("*.mp4"))


def test_a_plan_counts_the_smaller_weights(hub: RunHere, wide: Path) -> None:
    from diffusers import WanTransformer3DModel
    from safetensors.numpy import load_file

    command = ("plan", "a red cat", "--model", wide, *WISH, "--device", "cpu")
    plans = {
        one: json.loads(hub(*command, *(["--quantize", one] if one else []), "--json").stdout)
        for one in ("", "int8", "fp8", "nf4")
    }
    tensors = load_file(wide / "transformer" / "diffusion_pytorch_model.safetensors")
    exact = set(WanTransformer3DModel._keep_in_fp32_modules)
    kept = sum(one.size for name, one in tensors.items() if exact & set(name.split(".")))
    linear = sum(
        one.size
        for name, one in tensors.items()
        if one.ndim == 2 and name.endswith("weight") and not exact & set(name.split("."))
    )
    whole = plans[""]["parts"]["transformer"]
    each = whole // sum(one.size for one in tensors.values())
    for name, size in (("int8", 1), ("fp8", 1), ("nf4", 0.5625)):
        saved = whole - plans[name]["parts"]["transformer"]
        assert saved == pytest.approx(linear * (each - size) - kept * (4 - each), abs=1), name
    assert plans["nf4"]["parts"]["vae"] == plans[""]["parts"]["vae"]
    assert plans["nf4"]["places"]["whole"] < plans["int8"]["places"]["whole"]
    assert plans["int8"]["weights"] == sum(plans["int8"]["parts"].values())
    told = hub(*command, "--quantize", "int8").stdout
    assert "), int8" in told
    away = hub("plan", "a red cat", "--model", "wan-1.3b", "--quantize", "int8")
    assert "counted only where its configuration is here" in " ".join(away.stdout.split())


@pytest.mark.parametrize("quantize", ["int8", "fp8", "nf4"])
@with_torchao
@with_bitsandbytes
def test_what_is_loaded_takes_what_the_plan_said(
    hub: RunHere, wide: Path, monkeypatch: pytest.MonkeyPatch, quantize: str
) -> None:
    from lingen_plugins.contracts import WeightFormats
    from lingen_plugins.hub import fit_ladder as fit
    from lingen_plugins.hub.found import describe
    from lingen_plugins.hub.weight_formats import no_places_of

    on_the_cpu(monkeypatch)
    model = describe("wide", wide)
    pipe: Any = model.build(wide, "cpu", None, formats=WeightFormats(quantize=quantize))
    needs = fit.needs_of(pipe.pipe, (1, 16, 2, 4, 4), tiles=True)
    command = ("plan", "a red cat", "--model", wide, *WISH, "--device", "cpu")
    plan = json.loads(hub(*command, "--quantize", quantize, "--json").stdout)
    for part, planned in plan["parts"].items():
        scales = 1.1 if part in ("transformer", "text_encoder") else 1  # of narrow layers
        assert planned <= needs.parts[part].whole <= scales * planned, part
    waits = {"disk"} if quantize != "nf4" else {"block", "leaf", "disk"}
    assert no_places_of(fit.networks(pipe.pipe)) == waits
