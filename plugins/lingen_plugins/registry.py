"""Name -> component tables, filled from the hooks, with every reference between them checked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Generic, TypeVar

from lingen_models.networks.space_filling_curves import CURVES
from lingen_plugins.contracts import (
    Autoencoder,
    Component,
    Dataset,
    HubModel,
    ModelVariant,
    Sampler,
    ScanOrder,
    TextEncoder,
)
from lingen_plugins.guard import ForeignError
from lingen_plugins.manager import PluginManager, load_plugins
from lingen_plugins.plugin_errors import DuplicateNameError, PluginError, UnknownNameError
from lingen_plugins.records import check_record

ComponentT = TypeVar("ComponentT", bound=Component)


class Table(Mapping[str, ComponentT], Generic[ComponentT]):
    """The components of one kind by name; an unknown name raises UnknownNameError."""

    def __init__(self, kind: str, record: type[ComponentT]) -> None:
        self.kind = kind
        self.record = record
        self._components: dict[str, ComponentT] = {}
        self._owners: dict[str, str] = {}

    def add(self, component: ComponentT, owner: str) -> None:
        """Enter `component`, registered by the plugin `owner`.

        Raises PluginError for what is no proper record, DuplicateNameError for a name that is
        taken.
        """
        if not isinstance(component, self.record):
            found = type(component).__name__
            raise PluginError(f"a {self.kind} must be a {self.record.__name__}, not {found}")
        check_record(component)
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
    hub_models: Table[HubModel] = field(default_factory=lambda: Table("model", HubModel))
    scan_orders: Table[ScanOrder] = field(default_factory=lambda: Table("scan order", ScanOrder))
    text_encoders: Table[TextEncoder] = field(
        default_factory=lambda: Table("text encoder", TextEncoder)
    )
    autoencoders: Table[Autoencoder] = field(
        default_factory=lambda: Table("autoencoder", Autoencoder)
    )
    samplers: Table[Sampler] = field(default_factory=lambda: Table("sampler", Sampler))
    datasets: Table[Dataset] = field(default_factory=lambda: Table("dataset", Dataset))

    def model(self, name: str) -> ModelVariant | HubModel:
        """Return what `--model NAME` selects. Raises UnknownNameError."""
        if name in self.hub_models:
            return self.hub_models[name]
        if name not in self.model_variants:
            raise UnknownNameError("model", name, [*self.model_variants, *self.hub_models])
        return self.model_variants[name]

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

    A plugin whose hook fails, whose variant refers to something unknown, or which claims a name
    that another one has, is put on `manager.failed` and left out: what is built in comes first,
    then plugins by name. Networks know the curves of scan orders from then on.
    """
    manager = manager or load_plugins()
    while True:
        try:
            registry = _collect_once(manager)
            orders = registry.scan_orders.values()
            CURVES.update({one.name: one.curve for one in orders if one.curve})
            return registry
        except _BrokenPlugin as broken:
            if manager.is_builtin(broken.name):
                raise broken.error from broken
            manager.skip(broken.name, broken.error)


class _BrokenPlugin(Exception):
    def __init__(self, name: str, error: BaseException) -> None:
        super().__init__(name)
        self.name = name
        self.error = error


def _collect_once(manager: PluginManager) -> Registry:
    registry = Registry()
    tables: dict[str, Table[Any]] = {
        f"register_{kind.name}": getattr(registry, kind.name) for kind in fields(Registry)
    }
    for name, plugin in manager.pluggy.list_name_plugin():
        if plugin is None:
            continue
        try:
            for hook, records in manager.ask(name, tuple(tables)).items():
                for record in records:
                    tables[hook].add(record, owner=name)
        except ForeignError as error:
            raise _BrokenPlugin(name, error.raised) from error
        except Exception as error:  # a record may be anything
            raise _BrokenPlugin(name, error) from error
    for name in registry.hub_models:
        if name in registry.model_variants:
            owners = [registry.model_variants.owner(name), registry.hub_models.owner(name)]
            first, later = sorted(owners, key=lambda one: not manager.is_builtin(one))
            raise _BrokenPlugin(later, DuplicateNameError("model", name, first, later))
    for variant in registry.model_variants.values():
        try:
            registry.check(variant)
        except UnknownNameError as error:
            owner = registry.model_variants.owner(variant.name)
            raise _BrokenPlugin(owner, error) from error
    return registry
