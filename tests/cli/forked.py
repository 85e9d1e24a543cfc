"""Runs of `lingen` in processes of their own, forked from one that has imported torch already."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import IO

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(
    ["torch", "av", "lingen_cli.app", "lingen_cli.generation.generate", "lingen_cli.media.writer"]
)


def start(arguments: Sequence[str], environment: Mapping[str, str]) -> tuple[BaseProcess, IO[str]]:
    """Begin a run in the current folder; returns its process and what it writes to standard output.

    Standard error goes nowhere.
    """
    reader, writer = _CONTEXT.Pipe(duplex=False)
    process = _CONTEXT.Process(
        target=_run, args=(list(arguments), os.getcwd(), dict(environment), writer)
    )
    process.start()
    writer.close()
    output = os.fdopen(os.dup(reader.fileno()), encoding="utf-8")
    reader.close()
    return process, output


def _run(
    arguments: list[str], folder: str, environment: dict[str, str], writer: Connection
) -> None:
    os.dup2(writer.fileno(), 1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    writer.close()
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    from lingen_cli.app import run

    os._exit(run(arguments))
