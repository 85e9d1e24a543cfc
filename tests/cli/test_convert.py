"""`lingen convert`: a folder of weights that are trained on, or nothing at all."""

import shutil
from pathlib import Path

import pytest
import torch

from lingen_models.checkpoints.safetensors import (
    load_tensors,
    read_metadata,
    save_network,
    sha256_file,
)
from lingen_models.network_config import LinGenConfig, WordsConfig
from lingen_models.networks.denoiser import LinGen
from lingen_models.networks.word_encoder import WordEncoder
from lingen_plugins.registry import collect
from tests.cli.protocols import Fails, RunHere


@pytest.fixture(scope="module")
def dit(tmp_path_factory: pytest.TempPathFactory, tiny_weights: Path) -> Path:
    """A folder with an untrained `dit-mini`."""
    folder = tmp_path_factory.mktemp("dit")
    shutil.copy(tiny_weights / "autoencoder.safetensors", folder)
    config = LinGenConfig.from_dict(collect().model_variants["dit-mini"].config)
    words = WordsConfig(words=("ball",), width=config.text_dims[0], depth=1)
    for name, kind, network in (
        ("denoiser", "lingen", LinGen(config)),
        ("text_encoder", "words", WordEncoder(words)),
    ):
        metadata = {"kind": kind, "config": network.config.to_dict()}
        save_network(folder / f"{name}.safetensors", network.to(torch.bfloat16), metadata)
    return folder


def test_what_is_made_generates(lingen_here: RunHere, dit: Path) -> None:
    made = lingen_here("convert", "dit-mini", "--weights", dit, "-o", "new/made")
    assert (made.returncode, made.stdout) == (0, "new/made\n"), made.stderr
    assert [path.name for path in Path("new").iterdir()] == ["made"]
    folder = Path("new/made")
    for part in ("autoencoder", "text_encoder"):
        assert sha256_file(folder / f"{part}.safetensors") == sha256_file(
            dit / f"{part}.safetensors"
        )
    metadata = read_metadata(folder / "denoiser.safetensors")
    assert metadata["config"]["mixer"] == "mate"
    digest = sha256_file(dit / "denoiser.safetensors")
    assert metadata["converted"] == {"model": "dit-mini", "sha256": digest}
    old, _ = load_tensors(dit / "denoiser.safetensors")
    new, _ = load_tensors(folder / "denoiser.safetensors")
    window = "blocks.3.mixer.tesa_branch.attention.qkv.weight"
    assert torch.equal(new[window], old["blocks.3.mixer.attention.qkv.weight"])
    small = ("--size", "32", "--frames", "9", "--steps", "1", "-o", "a.mp4")
    video = lingen_here("generate", "a ball", "--weights", "new/made", *small)
    assert (video.returncode, video.stdout) == (0, "a.mp4\n"), video.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["dit-mini"], 69, "no weights of 'dit-mini' exist"),
        (["dit-mini", "--weights", "nowhere"], 66, "no such folder of weights: nowhere"),
        (["dit-mini", "--to", "lingen-maxi"], 2, "lingen-maxi"),
        (["lingen-mini"], 2, "such as dit-mini. To train lingen-mini further: lingen train RECIPE"),
        (["lingen-mini-no-tesa"], 2, "convert turns a diffusion transformer into one"),
        (["dit-mini", "--weights", "{dit}", "--to", "dit-mini"], 65, "mixer: from attention to"),
        (["dit-mini", "--weights", "{dit}", "--to", "lingen-4b"], 65, "width: 2560 is wanted"),
        (["dit-mini", "--weights", "{dit}", "-o", "."], 73, "is there already"),
    ],
)
def test_what_cannot_be_converted_leaves_nothing(
    lingen_here: RunHere, fails: Fails, dit: Path, arguments: list[str], code: int, message: str
) -> None:
    Path("mine.txt").write_text("mine")
    result = lingen_here("convert", *(one.replace("{dit}", str(dit)) for one in arguments))
    fails(result, code, message)
    assert {path.name for path in Path().iterdir()} <= {"mine.txt", "runs"}
    assert not Path("runs").exists() or not list(Path("runs").iterdir())
