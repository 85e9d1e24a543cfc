"""Running out of memory: the ladder that a run walks down before it gives up."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch

from lingen_cli.generation.low_memory import with_less_if_needed
from lingen_cli.terminal.events import Events
from lingen_cli.terminal.progress import Progress
from lingen_models.networks.denoiser import LinGen
from lingen_models.networks.video_autoencoder import TemporalAutoencoder
from lingen_models.precision import compute_dtype
from tests.cli.protocols import Fails, RunHere

FULL = RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: tried 9 bytes")


@pytest.fixture
def generate(
    lingen_here: RunHere, tiny_weights: Path
) -> Callable[..., subprocess.CompletedProcess[str]]:
    def run(name: str) -> subprocess.CompletedProcess[str]:
        options = ("--frames", 41, "--steps", 3, "--size", 64, "--seed", 1)
        return lingen_here(
            "generate", "a red ball", *options, "--weights", tiny_weights, "-o", name
        )

    return run


def images(path: str) -> np.ndarray:
    with av.open(path) as container:
        return np.stack([frame.to_ndarray() for frame in container.decode(video=0)]).astype(int)


def test_two_rows_are_too_many(
    generate: Callable[..., subprocess.CompletedProcess[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert generate("whole.mp4").returncode == 0
    forward = LinGen.forward

    def narrow(self: LinGen, x: torch.Tensor, *arguments: Any) -> torch.Tensor:
        if x.shape[0] > 1:
            raise FULL
        return forward(self, x, *arguments)

    monkeypatch.setattr(LinGen, "forward", narrow)
    result = generate("a.mp4")
    assert result.returncode == 0, result.stderr
    assert "warning: out of memory; the networks get smaller parts at a time" in result.stderr
    assert np.abs(images("a.mp4") - images("whole.mp4")).mean() < 1


def test_decoding_takes_smaller_parts_too(
    generate: Callable[..., subprocess.CompletedProcess[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert generate("whole.mp4").returncode == 0
    in_chunks = TemporalAutoencoder.decode_in_chunks

    def narrow(
        self: TemporalAutoencoder, latents: torch.Tensor, chunk: int = 2, start: int = 0
    ) -> Iterator[torch.Tensor]:
        if chunk > 1:
            raise MemoryError
        return in_chunks(self, latents, chunk, start)

    monkeypatch.setattr(TemporalAutoencoder, "decode_in_chunks", narrow)
    result = generate("a.mp4")
    assert result.returncode == 0, result.stderr
    assert np.abs(images("a.mp4") - images("whole.mp4")).mean() < 1


def test_where_nothing_helps_it_is_an_error(
    generate: Callable[..., subprocess.CompletedProcess[str]],
    fails: Fails,
    monkeypatch: pytest.MonkeyPatch,
    clean_environment: Path,
) -> None:
    def never(self: LinGen, *arguments: object) -> None:
        raise FULL

    monkeypatch.setattr(LinGen, "forward", never)
    fails(generate("a.mp4"), 71, "out of memory; try a smaller --size")
    assert not Path("a.mp4").exists()


def test_other_errors_are_not_tried_again() -> None:
    tried = []

    def attempt() -> None:
        tried.append(1)
        raise ValueError

    pipe: Any = _Pipe("cpu")
    with pytest.raises(ValueError):
        with_less_if_needed(pipe, Progress(Events(None), quiet=True), attempt)
    assert tried == [1]


class _Pipe:
    """What the ladder sees of a pipeline, on a device that this machine may not have."""

    def __init__(self, device: str) -> None:
        self.frugal, self.device = False, torch.device(device)
        self.did: list[str] = []
        self.offloaded, self.may_offload = False, True
        self.text_encoders, self.autoencoder, self.denoiser = (), torch.nn.Linear(1, 1), self

    def to(self, device: str, dtype: torch.dtype) -> None:
        assert dtype == compute_dtype(device)
        self.did.append(device)

    def less(self) -> Any:
        from lingen_models.pipelines.text_to_video import TextToVideo

        return TextToVideo.less(self)  # type: ignore[arg-type]

    def save_memory(self) -> None:
        self.frugal = True
        self.did.append("small parts")

    def offload(self) -> None:
        self.offloaded = True
        self.did.append("offload")


@pytest.mark.parametrize("needed", range(4))
def test_the_rungs_on_a_gpu(needed: int) -> None:
    pipe: Any = _Pipe("cuda")

    def attempt() -> str:
        if len(pipe.did) < needed:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return "made"

    assert with_less_if_needed(pipe, Progress(Events(None), quiet=True), attempt) == "made"
    assert pipe.did == ["small parts", "offload", "cpu"][:needed]


def test_an_offloaded_pipeline_gives_the_same(tiny_weights: Path) -> None:
    from lingen_models.pipelines.text_to_video import TextToVideo
    from lingen_models.sampling.conditioning import Conditioning
    from lingen_models.sampling.params import SamplingParams

    denoiser, autoencoder = (
        tiny_weights / f"{name}.safetensors" for name in ("denoiser", "autoencoder")
    )
    texts = [tiny_weights / "text_encoder.safetensors"]
    pipe = TextToVideo.load(denoiser, autoencoder, texts, dtype=torch.float64)
    noise: dict[str, Any] = {
        "params": SamplingParams(steps=2),
        "frames": 17,
        "height": 64,
        "width": 64,
    }
    whole = pipe.sample(Conditioning("a red ball"), **noise)
    pipe.save_memory()
    torch.testing.assert_close(pipe.sample(Conditioning("a red ball"), **noise), whole)
    pipe.offload()
    assert pipe.encode_texts(["a"]).features[0].dtype == torch.float64
    latents = pipe.sample(Conditioning("a red ball"), **noise)
    torch.testing.assert_close(latents, whole, rtol=1e-2, atol=1e-2)
    assert sum(part.shape[0] for part in pipe.decode(latents, 17)) == 17
