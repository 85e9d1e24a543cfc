"""The check of open weights from elsewhere."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec

from lingen_models.sampling.params import described
from lingen_plugins.contracts import HubModel
from lingen_plugins.testing.claims import check_basics, check_config, expect


def check_hub_model(model: HubModel) -> None:
    """Its limits fit each other, and `diffusers`, where that is installed, has its classes.

    Weights are not looked at: build its pipeline from a small configuration, save it, and run
    `lingen generate --model NAME --weights FOLDER` in a test of your own.
    """
    whose = check_basics(model, HubModel)
    check_config(whose, "parameters", model.parameters)
    for name in ("fps", "side_step", "time_stride", "frames", "steps"):
        value = getattr(model, name)
        expect(value >= 1, whose, f"{name} is {value}", "it must be at least 1")
    unknown = sorted(set(model.supports) - set(described()))
    expect(not unknown, whose, f"supports names {unknown}", f"choose from {', '.join(described())}")
    sides = model.size.split("x")
    expect(
        len(sides) == 2 and all(one.isdigit() and int(one) % model.side_step == 0 for one in sides),
        whose,
        f"size is {model.size!r}",
        f"write WIDTHxHEIGHT, multiples of {model.side_step}",
    )
    expect(
        model.license_url.startswith("https://"),
        whose,
        f"license_url is {model.license_url!r}",
        "name a page where the license can be read",
    )
    expect(
        model.repository.count("/") == 1,
        whose,
        f"repository is {model.repository!r}",
        "write owner/name",
    )
    for part in ("transformer", "text_encoder", "vae"):
        expect(
            part in model.parameters,
            whose,
            f"parameters lacks {part!r}",
            "count them: people ask what memory it needs",
        )
    if model.windows is not None:
        frames, past = model.windows
        expect(
            1 <= past < frames,
            whose,
            f"windows is {model.windows}",
            "the past is at least one latent frame, and shorter than the window",
        )
    expect(model.pipelines, whose, "it names no pipeline", "name a class of diffusers")
    if find_spec("diffusers") is not None:
        diffusers = import_module("diffusers")
        missing = [name for name in model.pipelines if not hasattr(diffusers, name)]
        expect(not missing, whose, f"diffusers has no {missing}", "look for the name it has there")
