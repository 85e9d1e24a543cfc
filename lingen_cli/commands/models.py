"""`lingen models`: what can be generated with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from lingen_cli import console

if TYPE_CHECKING:
    from lingen_plugins.contracts import ModelVariant

app = typer.Typer(help="List and describe models.", no_args_is_help=True)


@app.command("list")
def list_models(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List every model variant, and whether its weights are installed."""
    import json

    from lingen_cli.zoo import open_registry

    variants = open_registry(console.warning).model_variants
    rows = [
        {
            "name": name,
            "weights": has_weights(variant),
            "plugin": variants.owner(name),
            "summary": variant.summary,
        }
        for name, variant in variants.items()
    ]
    if as_json:
        console.result(json.dumps(rows, indent=2))
        return
    width = max(len(str(row["name"])) for row in rows)
    for row in rows:
        state = "ready" if row["weights"] else "no weights"
        console.result(f"{row['name']:<{width}}  {state:<10}  {row['summary']}")


@app.command()
def show(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A name from `lingen models list`.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Describe one model variant: parts, training, licence, files, configuration."""
    import json

    from lingen_cli.zoo import open_registry

    registry = open_registry(console.warning)
    variant = registry.model_variants[name]
    files = variant.weights.files() if variant.weights else {}
    facts = {
        "name": variant.name,
        "summary": variant.summary,
        "licence": variant.licence,
        "trained for": f"{variant.size}x{variant.size}, {variant.fps} fps, "
        f"up to {variant.trained_seconds:g} s",
        "steps": variant.steps,
        "guidance": variant.guidance,
        "autoencoder": variant.autoencoder,
        "text encoders": list(variant.text_encoders),
        "scan order": variant.scan_order,
        "review tokens": variant.review,
        "sampler": variant.sampler,
        "weights": {p: str(f) if f.is_file() else f"{f} (missing)" for p, f in files.items()},
        "config": dict(variant.config),
    }
    if as_json:
        console.result(json.dumps(facts, indent=2))
        return
    for key, value in facts.items():
        if isinstance(value, dict) and value:
            console.result(f"{key}:")
            for part, detail in value.items():
                console.result(f"  {part:<17}{_plain(detail)}")
        else:
            console.result(f"{key + ':':<19}{_plain(value) or 'none'}")


def _plain(value: object) -> str:
    """Lists without brackets, nothing for what is empty; anything else as it is."""
    if isinstance(value, dict) and not value:
        return ""
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def has_weights(variant: ModelVariant) -> bool:
    """Whether every weight file of `variant` is on this machine."""
    return variant.weights is not None and all(
        path.is_file() for path in variant.weights.files().values()
    )
