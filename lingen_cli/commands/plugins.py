"""`lingen plugins`: who adds what."""

from __future__ import annotations

from typing import Annotated

import typer

from lingen_cli import console

app = typer.Typer(help="List plugins.", no_args_is_help=True)


@app.callback()
def plugins() -> None:
    """List plugins."""


@app.command("list")
def list_plugins(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the plugins that work, and those that were skipped with the reason."""
    import json
    from dataclasses import asdict

    from lingen_cli.zoo import tell_skipped
    from lingen_plugins.manager import load_plugins
    from lingen_plugins.registry import collect

    manager = load_plugins()
    collect(manager)  # a plugin can also fail when its hooks are called
    loaded = manager.loaded()
    if as_json:
        report = {
            "loaded": [asdict(plugin) for plugin in loaded],
            "failed": [asdict(plugin) for plugin in manager.failed],
        }
        console.result(json.dumps(report, indent=2))
        return
    width = max(len(plugin.name) for plugin in loaded)
    for plugin in loaded:
        source = f"{plugin.distribution} {plugin.version}"
        console.result(f"{plugin.name:<{width}}  {source:<20}  {', '.join(plugin.hooks)}")
    tell_skipped(manager, console.warning)
