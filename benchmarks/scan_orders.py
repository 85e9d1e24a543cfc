"""What the order of the tokens costs: transposes beside gathers, alone and in the whole network.

    python benchmarks/scan_orders.py
    python benchmarks/scan_orders.py --frames 31 --rounds 3

Every round times all orders in turn; the medians are compared with Rotary Major Scan's. Writes
scan_orders.json and scan_orders.md.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median

import torch
from torch import Tensor

from lingen_models.network_config import PRESETS, SCAN_ORDERS
from lingen_models.networks.denoiser import LinGen
from lingen_models.networks.scan_orders import scan_of_layer
from lingen_models.precision import compute_dtype

ORDERS = ("rms", "row-major", "zigzag", "hilbert")


def timed(action: Callable[[], object], device: str) -> float:
    """Seconds that it takes."""
    if device == "cuda":
        torch.cuda.synchronize()
    begun = time.perf_counter()
    action()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - begun


def orders_alone(x: Tensor, order: str, layers: int) -> Callable[[], object]:
    """Read a grid in the order of each layer, and put it back in place."""
    axes = SCAN_ORDERS[order]
    grid = (x.shape[1], x.shape[2], x.shape[3])

    def there_and_back() -> None:
        for layer in range(layers):
            scan = scan_of_layer(axes, layer)
            scan.restore(scan.flatten(x).contiguous(), grid).contiguous()

    return there_and_back


def whole_network(x: Tensor, order: str, depth: int) -> Callable[[], object]:
    """A step of the network, with random weights, on latents of twice the side of `x`."""
    torch.manual_seed(0)
    config = replace(PRESETS["mini"], depth=depth, scan_axes=SCAN_ORDERS[order])
    network = LinGen(config).to(x.device, x.dtype).eval()
    frames, high, wide = x.shape[1], 2 * x.shape[2], 2 * x.shape[3]
    latents = torch.randn(1, config.latent_channels, frames, high, wide).to(x)
    t = torch.full((1, frames), 0.5, device=x.device)
    text = torch.randn(1, 8, config.text_dims[0]).to(x)
    mask = torch.ones(1, 8, dtype=torch.bool, device=x.device)
    return lambda: network(latents, t, [text], [mask])


def table(result: dict[str, dict[str, list[float]]]) -> str:
    """The result as markdown."""
    lines = ["| order | there and back, ms | against rms | a step, ms | against rms |"]
    lines.append("|---|---|---|---|---|")
    for order in ORDERS:
        cells = []
        for kind in ("alone", "network"):
            took = median(result[kind][order])
            pairs = zip(result[kind][order], result[kind]["rms"], strict=True)
            ratio = median(mine / theirs for mine, theirs in pairs)
            cells += [f"{took * 1e3:.1f}", f"{ratio:.2f}"]
        lines.append(f"| {order} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, write, and print the table."""
    parser = argparse.ArgumentParser(description="What the order of the tokens costs.")
    parser.add_argument("--frames", type=int, default=121, help="latent frames")
    parser.add_argument("--side", type=int, default=8, help="tokens per side")
    parser.add_argument("--depth", type=int, default=PRESETS["mini"].depth)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results"))
    options = parser.parse_args(arguments)
    from lingen_training.bench.machine import describe

    shape = (1, options.frames, options.side, options.side, PRESETS["mini"].width)
    x = torch.randn(shape).to(options.device, compute_dtype(options.device))
    with torch.inference_mode():
        actions = {
            "alone": {order: orders_alone(x, order, options.depth) for order in ORDERS},
            "network": {order: whole_network(x, order, options.depth) for order in ORDERS},
        }
        result: dict[str, dict[str, list[float]]] = {
            kind: {order: [] for order in ORDERS} for kind in actions
        }
        for round_ in range(-1, options.rounds):  # the first is for warming up
            for kind, of_kind in actions.items():
                for order, action in of_kind.items():
                    took = timed(action, options.device)
                    if round_ >= 0:
                        result[kind][order].append(took)
    options.output.mkdir(parents=True, exist_ok=True)
    settings = {key: str(value) for key, value in vars(options).items()}
    whole = {"machine": describe(options.device), "settings": settings, "seconds": result}
    text = json.dumps(whole, indent=2) + "\n"
    (options.output / "scan_orders.json").write_text(text, encoding="utf-8")
    (options.output / "scan_orders.md").write_text(table(result) + "\n", encoding="utf-8")
    print(table(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
