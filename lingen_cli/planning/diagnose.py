"""Checks of `lingen doctor`. Each is one line that says what is, and what to do."""

from __future__ import annotations

import os
import platform
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from lingen_cli import TESTED, __version__
from lingen_cli.errors import LingenError
from lingen_cli.exit_codes import newer_than_tested
from lingen_cli.inputs.settings import Settings
from lingen_models.sampling.conditioning import Conditioning
from lingen_models.sampling.params import SamplingParams

PACKAGES = ("torch", "av", "einops", "safetensors", "numpy", "pydantic", "typer", "rich", "pluggy")

EXTRAS = (
    ("huggingface_hub", "hub", "`lingen models pull`, for models of plugins"),
    ("matplotlib", "plots", "`lingen check --plot`, and plots of evaluations and benchmarks"),
    ("tensorboard", "tensorboard", "`lingen train --log-to tensorboard`"),
    ("diffusers", "hub", "open weights such as wan-1.3b"),
    ("ray", "ray", "`lingen batch --ray`"),
    ("submitit", "slurm", "`lingen batch --slurm`"),
)
"""Packages that nobody needs: package, extra, and what it is for."""


@dataclass(frozen=True)
class Finding:
    """`problem` keeps lingen from making a video here; `hint` only makes it slower."""

    check: str
    state: Literal["ok", "hint", "problem"]
    detail: str


def diagnose() -> Iterator[Finding]:
    """Run every check; one that fails unexpectedly is a finding too."""
    checks: list[tuple[str, Callable[[], Iterator[Finding]]]] = [
        ("versions", _versions),
        ("torch", _torch),
        ("encoder", _encoder),
        ("kernels", _kernels),
        ("weights", _weights),
        ("open weights", _hub_models),
        ("output folder", _folder),
        ("self-test", _self_test),
        ("extras", _extras),
    ]
    for name, check in checks:
        try:
            yield from check()
        except (Exception, SystemExit) as error:
            yield Finding(name, "problem", f"{type(error).__name__}: {error}")


def _versions() -> Iterator[Finding]:
    python = f"python {platform.python_version()} on {platform.system()} {platform.machine()}"
    yield Finding("lingen", "ok", f"{__version__}, {python}")
    for package in PACKAGES:
        try:
            found = version(package)
        except PackageNotFoundError:
            yield Finding(package, "problem", "not installed; install lingen again")
            continue
        if package in TESTED and newer_than_tested(package):
            found += (
                f" is newer than {TESTED[package]}, the newest version tested with lingen: "
                "the self-test below tells whether it works"
            )
            yield Finding(package, "hint", found)
        else:
            yield Finding(package, "ok", found)


def _torch() -> Iterator[Finding]:
    import torch

    from lingen_models import torch_private

    yield Finding("threads", "ok", f"{torch.get_num_threads()} of {os.cpu_count()} processors")
    device = "cpu (no CUDA GPU)"
    if torch.cuda.is_available():
        gpu = torch.cuda.get_device_properties(0)
        device = f"{gpu.name}, {gpu.total_memory / 2**30:.0f} GiB, CUDA {torch.version.cuda}"
    yield Finding("device", "ok", device)
    policy = os.environ.get("OMP_WAIT_POLICY", "")
    if policy.lower() == "passive":
        yield Finding("OMP_WAIT_POLICY", "ok", policy)
    else:
        yield Finding("OMP_WAIT_POLICY", "hint", f"{policy}; passive is faster on a busy machine")
    yield _bf16()
    for part, said in torch_private.missing().items():
        yield Finding("torch parts", "hint", f"no {part} in this torch: {said}")


def _bf16() -> Finding:
    """Compare one matrix product in bfloat16 with the same in float32."""
    import torch

    from lingen_training.bench.step import timed

    device = "cuda" if torch.cuda.is_available() else "cpu"

    def seconds(dtype: torch.dtype) -> float:
        x = torch.ones(512, 512, device=device, dtype=dtype)
        x @ x  # the first time is slower
        return timed(lambda: [x @ x for _ in range(5)], device)

    ratio = seconds(torch.float32) / seconds(torch.bfloat16)
    return Finding("bfloat16", "ok" if ratio > 1 else "hint", f"{ratio:.1f} x the speed of float32")


