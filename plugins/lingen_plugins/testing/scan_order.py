"""The check of scan orders."""

from __future__ import annotations

from itertools import product

from lingen_plugins.contracts import ScanOrder
from lingen_plugins.testing.claims import Claims

GRID = {"t": 2, "h": 3, "w": 5}


def check_scan_order(order: ScanOrder) -> None:
    """Every layer reads every token once, in the order that `axes` says, and can be put back."""
    import torch

    from lingen_models.networks.scan_orders import scan_of_layer
    from lingen_models.networks.space_filling_curves import CURVES

    claims = Claims.of(order, ScanOrder)
    if order.curve is not None:
        CURVES[order.name] = order.curve
    claims.expect(
        len(set(order.axes)) == len(order.axes),
        f"axes {order.axes} name one order twice",
        "name each once: layers go round",
    )
    sizes = (GRID["t"], GRID["h"], GRID["w"])
    positions = torch.tensor(list(product(*map(range, sizes)))).view(1, *sizes, 3)
    for layer, entry in enumerate(order.axes):
        curve, _, axes = entry.rpartition("-")
        claims.expect(
            not curve or curve in CURVES,
            f"axes[{layer}] is {entry!r}, and nobody knows the curve {curve!r}",
            f"known are {', '.join(sorted(CURVES))}, and `curve` under the name of the record",
        )
        scan = scan_of_layer(order.axes, layer)
        sequence = scan.flatten(positions)
        wanted = [
            [dict(zip(axes, place, strict=True))[axis] for axis in "thw"]
            for place in product(*(range(GRID[axis]) for axis in axes))
        ]
        if curve:
            a, b, c = (GRID[axis] for axis in axes)
            order_of_cells = CURVES[curve]((a, b, c)).tolist()
            claims.expect(
                sorted(order_of_cells) == list(range(a * b * c)),
                f"the curve {curve!r} does not meet every cell of {a}x{b}x{c} once",
                "it must give the row-major numbers of all cells, each once",
            )
            wanted = [wanted[cell] for cell in order_of_cells]
        claims.expect(
            sequence[0].tolist() == wanted,
            f"layer {layer} does not read the tokens in the order {entry!r}",
            "the first letter of each of `axes` is the axis that changes last",
        )
        claims.expect(
            torch.equal(scan.restore(sequence, sizes), positions),
            f"layer {layer} does not put the tokens back where they were",
            "each of `axes` must name every axis once",
        )
