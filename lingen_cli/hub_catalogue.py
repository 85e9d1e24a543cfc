"""Open weights from elsewhere, as `lingen models` tells of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lingen_cli import licences
from lingen_cli.hub_weights import cached, how_to_fetch

if TYPE_CHECKING:
    from lingen_plugins.contracts import HubModel
    from lingen_plugins.registry import Registry


def hub_rows(registry: Registry) -> list[dict[str, Any]]:
    """A line of `lingen models list` for each, as `lingen_cli.model_facts.row` has them."""
    rows = []
    for name, model in registry.hub_models.items():
        here = cached(model) is not None
        rows.append(
            {
                "name": name,
                "weights": here,
                "state": "ready" if here else "to fetch",
                "bytes": model.weight_bytes,
                "licence": model.licence,
                "trained_seconds": model.trained_seconds,
                "get": None if here else how_to_fetch(model),
                "plugin": registry.hub_models.owner(name),
                "summary": model.summary,
            }
        )
    return rows


def hub_facts(model: HubModel) -> dict[str, Any]:
    """What `lingen models show` says."""
    found = cached(model)
    goes_on = "no"
    if model.windows is not None:
        which = "any video" if model.from_pixels else "what it made itself"
        goes_on = f"with {which}, in windows of {model.windows[0]} latent frames"
    return {
        "name": model.name,
        "summary": model.summary,
        "licence": model.licence,
        "licence text": model.licence_url,
        "accepted": "yes" if licences.is_accepted(model) else "no (--accept-licence)",
        "trained for": f"{model.size}, {model.fps} fps",
        "longest piece": f"{model.trained_seconds:.4g} s",
        "sizes": f"multiples of {model.side_step}",
        "goes on": goes_on,
        "steps": model.steps,
        "guidance": model.guidance,
        "memory": f"{_gigabytes(model)} for the weights alone: counted, bfloat16, the autoencoder "
        "float32",
        "numbers": {part: f"{count:,}" for part, count in model.parameters.items()},
        "diffusers": f"{model.pipelines[0]}, from {model.since} on",
        "repository": f"{model.repository} at {model.revision}",
        "weights": "not here" if found is None else str(found),
    }


def _gigabytes(model: HubModel) -> str:
    return f"{model.weight_bytes / 1e9:.1f} GB"
