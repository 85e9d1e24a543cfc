"""SIGINT, SIGTERM and SIGHUP stop a run; SIGUSR1 has it write its journal (reliability.md C5).

Python runs a signal handler only between two bytecodes of the main thread, so it waits for the
current torch operation, which can take seconds. The operating system's wake-up byte does not: a
small thread reads it, tells the user at once that the signal was heard, and ends the process at
the second one.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
from collections.abc import Iterator
from types import FrameType
from typing import NoReturn

from lingen_cli import console
from lingen_cli.failures import Terminated

_KEEP = getattr(signal, "SIGUSR1", None)
_asked = threading.Event()
_ENDING = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))


def install() -> None:
    """Make SIGTERM and SIGHUP raise Terminated. One that is ignored (nohup) stays ignored."""
    for number in _ENDING:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _terminate)


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    raise Terminated


def journal_asked() -> bool:
    """Whether SIGUSR1 has come since the last writing of the journal."""
    return _asked.is_set()


def journal_written() -> None:
    """What was asked for is done."""
    _asked.clear()


@contextlib.contextmanager
def announced() -> Iterator[None]:
    """While inside, the first signal is acknowledged at once and the second ends the process.

    SIGUSR1, with which Slurm warns of its time limit, does not stop the run: the journal is
    written after the present step. Enter it before torch does work. What a second signal leaves
    behind is one hidden work folder, which the next run with the same output takes over.
    """
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    _asked.clear()
    old = None if _KEEP is None else signal.signal(_KEEP, lambda *_: _asked.set())
    before = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    listener = threading.Thread(target=_listen, args=(reader,), name="signals", daemon=True)
    listener.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        if _KEEP is not None:
            signal.signal(_KEEP, old)
        writer.close()
        listener.join()
        reader.close()


def _listen(reader: socket.socket) -> None:
    heard = False
    while data := reader.recv(1):
        number = data[0]
        if number == _KEEP:
            console.note("lingen: what is sampled is written down after this step")
        if number not in (signal.SIGINT, *_ENDING):
            continue
        if heard:
            os._exit(128 + number)
        heard = True
        console.note("lingen: stopping after this step (once more to stop at once)")