def _encoder() -> Iterator[Finding]:
    from lingen_cli.media.writer import CODEC, check_encoder

    try:
        check_encoder(width=128, height=128, fps=Fraction(16), crf=18, preset="medium")
    except LingenError as error:
        yield Finding("encoder", "problem", str(error))
    else:
        yield Finding("encoder", "ok", CODEC)


def _kernels() -> Iterator[Finding]:
    import torch

    from lingen_models.kernels.dispatch import scan_route

    if not torch.cuda.is_available():
        yield Finding("kernels", "ok", "PyTorch; Triton and mamba-ssm are for CUDA GPUs")
        return
    device = torch.device("cuda")
    sampling, training = (scan_route(device, gradients=known) for known in (False, True))
    found = f"{sampling} for sampling, {training} for training"
    if training == "pytorch":
        yield Finding("kernels", "hint", f"{found}; `lingen kernels install` makes that faster")
    else:
        yield Finding("kernels", "ok", found)


def _weights() -> Iterator[Finding]:
    from lingen_cli.zoo.availability import state_of
    from lingen_cli.zoo.locate import locate
    from lingen_plugins.registry import collect

    registry, absent = collect(), 0
    for name, variant in registry.model_variants.items():
        if state_of(variant) in ("none", "to pull"):
            absent += 1
            continue
        try:
            model = locate(registry, name)
        except LingenError as error:
            yield Finding(name, "problem", str(error))
        else:
            sums = ", ".join(f"{part} {digest[:12]}" for part, digest in model.hashes.items())
            yield Finding(name, "ok", sums)
    if absent:
        detail = f"{absent} have no weights here, which nothing needs: lingen models list --all"
        yield Finding("other models", "ok", detail)


def _hub_models() -> Iterator[Finding]:
    """Open weights from elsewhere that are here, beside the memory that there is for them."""
    from lingen_cli.zoo.locate_hub import cached
    from lingen_plugins.registry import collect

    for name, model in collect().hub_models.items():
        if cached(model) is None:
            continue
        from lingen_plugins.hub.fit_ladder import free_memory

        size, free = model.weight_bytes / 1e9, free_memory() / 1e9
        detail = f"weights are here, {size:.1f} GB in memory, of which {free:.1f} GB are free"
        if size > free:
            yield Finding(name, "hint", f"{detail}; --offload disk needs less")
        else:
            yield Finding(name, "ok", f"{detail}; `lingen plan --model {name}` says more")


def _folder() -> Iterator[Finding]:
    folder = Path.cwd()
    try:
        with tempfile.TemporaryFile(dir=folder):
            yield Finding("output folder", "ok", f"{folder} can be written")
    except OSError as error:
        yield Finding("output folder", "hint", f"{folder}: {error.strerror}")


def _self_test() -> Iterator[Finding]:
    """Make a second of video with the shipped model, write it, and read it back."""
    import time

    from lingen_cli.media.verify_video import verify_video
    from lingen_cli.media.writer import VideoWriter
    from lingen_cli.zoo.load_model import load_model
    from lingen_cli.zoo.locate import locate
    from lingen_plugins.registry import collect

    begin = time.perf_counter()
    pipe = load_model(locate(collect(), Settings.model_fields["model"].default), "auto")
    side, frames = 64, 17
    prompt, params = Conditioning("a red ball"), SamplingParams(steps=2, guidance_scale=2.0)
    latents = pipe.sample(prompt, params, frames=frames, height=side, width=side)
    facts: dict[str, Any] = {"width": side, "height": side, "fps": Fraction(16)}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "test.mp4"
        with VideoWriter(path, **facts) as writer:
            for images in pipe.decode(latents, frames):
                writer.write(images)
        verify_video(path, frames=frames, **facts)
    seconds = time.perf_counter() - begin
    detail = f"{frames} frames sampled, written and read back in {seconds:.1f} s on {pipe.device}"
    yield Finding("self-test", "ok", detail)


def _extras() -> Iterator[Finding]:
    for package, extra, use in EXTRAS:
        absent = f"not installed; for {use}: pip install 'lingen[{extra}]'"
        yield Finding(package, "ok", version(package) if find_spec(package) else absent)
