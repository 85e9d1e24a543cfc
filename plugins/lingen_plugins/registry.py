"""Name -> component tables, filled from the hooks, with every reference between them checked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Generic, TypeVar

from lingen_plugins.contracts import (
    Autoencoder,
    Component,
    Dataset,
    ModelVariant,
    Sampler,
    ScanOrder,
    TextEncoder,
)
from lingen_plugins.errors import DuplicateNameError, PluginError, UnknownNameError
from lingen_plugins.manager import PluginManager, load_plugins

ComponentT = TypeVar("ComponentT", bound=Component)


class Table(Mapping[str, ComponentT], Generic[ComponentT]):
    """The components of one kind by name; an unknown name raises UnknownNameError."""

    def __init__(self, kind: str, record: type[ComponentT]) -> None:
        self.kind = kind
        self.record = record
        self._components: dict[str, ComponentT] = {}
        self._owners: dict[str, str] = {}

    def add(self, component: ComponentT, owner: str) -> None:
        """Enter `component`, registered by the plugin `owner`. Raises DuplicateNameError."""
        if not isinstance(component, self.record):
            found = type(component).__name__
            raise PluginError(f"a {self.kind} must be a {self.record.__name__}, not {found}")
        name = component.name
        if name in self._components:
            raise DuplicateNameError(self.kind, name, self._owners[name], owner)
        self._components[name] = component
        self._owners[name] = owner

    def owner(self, name: str) -> str:
        """The plugin that registered `name`."""
        return self._owners[name]

    def __getitem__(self, name: str) -> ComponentT:
        if name not in self._components:
            raise UnknownNameError(self.kind, name, self._components)
        return self._components[name]

    def __contains__(self, name: object) -> bool:
        return name in self._components

    def __iter__(self) -> Iterator[str]:
        return iter(self._components)

    def __len__(self) -> int:
        return len(self._components)


@dataclass(frozen=True)
class Registry:
    """Everything that plugins offer; each field is filled by the hook `register_FIELD`."""

    model_variants: Table[ModelVariant] = field(
        default_factory=lambda: Table("model", ModelVariant)
    )
    scan_orders: Table[ScanOrder] = field(default_factory=lambda: Table("scan order", ScanOrder))
    text_encoders: Table[TextEncoder] = field(
        default_factory=lambda: Table("text encoder", TextEncoder)
    )
    autoencoders: Table[Autoencoder] = field(
        default_factory=lambda: Table("autoencoder", Autoencoder)
    )
    samplers: Table[Sampler] = field(default_factory=lambda: Table("sampler", Sampler))
    datasets: Table[Dataset] = field(default_factory=lambda: Table("dataset", Dataset))

    def check(self, variant: ModelVariant) -> None:
        """Raise UnknownNameError if `variant` names a component that nobody registers."""
        tables: list[tuple[Table[Any], str]] = [
            (self.autoencoders, variant.autoencoder),
            (self.scan_orders, variant.scan_order),
            (self.samplers, variant.sampler),
            *((self.text_encoders, name) for name in variant.text_encoders),
        ]
        for table, name in tables:
            table[name]


def collect(manager: PluginManager | None = None) -> Registry:
    """Ask every plugin for its records.

    A plugin whose hook fails, or whose variant refers to something unknown, is put on
    `manager.failed` and left out. Raises DuplicateNameError when two plugins claim one name.
    """
    manager = manager or load_plugins()
    while True:
        try:
            return _collect_once(manager)
        except _BrokenPlugin as broken:
            if manager.is_builtin(broken.name):
                raise broken.error from broken
            manager.skip(broken.name, broken.error)


class _BrokenPlugin(Exception):
    def __init__(self, name: str, error: Exception) -> None:
        super().__init__(name)
        self.name = name
        self.error = error


def _collect_once(manager: PluginManager) -> Registry:
    registry = Registry()
    plugins = manager.pluggy.get_plugins()
    for name, plugin in manager.pluggy.list_name_plugin():
        for kind in fields(Registry):
            # One plugin at a time, so that every record has a known owner.
            ask = manager.pluggy.subset_hook_caller(f"register_{kind.name}", plugins - {plugin})
            table: Table[Any] = getattr(registry, kind.name)
            try:
                for component in (c for answer in ask() for c in answer):
                    table.add(component, owner=name)
            except DuplicateNameError:
                raise
            except Exception as error:  # other people's hooks may raise anything
                raise _BrokenPlugin(name, error) from error
    for variant in registry.model_variants.values():
        try:
            registry.check(variant)
        except UnknownNameError as error:
            owner = registry.model_variants.owner(variant.name)
            raise _BrokenPlugin(owner, error) from error
    return registry
