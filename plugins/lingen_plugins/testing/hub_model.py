"""The check of open weights from elsewhere."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec

from lingen_models.sampling.params import described
from lingen_plugins.contracts import HubModel
from lingen_plugins.testing.claims import Claims


def check_hub_model(model: HubModel) -> None:
    """Its limits fit each other, and `diffusers`, where that is installed, has its classes.

    Weights are not looked at: build its pipeline from a small configuration, save it, and run
    `lingen generate --model NAME --weights FOLDER` in a test of your own.
    """
    claims = Claims.of(model, HubModel)
    claims.config("parameters", model.parameters)
    for name in ("fps", "side_step", "time_stride", "frames", "steps"):
        value = getattr(model, name)
        claims.expect(value >= 1, f"{name} is {value}", "it must be at least 1")
    unknown = sorted(set(model.supports) - set(described()))
    claims.expect(not unknown, f"supports names {unknown}", f"choose from {', '.join(described())}")
    sides = model.size.split("x")
    claims.expect(
        len(sides) == 2 and all(one.isdigit() and int(one) % model.side_step == 0 for one in sides),
        f"size is {model.size!r}",
        f"write WIDTHxHEIGHT, multiples of {model.side_step}",
    )
    claims.expect(
        model.license_url.startswith("https://"),
        f"license_url is {model.license_url!r}",
        "name a page where the license can be read",
    )
    claims.expect(
        model.repository.count("/") == 1, f"repository is {model.repository!r}", "write owner/name"
    )
    for part in ("transformer", "text_encoder", "vae"):
        remedy = "count them: people ask what memory it needs"
        claims.expect(part in model.parameters, f"parameters lacks {part!r}", remedy)
    if model.windows is not None:
        claims.windows(model.windows)
    claims.expect(model.pipelines, "it names no pipeline", "name a class of diffusers")
    if find_spec("diffusers") is not None:
        diffusers = import_module("diffusers")
        missing = [name for name in model.pipelines if not hasattr(diffusers, name)]
        claims.expect(not missing, f"diffusers has no {missing}", "look for the name it has there")
