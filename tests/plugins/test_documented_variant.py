"""The model variant in docs/plugins.md: a plugin with a curve of its own."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import pytest

from lingen_models.networks.space_filling_curves import CURVES
from lingen_plugins.builtin.variants import register_model_variants
from lingen_plugins.testing import check_model_variant, check_plugin

PAGE = Path(__file__).parents[2] / "docs" / "plugins.md"


@pytest.fixture
def snake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The plugin of the page, which nobody has collected yet."""
    monkeypatch.setitem(CURVES, "snake", None)  # and it is gone afterwards
    del CURVES["snake"]
    section = PAGE.read_text(encoding="utf-8").split("## register_model_variants")[1]
    found = re.search("```python\n(.*?)```", section, re.DOTALL)
    assert found is not None
    source = found[1]
    (tmp_path / "snake_plugin.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    import snake_plugin  # type: ignore[import-not-found]

    yield snake_plugin
    del sys.modules["snake_plugin"]


def test_it_keeps_the_contract(snake: Any) -> None:
    check_plugin(snake)


def test_a_network_that_cannot_be_built_is_a_failed_check() -> None:
    mini = next(one for one in register_model_variants() if one.name == "lingen-mini")

    def build(config: Mapping[str, Any]) -> NoReturn:
        raise KeyError("width")

    with pytest.raises(AssertionError, match="build failed: KeyError: 'width'; it must take"):
        check_model_variant(replace(mini, build=build))
