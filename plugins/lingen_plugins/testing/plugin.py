"""The check of a whole plugin."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any

from lingen_plugins.guard import describe
from lingen_plugins.manager import PluginManager
from lingen_plugins.registry import Registry, collect
from lingen_plugins.testing.autoencoder import check_autoencoder
from lingen_plugins.testing.claims import Claims
from lingen_plugins.testing.dataset import check_dataset
from lingen_plugins.testing.hub_model import check_hub_model
from lingen_plugins.testing.model_variant import check_model_variant
from lingen_plugins.testing.sampler import check_sampler
from lingen_plugins.testing.scan_order import check_scan_order
from lingen_plugins.testing.text_encoder import check_text_encoder

CHECKS: dict[str, Callable[..., None]] = {
    "register_model_variants": check_model_variant,
    "register_hub_models": check_hub_model,
    "register_scan_orders": check_scan_order,
    "register_text_encoders": check_text_encoder,
    "register_autoencoders": check_autoencoder,
    "register_samplers": check_sampler,
    "register_datasets": check_dataset,
}
"""Hook -> the check of the records that it returns."""


def check_plugin(plugin: object, name: str = "checked-plugin") -> None:
    """Register `plugin`, a module or an object with hooks, and check every record of it.

    Beside it are the built-in plugins only: what it names must be theirs or its own.
    """
    claims, manager, hooks = Claims(name), PluginManager(), ", ".join(CHECKS)
    manager.load_builtin()
    try:
        manager.register(plugin, name)
    except Exception as error:
        wrong = f"it cannot be registered: {describe(error)}"
        raise claims.broken(wrong, f"known hooks: {hooks}") from error
    remedy = f"put `@hookimpl` above each hook: {hooks}"
    claims.expect(manager.pluggy.get_hookcallers(plugin), "it has no hook", remedy)
    registry = collect(manager)
    reasons = "; ".join(failed.reason for failed in manager.failed)
    claims.expect(not reasons, "lingen would skip it", reasons)
    found = 0
    for field in fields(Registry):
        table: Any = getattr(registry, field.name)
        check = CHECKS[f"register_{field.name}"]
        for record in table.values():
            if table.owner(record.name) == name:
                found += 1
                extra = {"registry": registry} if check is check_model_variant else {}
                check(record, **extra)
    claims.expect(found, "its hooks return no records", "return a list of records")
