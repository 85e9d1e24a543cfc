"""The `lingen` command, and how it ends.

Every command module imports what it needs inside its functions, so that `lingen --help` stays
fast and never imports torch or PyAV.
"""

from __future__ import annotations

import functools
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from lingen_cli import __version__
from lingen_cli.commands import (
    batch,
    bench,
    cache,
    check,
    config,
    convert,
    data,
    doctor,
    evaluate,
    extend,
    gallery,
    generate,
    kernels,
    layout,
    metrics,
    models,
    plan,
    plugins,
    recipes,
    report,
    rerun,
    resume,
    show,
    story,
    train,
    verify,
)
from lingen_cli.errors import INTERRUPTED
from lingen_cli.exit_codes import TRACEBACK_VARIABLE, Terminated, failure_of
from lingen_cli.inputs.request import current_name
from lingen_cli.terminal import console, signals
from lingen_cli.terminal.log_file import close_log, log, open_log
from lingen_cli.usage import help
from lingen_cli.usage.help import examples_of
from lingen_cli.usage.hints import with_hint

_PATIENCE = 5.0
"""Seconds that the end of the process waits for threads."""

app = typer.Typer(
    name="lingen",
    help="Minute-length videos from a prompt, with linear cost.",
    no_args_is_help=True,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "token_normalize_func": current_name,
    },
    epilog=examples_of("generate"),
    pretty_exceptions_enable=False,
    suggest_commands=False,
)

_COMMANDS: dict[str, dict[str, Callable[..., None] | typer.Typer]] = {
    help.MAKE: {
        "generate": generate.generate,
        "plan": plan.plan,
        "extend": extend.extend,
        "continue": extend.continue_,
        "branch": extend.branch,
        "retake": extend.retake,
        "layout": layout.layout,
        "story": story.app,
    },
    help.LOOK: {
        "show": show.show,
        "gallery": gallery.gallery,
        "check": check.check,
        "verify": verify.verify,
    },
    help.BATCH: {
        "batch": batch.batch,
        "resume": resume.resume,
        "decode": resume.decode,
        "rerun": rerun.rerun,
    },
    help.MODELS: {"models": models.app, "plugins": plugins.app},
    help.RESEARCH: {
        "train": train.train,
        "report": report.report,
        "data": data.app,
        "recipes": recipes.app,
        "convert": convert.convert,
        "evaluate": evaluate.evaluate,
        "metrics": metrics.metrics,
        "bench": bench.bench,
    },
    help.SETUP: {
        "doctor": doctor.doctor,
        "config": config.app,
        "cache": cache.app,
        "kernels": kernels.app,
    },
}
"""Panel of the help page -> its commands, in their order."""


def _add_commands() -> None:
    for panel, commands in _COMMANDS.items():
        for name, command in commands.items():
            if isinstance(command, typer.Typer):
                for one in command.registered_commands:
                    inner = one.name or getattr(one.callback, "__name__", "")
                    one.epilog = examples_of(f"{name} {inner}")
                app.add_typer(command, name=name, rich_help_panel=panel)
            else:
                app.command(name, rich_help_panel=panel, epilog=examples_of(name))(command)


_add_commands()


def _print_version(wanted: bool) -> None:
    if wanted:
        console.result(f"lingen {__version__}")
        raise typer.Exit


@app.callback()
def lingen(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option(
            "--version", "-V", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
    show_traceback: Annotated[
        bool, typer.Option("--traceback", help="Show where an error came from.")
    ] = False,
    log_file: Annotated[
        Path | None,
        typer.Option(help="Also append all messages to this file, with timestamps."),
    ] = None,
    trace: Annotated[
        Path | None,
        typer.Option(help="Profile three sampling steps into this JSON file, for Perfetto."),
    ] = None,
) -> None:
    """Minute-length videos from a prompt, with linear cost."""
    if show_traceback:
        os.environ[TRACEBACK_VARIABLE] = "1"
    if log_file is not None:
        open_log(log_file, context.obj)
    if trace is not None:
        from lingen_cli.terminal.profiler import trace_into

        trace_into(trace)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code; an error is one line on standard error."""
    signals.install()
    code = _run(arguments)
    close_log(code)
    return code


@functools.cache
def _command() -> Callable[..., Any]:
    """Make all commands of the annotations of their functions, which takes 50 ms, once."""
    return typer.main.get_command(app)


def _run(arguments: Sequence[str] | None) -> int:
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        code = int(_command()(given, prog_name="lingen", standalone_mode=False, obj=given) or 0)
    except SystemExit:
        code = 0  # only raised below us when the reader of our help text has gone away
    except BaseException as error:
        return _fail(with_hint(error, given), quiet=_is_reported_elsewhere(error))
    if code:
        return _fail(end := typer.Exit(code), quiet=_is_reported_elsewhere(end))
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        console.discard_output()
    except OSError as error:
        console.discard_output()
        return _fail(error)
    return code


def _is_reported_elsewhere(error: BaseException) -> bool:
    """Tell whether the first process of a launcher says the same: it has the same command line,
    and hears the same signals."""
    from lingen_training.optimization.launched import launched_rank

    of_all = isinstance(error, KeyboardInterrupt | Terminated | typer.TyperException)
    if isinstance(error, typer.Exit):
        of_all = error.exit_code == INTERRUPTED
    return of_all and launched_rank() > 0


def _fail(error: BaseException, *, quiet: bool = False) -> int:
    failure = failure_of(error)
    if os.environ.get(TRACEBACK_VARIABLE) and not isinstance(error, typer.Exit):
        traceback.print_exception(error)
    if not isinstance(error, typer.Exit):
        log(failure.message, error=error)
    if failure.message and not quiet:
        console.note(f"lingen: error: {failure.message}")
    return failure.code


def main() -> NoReturn:
    """The entry point."""
    code = run()
    signals.ignore()
    threading.Thread(target=_end, args=(code,), name="end", daemon=True).start()
    sys.exit(code)


def _end(code: int) -> None:
    """End the process with `code` where threads that something left behind keep it from ending,
    and name them."""
    time.sleep(_PATIENCE)
    own = {threading.main_thread(), threading.current_thread()}
    left = [one.name for one in threading.enumerate() if one not in own and not one.daemon]
    if left:
        console.note(f"lingen: not waited for, threads that a plugin left: {', '.join(left)}")
        sys.stdout.flush()
        os._exit(code)
