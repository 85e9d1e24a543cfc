"""One guided step of the real sampling loop on random weights: its time and its memory."""

from __future__ import annotations

import ctypes
import gc
import re
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from lingen_models.network_config import LinGenConfig
from lingen_models.networks.denoiser import LinGen
from lingen_models.precision import compute_dtype
from lingen_models.sampling.denoise import TextFeatures, row_by_row, sample_latents
from lingen_models.sampling.guidance import Guidance
from lingen_training.bench.cases import Case

Step = Callable[[], object]
CLOCKS = {"wall": time.perf_counter, "processor": time.process_time}
"""The second counts what this process had of the processor, all threads together: on a machine
that others use too, it says more."""
_PEAK = re.compile(r"VmHWM:\s+(\d+) kB")


def build(config: LinGenConfig, device: str) -> LinGen:
    """A network with random weights, which take the same time as trained ones."""
    torch.manual_seed(0)
    with torch.device(device):
        network = LinGen(config)
    return network.to(compute_dtype(device)).eval().requires_grad_(False)


def step_of(network: LinGen, case: Case, device: str) -> Step:
    """A step with guidance, which asks the network twice: with the prompt, and without."""
    config = network.config
    noise = torch.randn(1, config.latent_channels, *case.latent_shape, device=device)
    features = [
        torch.randn(1, case.text_tokens, size, device=device, dtype=compute_dtype(device))
        for size in config.text_dims
    ]
    masks = [torch.ones(1, case.text_tokens, dtype=torch.bool, device=device) for _ in features]
    text = TextFeatures(tuple(features), tuple(masks))
    called = network if case.together else row_by_row(network)
    times = torch.tensor([0.0, 1.0])
    return partial(sample_latents, called, noise, text, text, times=times, guidance=Guidance(3.0))


def timed(step: Step, device: str, clock: str = "wall") -> float:
    """Seconds, by the events of the GPU where there is one, else by one of `CLOCKS`."""
    if device == "cpu":
        read = CLOCKS[clock]
        start = read()
        step()
        return read() - start
    begin, end = moment(), moment()
    begin.record()
    step()
    end.record()
    end.synchronize()
    return float(begin.elapsed_time(end)) / 1e3


def moment() -> torch.cuda.Event:
    """A mark that a GPU sets when it comes to it."""
    return torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]


def weight_bytes(network: LinGen) -> int:
    """Count the bytes of all parameters."""
    return sum(one.numel() * one.element_size() for one in network.parameters())


def growth(step: Step, device: str) -> int | None:
    """The most bytes that a step holds on top of what was held before it.

    On a GPU what torch allocated; on Linux the peak of the process's resident memory, which the
    system is asked to count anew; elsewhere None.
    """
    gc.collect()
    if device != "cpu":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        step()
        return torch.cuda.max_memory_allocated() - before
    try:
        ctypes.CDLL(None).malloc_trim(0)  # hands freed memory back, or a step would reuse it
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        before = _peak()
    except (OSError, AttributeError):
        return None
    step()
    return _peak() - before


def _peak() -> int:
    found = _PEAK.search(Path("/proc/self/status").read_text(encoding="ascii"))
    if found is None:
        raise OSError("no VmHWM")
    return int(found[1]) * 1024
