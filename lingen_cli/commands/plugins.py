"""`lingen plugins`: who adds what, and the way in and out."""

from __future__ import annotations

from typing import Annotated

import typer

from lingen_cli.commands.options import AsJson, Yes
from lingen_cli.terminal import console

app = typer.Typer(help="List, install and uninstall plugins.", no_args_is_help=True)


@app.command("list")
def list_plugins(
    as_json: AsJson = False,
) -> None:
    """List installed plugins and what they provide, and those skipped with the reason."""
    from dataclasses import asdict

    from lingen_cli.terminal.tables import columns
    from lingen_cli.zoo.locate import tell_skipped, tell_slow
    from lingen_plugins.manager import DISABLE_VARIABLE, load_plugins
    from lingen_plugins.registry import collect

    manager = load_plugins()
    collect(manager)  # a plugin can also fail when its hooks are called
    loaded = manager.loaded()
    if as_json:
        report = {
            "loaded": [asdict(plugin) for plugin in loaded],
            "failed": [asdict(plugin) for plugin in manager.failed],
            "disabled": [asdict(plugin) for plugin in manager.disabled],
        }
        console.record(report)
    else:
        rows = [
            (plugin.name, f"{plugin.distribution} {plugin.version}", ", ".join(plugin.hooks))
            for plugin in loaded
        ]
        rows += [
            (off.name, f"{off.distribution} {off.version}", f"switched off by {DISABLE_VARIABLE}")
            for off in manager.disabled
        ]
        console.result(console.harmless(columns(rows, head=("plugin", "from", "provides"))))
        tell_skipped(manager, console.warning)
    tell_slow(manager, console.warning)


@app.command()
def install(
    specs: Annotated[
        list[str],
        typer.Argument(metavar="SPEC...", help="What pip can install: a name, a file, a folder."),
    ],
) -> None:
    """Install plugins with pip, and say what they add. Install only what you trust."""
    from lingen_cli.installation import installing
    from lingen_plugins.installed import GROUP

    packages = installing.install(specs)
    for package in packages:
        if package.plugins:
            console.result(f"installed {package}")
        else:
            console.warning(
                f"{installing.shown(package.name)} was installed, but is no plugin: "
                f"it has no entry point {GROUP!r}"
            )
    if any(package.plugins for package in packages):
        console.note("lingen: `lingen plugins list` shows whether they work, and what they add")
    elif not packages:
        console.note("lingen: nothing new: all of it was installed before")


@app.command()
def uninstall(
    names: Annotated[
        list[str],
        typer.Argument(metavar="NAME...", help="A plugin, or the distribution that holds it."),
    ],
    yes: Yes = False,
) -> None:
    """Uninstall plugins with pip, also those that cannot be imported."""
    from lingen_cli.installation import installing

    packages = installing.to_uninstall(names)
    if not yes and not console.agreed("uninstall", ", ".join(map(str, packages))):
        console.note("lingen: nothing was uninstalled")
        return
    installing.uninstall(packages)
    for package in packages:
        console.result(f"uninstalled {package}")
