"""`lingen kernels`: the Triton kernels of mamba-ssm, for machines with a CUDA GPU."""

from __future__ import annotations

from typing import Annotated

import typer

from lingen_cli.errors import NotAvailableError
from lingen_cli.terminal import console

app = typer.Typer(help="Install GPU kernels.", no_args_is_help=True)

PACKAGE = "mamba-ssm==2.3.2.post1"
BUILD_TOOLS = ("packaging", "setuptools>=61", "wheel")
# Without these two its setup wants the CUDA compiler, and guesses a wheel to download.
VARIABLES = {"MAMBA_SKIP_CUDA_BUILD": "TRUE", "MAMBA_FORCE_BUILD": "TRUE"}


@app.command()
def install(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the commands only.")] = False,
) -> None:
    """Install mamba-ssm's Triton kernels; needs a CUDA GPU, no compiler.

    Without them the same mathematics runs in PyTorch.
    """
    import shlex

    from lingen_cli.installation.pip import pip_command, run_pip

    tools = ("install", *BUILD_TOOLS)
    kernel = ("install", "--no-build-isolation", "--no-deps", PACKAGE)
    if dry_run:
        settings = [f"{name}={value}" for name, value in VARIABLES.items()]
        console.result(shlex.join(pip_command(*tools)))
        console.result(shlex.join([*settings, *pip_command(*kernel)]))
        return
    import torch

    if not torch.cuda.is_available():
        raise NotAvailableError(
            "the Triton kernels need a CUDA GPU, and there is none; generation works without them"
        )
    for command in (tools, kernel):
        failure = f"pip could not install {command[-1]}"
        run_pip(*command, failure=failure, environment=VARIABLES)
    console.note("lingen: kernels installed; `lingen doctor` shows whether they import")
