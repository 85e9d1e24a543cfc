"""The built-in token orders; the axes are those that the network itself knows."""

from __future__ import annotations

from lingen_models.network_config import SCAN_ORDERS
from lingen_plugins.contracts import ScanOrder
from lingen_plugins.hookspecs import hookimpl

SUMMARIES = {
    "rms": "Rotary Major Scan: four orders, alternating by layer",
    "row-major": "frame, row, column in every layer",
    "column-major": "frame, column, row in every layer",
    "temporal": "row, column, frame: along time first, in every layer",
    "zigzag": "every second line backwards, in four orders; costs a gather",
    "hilbert": "Hilbert's curve, in four orders; costs a gather",
}


@hookimpl
def register_scan_orders() -> list[ScanOrder]:
    """The orders of `lingen_models.network_config.SCAN_ORDERS`."""
    return [
        ScanOrder(name=name, summary=SUMMARIES[name], axes=axes)
        for name, axes in SCAN_ORDERS.items()
    ]
