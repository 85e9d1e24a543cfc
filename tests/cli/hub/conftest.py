"""Tiny random twins of open weights: built, saved, and then used from their folders."""

import contextlib
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.cli.protocols import Collect, LoadPipeline, RunHere

WORDS = ("<pad>", "</s>", "<unk>", "a", "red", "blue", "ball", "cat", "runs", "sleeps")


@pytest.fixture(scope="session")
def tokenizer() -> Any:
    """A tokenizer of ten words."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    table = {word: number for number, word in enumerate(WORDS)}
    inner = Tokenizer(models.WordLevel(table, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    )


@pytest.fixture(scope="session")
def umt5() -> Any:
    """A text encoder of one layer."""
    import torch
    from transformers import UMT5Config, UMT5EncoderModel

    torch.manual_seed(1)
    config = UMT5Config(
        vocab_size=len(WORDS),
        d_model=16,
        d_kv=8,
        d_ff=16,
        num_layers=1,
        num_heads=2,
        pad_token_id=0,
        eos_token_id=1,
    )
    return UMT5EncoderModel(config)


@pytest.fixture(scope="session")
def wan_vae() -> Any:
    """Wan's autoencoder, with eight channels."""
    import torch
    from diffusers import AutoencoderKLWan

    torch.manual_seed(2)
    return AutoencoderKLWan(
        base_dim=8,
        z_dim=16,
        dim_mult=[1, 1, 1, 1],
        num_res_blocks=1,
        temperal_downsample=[False, True, True],
    )


@pytest.fixture(scope="session")
def unipc() -> Any:
    """The scheduler that Wan and its relatives come with."""
    from diffusers import UniPCMultistepScheduler

    return UniPCMultistepScheduler(
        prediction_type="flow_prediction",
        use_flow_sigmas=True,
        num_train_timesteps=1000,
        flow_shift=3.0,
    )


@pytest.fixture(scope="session")
def wan_parts(tokenizer: Any, umt5: Any, wan_vae: Any, unipc: Any) -> dict[str, Any]:
    """What pipelines around Wan's autoencoder have in common."""
    return {"tokenizer": tokenizer, "text_encoder": umt5, "vae": wan_vae, "scheduler": unipc}


@pytest.fixture(scope="session")
def twins() -> Any:
    """The module of twins, with a function for each kind of pipeline."""
    from tests.cli.hub import twins

    return twins


@pytest.fixture(scope="session")
def twin_parts(twins: Any, tokenizer: Any, umt5: Any, wan_parts: dict[str, Any]) -> Any:
    """What all twins have in common."""
    return twins.Parts(tokenizer, umt5, wan_parts)


