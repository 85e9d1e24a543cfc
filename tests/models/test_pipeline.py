"""The whole way from a prompt to frames, with tiny random weights that went through files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lingen_models.checkpoints.safetensors import CheckpointError, save_network
from lingen_models.network_config import LinGenConfig, TAEConfig, WordsConfig
from lingen_models.networks.denoiser import LinGen
from lingen_models.networks.video_autoencoder import TemporalAutoencoder
from lingen_models.networks.word_encoder import WordEncoder
from lingen_models.pipelines.text_to_video import TextToVideo
from lingen_models.precision import compute_dtype
from lingen_models.sampling.conditioning import Conditioning
from lingen_models.sampling.denoise import SamplingMethod
from lingen_models.sampling.params import SamplingParams

DENOISER = LinGenConfig(
    width=16,
    depth=2,
    head_dim=8,
    expand=1,
    ssm_head_dim=8,
    state_size=4,
    chunk=8,
    window=(2, 2, 2),
    latent_channels=4,
    text_dims=(8,),
    position_grid=(4, 2, 2),
)
CODEC = TAEConfig(latent_channels=4, widths=(8, 8, 8), depths=(1, 1, 1))
WORDS = WordsConfig(words=("a", "red", "ball"), width=8, depth=1, head_dim=4, max_tokens=8)
PROMPT = Conditioning("a red ball")
SIZES: dict[str, Any] = {"frames": 12, "height": 16, "width": 32}
PARAMS = SamplingParams(steps=3, guidance_scale=2.0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three weights files."""
    torch.manual_seed(6)
    path = tmp_path_factory.mktemp("weights")
    network = LinGen(DENOISER)
    for layer in (network.patch_out, network.final_modulation, network.time_modulation):
        nn.init.normal_(layer.weight, std=0.2)
    for name, kind, part in (
        ("denoiser", "lingen", network),
        ("autoencoder", "tae", TemporalAutoencoder(CODEC)),
        ("text_encoder", "words", WordEncoder(WORDS)),
    ):
        metadata = {"kind": kind, "config": part.config.to_dict(), "training": {}}
        save_network(path / f"{name}.safetensors", part, metadata)
    return path


def load(folder: Path, **names: str) -> TextToVideo:
    chosen = {"denoiser": "denoiser", "autoencoder": "autoencoder", "text": "text_encoder"} | names
    paths = {key: folder / f"{name}.safetensors" for key, name in chosen.items()}
    return TextToVideo.load(
        paths["denoiser"], paths["autoencoder"], (paths["text"],), dtype=torch.float32
    )


@pytest.fixture(scope="module")
def pipe(folder: Path) -> TextToVideo:
    return load(folder)


def test_loading_restores_everything(pipe: TextToVideo) -> None:
    assert pipe.denoiser.config == DENOISER
    assert pipe.autoencoder.config == CODEC
    assert pipe.text_encoders[0].config == WORDS
    assert (pipe.time_stride, pipe.space_stride, pipe.patch) == (8, 8, (1, 2, 2))
    assert pipe.device.type == "cpu"
    assert not any(p.requires_grad for p in pipe.denoiser.parameters())
    assert not pipe.denoiser.training
    assert compute_dtype("cpu") in (torch.bfloat16, torch.float32)


@pytest.mark.parametrize(
    ("frames", "latent_frames"), [(1, 1), (2, 2), (9, 2), (10, 3), (17, 3), (961, 121)]
)
def test_latent_frames(pipe: TextToVideo, frames: int, latent_frames: int) -> None:
    assert pipe.latent_frames(frames) == latent_frames


@pytest.mark.parametrize("frames", [1, 8, 9, 12, 25])
def test_as_many_frames_as_asked(pipe: TextToVideo, frames: int) -> None:
    latents = pipe.sample(PROMPT, PARAMS, **SIZES | {"frames": frames})
    assert latents.shape == (1, 4, pipe.latent_frames(frames), 2, 4)
    assert latents.dtype is torch.float32
    pieces = list(pipe.decode(latents, frames))
    assert all(piece.dtype is torch.uint8 and piece.shape[1:] == (16, 32, 3) for piece in pieces)
    assert sum(len(piece) for piece in pieces) == frames
    whole = pipe.autoencoder.decode(latents)[0, :, :frames].permute(1, 2, 3, 0)
    expected = ((whole.clamp(-1, 1) + 1) * 127.5).round()
    assert (torch.cat(pieces).float() - expected).abs().max() <= 1


def test_the_seed_decides_and_nothing_else(pipe: TextToVideo) -> None:
    first = pipe.sample(PROMPT, replace(PARAMS, seed=3), **SIZES)
    torch.manual_seed(99)
    assert torch.equal(pipe.sample(PROMPT, replace(PARAMS, seed=3), **SIZES), first)
    assert not torch.allclose(pipe.sample(PROMPT, replace(PARAMS, seed=4), **SIZES), first)


