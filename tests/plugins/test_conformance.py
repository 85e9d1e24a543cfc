"""Every component that ships keeps what the kit for authors asks of one."""

from typing import Any

import pytest

from lingen_plugins import ModelVariant
from lingen_plugins.manager import PluginManager
from lingen_plugins.registry import Registry, collect
from lingen_plugins.testing import CHECKS


def built_in() -> Registry:
    manager = PluginManager()
    manager.load_builtin()
    return collect(manager)


REGISTRY = built_in()
RECORDS = [
    pytest.param(hook, record, id=record.name)
    for hook in CHECKS
    for record in getattr(REGISTRY, hook.removeprefix("register_")).values()
]


@pytest.mark.parametrize(("hook", "record"), RECORDS)
def test_what_is_built_in_passes_the_check(hook: str, record: Any) -> None:
    CHECKS[hook](record)


@pytest.mark.weights
@pytest.mark.parametrize("variant", REGISTRY.model_variants.values(), ids=lambda one: one.name)
def test_shipped_weights_are_small_enough_for_the_package(variant: ModelVariant) -> None:
    files = list(variant.weights.files().values()) if variant.weights else []
    if not files or not files[0].is_file():
        pytest.skip("the weights are not in this checkout, or none exist")
    assert sum(path.stat().st_size for path in files) <= 40 * 2**20