@pytest.fixture(scope="session")
def tiny_wan(twins: Any, twin_parts: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a Wan 2.1 with two layers."""
    return saved(twins.seeded(3, twins.wan, twin_parts), tmp_path_factory, "wan")


@pytest.fixture(scope="session")
def tiny_skyreels(twins: Any, twin_parts: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a SkyReels-V2 with diffusion forcing and two layers."""
    return saved(twins.seeded(4, twins.skyreels_forcing, twin_parts), tmp_path_factory, "skyreels")


@pytest.fixture(scope="session")
def tiny_sana(twins: Any, twin_parts: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a SANA-Video with two layers, and the scheduler that it comes with."""
    from diffusers import DPMSolverMultistepScheduler

    scheduler = DPMSolverMultistepScheduler(
        flow_shift=8.0, use_flow_sigmas=True, prediction_type="flow_prediction"
    )
    pipe = twins.seeded(5, twins.sana, twin_parts, scheduler=scheduler)
    return saved(pipe, tmp_path_factory, "sana")


@pytest.fixture(scope="session")
def tiny_helios(
    twins: Any, wan_parts: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The folder of a Helios with two layers."""
    import torch
    from diffusers import HeliosPipeline, HeliosScheduler, HeliosTransformer3DModel

    torch.manual_seed(6)
    network = {key: twins.WAN_NETWORK[key] for key in twins.WAN_NETWORK.keys() - twins.WAN_ONLY}
    transformer = HeliosTransformer3DModel(**network, rope_dim=(4, 4, 4))
    scheduler = HeliosScheduler(stages=1, stage_range=[0, 1], gamma=1 / 3)
    pipe = HeliosPipeline(transformer=transformer, **wan_parts | {"scheduler": scheduler})
    return saved(pipe, tmp_path_factory, "helios")


@pytest.fixture(scope="session")
def tiny_ltx(twins: Any, twin_parts: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an LTX-Video 0.9.5 with two layers, with an autoencoder that compresses."""
    from diffusers import AutoencoderKLLTXVideo

    vae = {
        "block_out_channels": (4, 8, 16, 32, 64),
        "down_block_types": ("LTXVideo095DownBlock3D",) * 4,
        "decoder_block_out_channels": (8, 16, 32),
        "decoder_layers_per_block": (1,) * 4,
        "spatio_temporal_scaling": (True,) * 4,
        "decoder_spatio_temporal_scaling": (True,) * 3,
        "decoder_inject_noise": (False,) * 4,
        "downsample_type": ("spatial", "temporal", "spatiotemporal", "spatiotemporal"),
        "upsample_residual": (True,) * 3,
        "upsample_factor": (2,) * 3,
        "timestep_conditioning": True,
        "spatial_compression_ratio": 32,
        "temporal_compression_ratio": 8,
    }
    settings = {"latent_channels": 8, "layers_per_block": (1,) * 5}

    def build(parts: Any) -> Any:
        made = AutoencoderKLLTXVideo(**settings | vae)
        return twins.ltx(parts, vae=made, num_layers=2)

    return saved(twins.seeded(7, build, twin_parts), tmp_path_factory, "ltx")


@pytest.fixture
def direct() -> LoadPipeline:
    """Return a function that loads a pipeline of diffusers in the precision of a video."""
    import diffusers
    import torch

    from lingen_cli.requests.recipe import recipe_from_video

    def load(name: str, folder: Path, video: Path) -> Any:
        dtype = getattr(torch, recipe_from_video(video).dtype)
        kinds = {"default": dtype, "vae": torch.float32}
        minor = int(diffusers.__version__.split(".")[1])
        key = "dtype" if minor >= 42 else "torch_dtype"  # its name before
        return getattr(diffusers, name).from_pretrained(folder, **{key: kinds})

    return load


def saved(pipe: Any, tmp_path_factory: pytest.TempPathFactory, name: str) -> Path:
    """The folder that a pipeline was saved into."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    folder = tmp_path_factory.mktemp(name)
    pipe.save_pretrained(folder)
    return folder


BLOCKS = {
    "wan": "WanBlocks",
    "wan-2.2-a14b": "Wan22Blocks",
    "wan-2.2-i2v": "Wan22Image2VideoBlocks",
}
"""Name of a twin -> blocks of its modular pipeline."""


@pytest.fixture(scope="session")
def modular(
    twin: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Path]:
    """Return a function from the name of a twin to the folder of its modular pipeline."""
    made: dict[str, Path] = {}

    def folder(name: str) -> Path:
        if name not in made:
            import diffusers

            where = tmp_path_factory.mktemp("modular") / name
            with warnings.catch_warnings(action="ignore"):  # of classes that are imported with it
                pipe: Any = diffusers.ModularPipeline.from_pretrained(str(twin(name)))
                assert type(pipe.blocks).__name__ == BLOCKS[name]
                pipe.load_components()
                pipe.save_pretrained(str(where))
            made[name] = where
        return made[name]

    return folder


@pytest.fixture
def hub(lingen_here: RunHere, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> RunHere:
    """As `lingen_here`, with a state folder and a cache of latents of its own."""
    monkeypatch.setenv("LINGEN_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("LINGEN_CACHE_DIR", str(tmp_path / "latents"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return lingen_here


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> Collect:
    """Return a context in which the frames that are given to the encoder are collected."""
    from lingen_cli.media.writer import VideoWriter

    @contextlib.contextmanager
    def collect() -> Iterator[Frames]:
        batches: list[np.ndarray] = []
        write = VideoWriter.write
        with monkeypatch.context() as patch:

            def keep(self: VideoWriter, frames: np.ndarray) -> None:
                batches.append(np.array(frames))
                write(self, frames)

            patch.setattr(VideoWriter, "write", keep)
            frames = Frames(batches)
            yield frames

    return collect


@pytest.fixture
def streamed(monkeypatch: pytest.MonkeyPatch, written: Collect) -> Callable[..., np.ndarray]:
    """Return a function that runs a command with `-o -` and returns the frames that it wrote."""

    def collect(generate: RunHere, *arguments: object) -> np.ndarray:
        monkeypatch.setattr(
            "lingen_cli.generation.stream._Sink.write", lambda self, data: len(data)
        )
        with written() as frames:
            result = generate(*arguments, "-o", "-")
        assert result.returncode == 0, result.stderr
        return frames.all

    return collect


class Frames:
    """What was written, uint8 (T, H, W, 3)."""

    def __init__(self, batches: list[np.ndarray]) -> None:
        self._batches = batches

    @property
    def all(self) -> np.ndarray:
        return np.concatenate(self._batches)


@pytest.fixture
def plain() -> Callable[[Any], np.ndarray]:
    """Return a function from what a pipeline gives with `output_type="np"` to uint8 frames."""
    return lambda output: (np.asarray(output.frames[0]) * 255).round().astype(np.uint8)


@pytest.fixture(scope="session")
def twin(
    twins: Any, twin_parts: Any, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Path]:
    """Return a function from the name of a twin to its folder."""
    made: dict[str, Path] = {}

    def folder(name: str) -> Path:
        if name not in made:
            made[name] = saved(twins.build(name, twin_parts), tmp_path_factory, name)
        return made[name]

    return folder
