"""Text encoders and autoencoders of others keep the contract of plugins, tiny and random."""

import json
import shutil
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from lingen_models.checkpoints.safetensors import CheckpointError
from lingen_plugins import parts
from lingen_plugins.hub.codecs import AUTOENCODERS
from lingen_plugins.hub.text import TEXT_ENCODERS
from lingen_plugins.plugin_errors import MissingFolderError, NotHereError

pytestmark = pytest.mark.skipif(
    find_spec("diffusers") is None, reason="needs diffusers: pip install 'lingen[hub]'"
)
RECORDS: dict[str, Any] = {record.name: record for record in (*TEXT_ENCODERS, *AUTOENCODERS)}


@pytest.fixture(scope="session")
def byt5_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ByT5 of one layer in a folder of its own."""
    import torch
    from transformers import ByT5Tokenizer, T5Config, T5EncoderModel

    torch.manual_seed(8)
    folder = tmp_path_factory.mktemp("byt5")
    config = T5Config(vocab_size=384, d_model=24, d_kv=8, d_ff=16, num_layers=1, num_heads=2)
    T5EncoderModel(config).save_pretrained(folder)
    ByT5Tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def clip_folder(tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole CLIP, of which only the half that reads is wanted."""
    import torch
    from transformers import CLIPConfig, CLIPModel

    torch.manual_seed(9)
    folder = tmp_path_factory.mktemp("clip")
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    text = {**sizes, "num_attention_heads": 2, "vocab_size": len(tokenizer), "eos_token_id": 1}
    vision = {**sizes, "num_attention_heads": 2, "image_size": 8, "patch_size": 4}
    CLIPModel(CLIPConfig(text_config=text, vision_config=vision)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def wan_codec_folder(wan_vae: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Wan's autoencoder alone."""
    folder = tmp_path_factory.mktemp("wan-codec")
    wan_vae.save_pretrained(folder)
    return folder


@pytest.fixture
def folder_of(
    tiny_wan: Path, tiny_ltx: Path, byt5_folder: Path, clip_folder: Path
) -> Callable[[str], Path]:
    folders = {"umt5": tiny_wan, "wan": tiny_wan, "t5": tiny_ltx, "ltx": tiny_ltx}
    return (folders | {"byt5": byt5_folder, "clip": clip_folder}).__getitem__


@pytest.mark.parametrize("name", ["umt5", "t5", "byt5", "clip"])
def test_text_encoders_keep_the_contract(name: str, folder_of: Callable[[str], Path]) -> None:
    from lingen_plugins.testing import check_text_encoder

    check_text_encoder(RECORDS[name], folder_of(name))


@pytest.mark.parametrize("name", ["wan", "ltx"])
def test_autoencoders_keep_the_contract(name: str, folder_of: Callable[[str], Path]) -> None:
    from lingen_plugins.testing import check_autoencoder

    check_autoencoder(RECORDS[name], folder_of(name))


def test_features_are_those_of_transformers(tiny_wan: Path) -> None:
    import torch
    from transformers import AutoTokenizer, UMT5EncoderModel

    network: Any = parts.find_part(RECORDS["umt5"], {"max_tokens": 3}, tiny_wan).build()
    features, mask = network(network.tokens(["a red cat runs", "ball"]))
    assert mask.tolist() == [[True] * 3, [True, False, False]]
    assert (features[1, 1:] == 0).all()
    theirs = UMT5EncoderModel.from_pretrained(tiny_wan / "text_encoder")
    reader = AutoTokenizer.from_pretrained(tiny_wan / "tokenizer")
    with torch.no_grad():
        wanted = theirs(**reader("ball", return_tensors="pt")).last_hidden_state
    torch.testing.assert_close(features[1, :1], wanted[0])


def test_a_byte_is_a_token_of_byt5(byt5_folder: Path) -> None:
    network: Any = parts.find_part(RECORDS["byt5"], {}, byt5_folder).build()
    tokens = network.tokens(["a ball", "é"])
    assert tokens.shape == (2, 7)  # six letters, and the end
    assert (tokens[1] >= 0).sum() == 3
    assert network.feature_dim == 24


def test_latents_of_wan_are_normal_and_decode_from_anywhere(wan_codec_folder: Path) -> None:
    import torch
    from diffusers import AutoencoderKLWan

    codec: Any = parts.find_part(RECORDS["wan"], {}, wan_codec_folder).build()
    assert (codec.time_stride, codec.space_stride, codec.latent_channels) == (4, 8, 16)
    video = torch.rand(2, 3, 5, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    theirs = AutoencoderKLWan.from_pretrained(wan_codec_folder)
    with torch.no_grad():
        plain = theirs.encode(video).latent_dist.mode()
    mean, deviation = (
        torch.tensor(values).view(1, -1, 1, 1, 1)
        for values in (theirs.config.latents_mean, theirs.config.latents_std)
    )
    torch.testing.assert_close(codec.encode(video).clone(), (plain - mean) / deviation)
    with pytest.raises(ValueError, match="1 more than a multiple of 4"):
        codec.encode(video[:, :, :4])
    with pytest.raises(ValueError, match="multiples of 8"):
        codec.encode(video[..., :12])

    begin, after = 1, 2
    latents = torch.randn(1, 16, begin + codec.reach + after, 2, 2)
    whole, part = (
        codec.decode(latents),
        torch.cat(list(codec.decode_in_chunks(latents, 2, begin)), 2),
    )
    assert part.shape[2] == 4 * (latents.shape[2] - begin)
    assert torch.equal(part[:, :, -4 * after :], whole[:, :, -4 * after :])


def test_ltx_looks_both_ways(tiny_ltx: Path) -> None:
    import torch

    codec: Any = parts.find_part(RECORDS["ltx"], {}, tiny_ltx).build()
    assert (codec.time_stride, codec.space_stride, codec.causal) == (8, 32, False)
    with pytest.raises(ValueError, match="from the first latent frame on"):
        codec.decode_in_chunks(torch.zeros(1, 8, 2, 1, 1), 1, 1)


def test_what_is_wrong_with_a_folder(
    tiny_wan: Path, tiny_ltx: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def find(name: str, folder: Path | None = None, **config: Any) -> Any:
        return parts.find_part(RECORDS[name], config, folder)

    with pytest.raises(MissingFolderError, match="no such folder of weights"):
        find("umt5", tmp_path / "none")
    with pytest.raises(MissingFolderError, match="no text_encoder"):
        find("umt5", tmp_path)
    with pytest.raises(MissingFolderError, match="no vae"):
        find("wan", tmp_path)
    with pytest.raises(CheckpointError, match="is a 't5', not a umt5"):
        find("umt5", tiny_ltx)
    with pytest.raises(CheckpointError, match="is a 'AutoencoderKLLTXVideo', not a Autoencoder"):
        find("wan", tiny_ltx)
    with pytest.raises(CheckpointError, match="max_tokens"):
        find("umt5", tiny_wan, max_tokens=0).build()
    with pytest.raises(CheckpointError, match="it has no config"):
        find("wan", tiny_wan, tiles=2).build()
    shutil.copytree(tiny_wan / "text_encoder", tmp_path / "text_encoder")
    with pytest.raises(MissingFolderError, match="no tokenizer in"):
        find("umt5", tmp_path)
    shutil.copytree(tiny_wan / "tokenizer", tmp_path / "tokenizer")
    assert find("umt5", tmp_path).sha256 == find("umt5", tmp_path / "text_encoder").sha256
    (tmp_path / "text_encoder" / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="cannot load"):
        find("umt5", tmp_path).build()
    (tmp_path / "text_encoder" / "config.json").write_text("[")
    with pytest.raises(CheckpointError, match="damaged config"):
        find("umt5", tmp_path)
    monkeypatch.setattr(parts, "find_spec", lambda package: None)
    with pytest.raises(NotHereError, match=r"the package transformers: pip install 'lingen\[hub\]"):
        find("umt5", tiny_wan)


def test_the_cache_of_huggingface_is_looked_into(
    tiny_wan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    record = RECORDS["umt5"]
    with pytest.raises(NotHereError, match=f"hf download {record.repository}"):
        parts.find_part(record, {})
    with pytest.raises(NotHereError, match="byt5 needs a folder"):
        parts.find_part(RECORDS["byt5"], {})
    entry = tmp_path / "hub" / f"models--{record.repository.replace('/', '--')}"
    shutil.copytree(tiny_wan, entry / "snapshots" / ("a" * 40))
    (entry / "refs").mkdir()
    (entry / "refs" / "main").write_text("a" * 40)
    found = parts.find_part(record, {})
    assert found.folder == entry / "snapshots" / ("a" * 40)
    assert found.sha256 == parts.find_part(record, {}, tiny_wan).sha256


@pytest.mark.parametrize(
    ("change", "said", "kind"),
    [
        ({"plugin": "unheard-of"}, "which no plugin here registers", NotHereError),
        ({"config": 3}, "names no part", CheckpointError),
        ({"folder": ["x"]}, "names no part", CheckpointError),
        ({"sha256": "0" * 64}, "wrong hash", CheckpointError),
        ({"folder": "/nowhere"}, "is missing: /nowhere", MissingFolderError),
    ],
)
def test_weights_files_that_name_what_cannot_be(
    change: dict[str, Any], said: str, kind: type[Exception], tiny_wan: Path, tmp_path: Path
) -> None:
    from lingen_models.checkpoints.safetensors import read_metadata, save_tensors
    from lingen_plugins.registry import collect

    path = tmp_path / "autoencoder.safetensors"
    part = parts.find_part(RECORDS["wan"], {}, tiny_wan)
    part.save(path, part.build())
    registry = collect()
    facts = read_metadata(path)
    assert parts.read_part(registry, path, facts) == part
    save_tensors(path, {}, {"lingen": json.dumps(facts | change)})
    with pytest.raises(kind, match=said):
        parts.read_part(registry, path, read_metadata(path))
