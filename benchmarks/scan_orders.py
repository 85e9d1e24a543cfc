"""What the order of the tokens costs: transposes beside gathers, alone and in the whole network.

    python benchmarks/scan_orders.py
    python benchmarks/scan_orders.py --frames 31 --rounds 3

Every round times all orders in turn; the medians are compared with Rotary Major Scan's. Writes
scan_orders.json and scan_orders.md.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from statistics import median

import torch
from torch import Tensor

from lingen_models.network_config import PRESETS, SCAN_ORDERS
from lingen_models.networks.denoiser import LinGen
from lingen_models.networks.scan_orders import scan_of_layer
from lingen_models.precision import compute_dtype
from lingen_training.bench.step import timed
from lingen_training.markdown_table import table_of
from measuring import circumstances, options_parser, write_result

ORDERS = ("rms", "row-major", "zigzag", "hilbert")


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
    rows = []
    for order in ORDERS:
        cells = [order]
        for kind in ("alone", "network"):
            took = median(result[kind][order])
            pairs = zip(result[kind][order], result[kind]["rms"], strict=True)
            ratio = median(mine / theirs for mine, theirs in pairs)
            cells += [f"{took * 1e3:.1f}", f"{ratio:.2f}"]
        rows.append(cells)
    head = ("order", "there and back, ms", "against rms", "a step, ms", "against rms")
    return table_of(head, rows)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, write, and print the table."""
    parser = options_parser(__doc__)
    parser.add_argument("--frames", type=int, default=121, help="latent frames")
    parser.add_argument("--side", type=int, default=8, help="tokens per side")
    parser.add_argument("--depth", type=int, default=PRESETS["mini"].depth)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args(arguments)
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
    whole = {**circumstances(options, options.device), "seconds": result}
    write_result(options.output, "scan_orders", whole, table(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
