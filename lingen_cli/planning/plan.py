"""A plan: what a job needs, put together from its configuration and from short measurements."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lingen_cli.planning.count_passes import Pass, count_passes
from lingen_cli.planning.peak_memory import OVERHEAD, held_by_decoder, held_by_denoiser
from lingen_cli.planning.time_probe import (
    Measured,
    flops_of,
    probe_decoder,
    probe_denoiser,
    probe_writer,
)
from lingen_cli.requests.job import Job
from lingen_cli.zoo.availability import size_of, state_of
from lingen_cli.zoo.load_model import find_device
from lingen_models.checkpoints.safetensors import read_metadata
from lingen_models.flops import Shape, token_grid
from lingen_models.network_config import LinGenConfig, TAEConfig
from lingen_models.networks.denoiser import LinGen
from lingen_models.networks.video_autoencoder import SPACE_STRIDE, TemporalAutoencoder
from lingen_models.precision import compute_dtype
from lingen_plugins.contracts import ModelVariant
from lingen_plugins.parts import KIND as PLUGIN


@dataclass(frozen=True)
class Plan:
    """Sizes in bytes, times in seconds; None where nothing is known."""

    model: str
    device: str
    dtype: str
    seconds: float
    frames: int
    width: int
    height: int
    steps: int
    sampler: str
    frugal: bool
    tokens: int
    passes: int
    """Rows that the denoiser is asked about."""
    flops: int
    weights: int
    time: dict[str, float]
    """By phase; without those of which nothing is known."""
    ram: int | None
    gpu: int | None
    disk: dict[str, int]
    download: int | None
    """Of weights that are not here; 0 where they are."""
    unknown: tuple[str, ...]
    """What the figures leave out."""

    @property
    def total(self) -> float:
        """Seconds in all."""
        return sum(self.time.values())

    @property
    def memory(self) -> int | None:
        """Memory of the card, or, where there is none, of the machine."""
        return self.ram if self.gpu is None else self.gpu

    def to_dict(self) -> dict[str, Any]:
        """JSON types."""
        return {**vars(self), "unknown": list(self.unknown), "total_seconds": self.total}


class Planner:
    """Plans for one job, and for the same in other sizes and steps: measures once, then scales."""

    def __init__(self, job: Job, load_seconds: float) -> None:
        """Raises NotAvailableError (69) for an absent device."""
        variant = job.model.variant
        assert isinstance(variant, ModelVariant)
        self.variant, self.job, self.load_seconds = variant, job, load_seconds
        self.device = find_device(job.runtime.device)
        self.dtype = compute_dtype(self.device)
        self.config = LinGenConfig.from_dict(
            _facts(job, "denoiser").get("config") or variant.config
        )
        codec = _facts(job, "autoencoder")
        foreign = codec.get("kind") == PLUGIN
        self.codec = None if foreign else TAEConfig.from_dict(codec.get("config") or {})
        self.stride: int = codec["gives"]["space_stride"] if foreign else SPACE_STRIDE
        self._passes: dict[tuple[Any, ...], Counter[Pass]] = {}
        self._denoisers: dict[int, Measured] = {}
        self._decoders: dict[int, Measured] = {}
        self.write_seconds = probe_writer(
            job.timeline.width,
            job.timeline.height,
            job.timeline.rate,
            job.output.crf,
            job.output.encoder_preset,
        )
        self.base = _resident()

    def plan(self, job: Job) -> Plan:
        """Plan what `job` needs, which differs from the first one in size, steps and thrift
        alone."""
        passes = self._passes_of(job)
        flops = {one: flops_of(self.config, one[0], self._shape(job, one[1])) for one in passes}
        sampling, held = 0.0, 0
        for one, count in passes.items():
            measured = self._denoiser(one[0])
            sampling += count * measured.seconds_of(flops[one])
            held = max(held, self._held(job, one, measured, flops[one]))
        frames = max(one[1] for one in passes)
        latents = self._latents(job)
        times = {"load": self.load_seconds, "sample": sampling}
        unknown = []
        if self.codec is None:
            unknown.append("decoding")
        else:
            chunk = 1 if job.runtime.frugal else 2
            codec = self._decoder(chunk)
            times["decode"] = codec.seconds_of(math.prod(latents))
            size = (chunk, *latents[1:])
            if self.device == "cpu":
                held = max(held, int(OVERHEAD * held_by_decoder(self.codec, size, self.dtype)))
            else:
                held = max(held, codec.held_of(math.prod(size)))
        area = math.prod(job.timeline.size) / math.prod(self.job.timeline.size)
        times["write"] = self.write_seconds * job.timeline.frames * area
        weights = self._weights(unknown)
        values = 4 * self.config.latent_channels * math.prod(latents)
        beside = 6 * values  # noise, state, velocity, what the journal holds
        on_gpu = self.device != "cpu"
        card = self._denoiser_bytes if job.runtime.frugal else weights
        stretch = job.timeline.sampled[0]
        return Plan(
            model=self.variant.name,
            device=self.device,
            dtype=str(self.dtype).removeprefix("torch."),
            seconds=job.timeline.seconds,
            frames=job.timeline.frames,
            width=job.timeline.width,
            height=job.timeline.height,
            steps=stretch.sampling.steps,
            sampler=stretch.sampling.sampler,
            frugal=job.runtime.frugal,
            tokens=math.prod(token_grid(self.config, self._shape(job, frames))),
            passes=sum(rows * count for (rows, _), count in passes.items()),
            flops=sum(flops[one] * count for one, count in passes.items()),
            weights=weights,
            time=times,
            ram=None
            if self.base is None
            else self.base + beside + (0 if on_gpu else weights + held),
            gpu=card + held + beside if on_gpu else None,
            disk={
                "video": job.expected_bytes,
                "while it is made": 2 * job.expected_bytes + 2 * values,
                "latents": values,
            },
            download=self._download(),
            unknown=tuple(unknown),
        )

    def _passes_of(self, job: Job) -> Counter[Pass]:
        key = (job.timeline.sampled[0].sampling.steps, job.runtime.frugal)
        if key not in self._passes:
            self._passes[key] = count_passes(
                job, self.config, self.stride, frugal=job.runtime.frugal
            )
        return self._passes[key]

    def _held(self, job: Job, one: Pass, measured: Measured, flops: int) -> int:
        if self.device != "cpu":
            return measured.held_of(flops)
        shape = self._shape(job, one[1])
        return int(OVERHEAD * held_by_denoiser(self.config, one[0], shape, self.dtype))

    def _shape(self, job: Job, frames: int) -> Shape:
        return frames, job.timeline.height // self.stride, job.timeline.width // self.stride

    def _latents(self, job: Job) -> Shape:
        return self._shape(job, 1 + -(-(job.timeline.frames - 1) // job.model.time_stride))

    def _denoiser(self, rows: int) -> Measured:
        if rows not in self._denoisers:
            frames = max(frames for one in self._passes.values() for _, frames in one)
            shape = self._shape(self.job, frames)
            self._denoisers[rows] = probe_denoiser(self.config, rows, shape, self.device)
        return self._denoisers[rows]

    def _decoder(self, chunk: int) -> Measured:
        assert self.codec is not None
        if chunk not in self._decoders:
            shape = self._shape(self.job, chunk)
            self._decoders[chunk] = probe_decoder(self.codec, shape, self.device, chunk=chunk)
        return self._decoders[chunk]

    @cached_property
    def _denoiser_bytes(self) -> int:
        with torch.device("meta"):
            return _bytes(LinGen(self.config), self.dtype)

    def _weights(self, unknown: list[str]) -> int:
        """Of all networks in memory."""
        found = self._denoiser_bytes
        if self.codec is not None:
            with torch.device("meta"):
                found += _bytes(TemporalAutoencoder(self.codec), self.dtype)
        texts = self.job.model.text_encoders
        if not texts:
            unknown.append("the text encoders")
        wider = self.dtype.itemsize / 2  # files are in bf16
        return found + int(sum(path.stat().st_size for path in texts) * wider)

    def _download(self) -> int | None:
        if self.job.model.files:
            return 0
        return size_of(self.variant) if state_of(self.variant) == "to pull" else None


def _bytes(network: nn.Module, dtype: torch.dtype) -> int:
    return sum(one.numel() for one in network.parameters()) * dtype.itemsize


def _facts(job: Job, part: str) -> dict[str, Any]:
    """The metadata of weights that are here."""
    path = job.model.files.get(part)
    return {} if path is None else read_metadata(path)


def _resident() -> int | None:
    """Bytes that this process holds; None where the system does not tell."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("VmRSS:")), None)