def test_first_frame_is_kept(pipe: TextToVideo) -> None:
    image = torch.randint(0, 256, (16, 32, 3), dtype=torch.uint8)
    clean = pipe.encode_image(image)
    assert clean.shape == (1, 4, 1, 2, 4)
    latents = pipe.sample(Conditioning("a red ball", first_frame=image), PARAMS, **SIZES)
    assert torch.equal(latents[:, :, :1], clean)
    free = pipe.sample(PROMPT, PARAMS, **SIZES)
    assert not torch.allclose(latents[:, :, 1:], free[:, :, 1:])


def test_prompt_negative_and_schedule_count(folder: Path) -> None:
    pipe = load(folder)
    for block in pipe.denoiser.blocks:
        block.cross_attention.out.weight.normal_()  # type: ignore[union-attr,operator]
    kinds = [
        pipe.sample(PROMPT, PARAMS, **SIZES),
        pipe.sample(Conditioning("ball"), PARAMS, **SIZES),
        pipe.sample(PROMPT, replace(PARAMS, negative_prompt="red"), **SIZES),
        pipe.sample(PROMPT, PARAMS, **SIZES, method=SamplingMethod(schedule="uniform")),
    ]
    for other in kinds[1:]:
        assert not torch.allclose(kinds[0], other)


def test_steps_are_reported_and_can_stop(pipe: TextToVideo) -> None:
    seen: list[tuple[int, int, torch.Size]] = []

    def report(done: int, total: int, estimate: Tensor) -> None:
        seen.append((done, total, estimate.shape))
        if done == 2:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        pipe.sample(PROMPT, PARAMS, **SIZES, on_step=report)
    assert seen == [(1, 3, torch.Size((1, 4, 3, 2, 4))), (2, 3, torch.Size((1, 4, 3, 2, 4)))]


def test_unknown_words(pipe: TextToVideo) -> None:
    assert pipe.unknown_words("A purple ball and a dragon") == ["purple", "and", "dragon"]
    assert pipe.unknown_words("a red ball") == []


def test_refusals(pipe: TextToVideo) -> None:
    with pytest.raises(ValueError, match="24x16 pixels are not multiples of 16"):
        pipe.sample(Conditioning("a"), PARAMS, **SIZES | {"width": 24})
    with pytest.raises(ValueError, match="unknown schedule 'cubic': linear-quadratic, uniform"):
        pipe.sample(Conditioning("a"), PARAMS, **SIZES, method=SamplingMethod(schedule="cubic"))


def test_files_in_the_wrong_place_are_told_apart(folder: Path) -> None:
    with pytest.raises(CheckpointError, match="is a tae, not a lingen"):
        load(folder, denoiser="autoencoder")
    with pytest.raises(CheckpointError, match="is a lingen, not a words"):
        load(folder, text="denoiser")


@pytest.mark.parametrize(
    ("name", "part", "kind", "message"),
    [
        ("text_encoder", WordEncoder(WordsConfig(width=12, head_dim=4)), "words", r"\[8\].*\[12\]"),
        (
            "autoencoder",
            TemporalAutoencoder(TAEConfig(latent_channels=5, widths=(8, 8, 8))),
            "tae",
            "4 latent channels, .* has 5",
        ),
    ],
)
def test_files_of_different_models_do_not_fit_together(
    name: str,
    part: WordEncoder | TemporalAutoencoder,
    kind: str,
    message: str,
    folder: Path,
    tmp_path: Path,
) -> None:
    for path in folder.iterdir():
        (tmp_path / path.name).symlink_to(path)
    (tmp_path / f"{name}.safetensors").unlink()
    metadata = {"kind": kind, "config": part.config.to_dict()}
    save_network(tmp_path / f"{name}.safetensors", part, metadata)
    with pytest.raises(CheckpointError, match=message):
        load(tmp_path)


@pytest.mark.parametrize(
    "metadata",
    [
        {"kind": "words"},
        {"kind": "words", "config": {"wrods": []}},
        {"kind": "words", "config": None},
        {"kind": "words", "config": {"width": "wide"}},
        {"kind": "words", "config": {"width": -8}},
    ],
)
def test_a_config_that_builds_nothing_is_a_damaged_file(
    folder: Path, metadata: dict[str, Any], tmp_path: Path
) -> None:
    for name in ("denoiser", "autoencoder"):
        (tmp_path / f"{name}.safetensors").symlink_to(folder / f"{name}.safetensors")
    save_network(tmp_path / "text_encoder.safetensors", WordEncoder(WORDS), metadata)
    with pytest.raises(CheckpointError, match="damaged weights file") as caught:
        load(tmp_path)
    assert "\n" not in str(caught.value)
