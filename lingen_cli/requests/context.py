"""Registry, settings and progress that requests are resolved with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from lingen_cli.errors import NotAvailableError
from lingen_cli.inputs.settings import CacheLimit, Settings, load
from lingen_cli.terminal.progress import Progress
from lingen_cli.zoo.locate import LocatedModel, find_model, locate, open_registry
from lingen_plugins.contracts import HubModel, ModelVariant, WeightFormats
from lingen_plugins.hub.weight_formats import lacking
from lingen_plugins.registry import Registry


@dataclass(frozen=True)
class Context:
    """Everything that plugins offer, and who is told of warnings. Without `needs_weights`, models
    are found whose weights are not here: such a job is planned, not made."""

    registry: Registry
    progress: Progress
    needs_weights: bool = True

    @classmethod
    def open(cls, progress: Progress, *, needs_weights: bool = True) -> Self:
        """Ask the plugins; `progress` is told about those that were skipped."""
        return cls(open_registry(progress.warn), progress, needs_weights)

    def locate(self, name: str, folder: Path | None, *, own_denoisers: bool = True) -> LocatedModel:
        """A model with its weights. Raises as `zoo.locate.locate`."""
        return locate(
            self.registry,
            name,
            folder,
            needs_weights=self.needs_weights,
            own_denoisers=own_denoisers,
        )

    def check_packages(self, formats: WeightFormats) -> None:
        """Raise NotAvailableError (69) where weights in a format need a package that is missing; a
        plan needs none."""
        missing = lacking(formats)
        if self.needs_weights and missing is not None:
            raise NotAvailableError(missing)

    def model(self, name: str, folder: Path | None = None) -> ModelVariant | HubModel:
        """The record of a model. Raises as `zoo.locate.find_model`."""
        return find_model(self.registry, name, folder)

    @property
    def cache(self) -> CacheLimit:
        """Limits of the cache of latents."""
        return load().cache

    @property
    def settings(self) -> Settings:
        """Settings where no option is given."""
        return load().values
