"""Peak memory of decoding and writing: ten minutes of latents against one minute.

    python benchmarks/memory.py
    python benchmarks/memory.py --minutes 0.1,0.2

Each length runs in a fresh process, which reports the most memory it ever held (resident set).
Latents and weights are random; the path is the one `lingen generate` takes. Writes memory.json and
memory.md; exits with 1 when the longest takes more than 10% above the shortest.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from lingen_training.markdown_table import table_of
from measuring import PEAK_UNIT, options_parser, write_result

FPS = 16
LIMIT = 1.10


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure every length, write, and print the table."""
    parser = options_parser(__doc__)
    parser.add_argument("--minutes", default="1,10", help="lengths, the shortest first")
    parser.add_argument("--size", type=int, default=128, help="pixels per side")
    parser.add_argument("--child", type=float, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.child is not None:
        print(json.dumps(decode_and_write(options.child, options.size)))
        return 0
    from lingen_training.bench.machine import describe

    machine = describe("cpu")
    lengths = [float(length) for length in options.minutes.split(",")]
    runs = [in_a_fresh_process(length, options.size) for length in lengths]
    ratio = runs[-1]["peak_bytes"] / runs[0]["peak_bytes"]
    result = {"machine": machine, "size": options.size, "runs": runs, "ratio": ratio}
    write_result(options.output, "memory", result, table(result))
    return 0 if ratio <= LIMIT else 1


def in_a_fresh_process(minutes: float, size: int) -> dict[str, Any]:
    """What `decode_and_write` reports from a process that did nothing else."""
    command = [sys.executable, __file__, "--child", str(minutes), "--size", str(size)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return dict(json.loads(done.stdout))


def decode_and_write(minutes: float, size: int) -> dict[str, Any]:
    """Decode random latents into an mp4, as `lingen generate` does; the peak is in bytes."""
    import torch

    from lingen_cli.media.writer import VideoWriter
    from lingen_models.network_config import PRESETS, TAEConfig, WordsConfig
    from lingen_models.networks.denoiser import LinGen
    from lingen_models.networks.video_autoencoder import TemporalAutoencoder
    from lingen_models.networks.word_encoder import WordEncoder
    from lingen_models.pipelines.text_to_video import TextToVideo
    from lingen_models.precision import compute_dtype

    config = replace(PRESETS["mini"], depth=1)  # the denoiser is not used here
    pipe = TextToVideo(
        LinGen(config), TemporalAutoencoder(TAEConfig()), [WordEncoder(WordsConfig())]
    )
    pipe.autoencoder.to(compute_dtype("cpu"))
    frames = round(minutes * 60 * FPS)
    side = size // pipe.space_stride
    shape = (1, config.latent_channels, pipe.latent_frames(frames), side, side)
    latents = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "video.mp4"
        with VideoWriter(path, width=size, height=size, fps=Fraction(FPS)) as writer:
            for chunk in pipe.decode(latents, frames):
                writer.write(chunk)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * PEAK_UNIT
    return {"minutes": minutes, "frames": writer.frames, "peak_bytes": peak}


def table(result: dict[str, Any]) -> str:
    """The result as markdown."""
    rows = [
        (f"{run['minutes']:g} min", f"{run['frames']:,}", f"{run['peak_bytes'] / 2**20:,.0f} MiB")
        for run in result["runs"]
    ]
    compared = f"The longest takes {result['ratio']:.3f} times the memory of the shortest."
    return table_of(("video", "frames", "peak memory"), rows) + f"\n\n{compared}"


if __name__ == "__main__":
    sys.exit(main())
