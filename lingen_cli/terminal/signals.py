"""SIGINT, SIGTERM and SIGHUP stop a run; SIGUSR1 has it write its journal (reliability.md C5).

Python runs a signal handler only between two bytecodes of the main thread, so it waits for the
current torch operation, which can take seconds. The operating system's wake-up byte does not: a
small thread reads it, tells the user at once that the signal was heard, and ends the process at
the second one. A scheduler may signal a process and also its group: what comes within half a second
of the first counts as the first.
"""

from __future__ import annotations

import contextlib
import math
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from types import FrameType

from lingen_cli.exit_codes import Terminated
from lingen_cli.terminal import console

_SAME = 0.5
"""Seconds after a signal in which another one says nothing new."""
_requested = threading.Event()
_leave = os._exit  # not what a plugin that is being imported would be blamed for
_ENDING = (signal.SIGTERM, signal.SIGHUP)


def install(*, again: bool = False) -> None:
    """Make SIGTERM and SIGHUP raise Terminated, and SIGINT KeyboardInterrupt. One that is ignored
    (nohup) stays ignored. `again`: somebody else has put other handlers in their place."""
    global _stop
    if not again:
        _stop = _Stop()
    for number in (signal.SIGINT, *_ENDING):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _stop)


def stopped() -> BaseException | None:
    """Return what a signal has raised, which a library may have made another error of."""
    return _stop.raised


def ignore() -> None:
    """Hear no more signals: the process ends, with the exit code that it has come to."""
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, *_ENDING):
            signal.signal(number, signal.SIG_IGN)


class _Stop:
    """Raises, but not into the writing of the journal when the signal comes twice."""

    def __init__(self) -> None:
        self._last = -math.inf
        self.raised: BaseException | None = None

    def __call__(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if now - self._last > _SAME:
            self._last = now
            self.raised = KeyboardInterrupt() if number == signal.SIGINT else Terminated()
            raise self.raised


_stop = _Stop()


def end_with_parent() -> None:
    """Stop as at a SIGTERM when standard input ends: it is a pipe from the process that has begun
    this one, which then is gone."""

    def read() -> None:
        with contextlib.suppress(OSError):
            while os.read(0, 1 << 10):
                pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=read, name="parent", daemon=True).start()


def journal_requested() -> bool:
    """Tell whether SIGUSR1 has come since the last writing of the journal."""
    return _requested.is_set()


def journal_written() -> None:
    """Note that what was asked for is done."""
    _requested.clear()


@contextlib.contextmanager
def announced() -> Iterator[None]:
    """While inside, the first signal is acknowledged at once and the second ends the process.

    SIGUSR1, with which Slurm warns of its time limit, does not stop the run: the journal is
    written after the present step. Enter it before torch does work. What a second signal leaves
    behind is one hidden work folder, which the next run with the same output takes over.
    """
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    _requested.clear()
    old = signal.signal(signal.SIGUSR1, lambda *_: _requested.set())
    before = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    listener = threading.Thread(target=_listen, args=(reader,), name="signals", daemon=True)
    listener.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        signal.signal(signal.SIGUSR1, old)
        writer.close()
        listener.join()
        reader.close()


def _listen(reader: socket.socket) -> None:
    from lingen_training.optimization.launched import launched_rank

    heard: float | None = None
    while data := reader.recv(1):
        number = data[0]
        if number == signal.SIGUSR1:
            console.note("lingen: what is sampled is written down after this step")
        if number not in (signal.SIGINT, *_ENDING):
            continue
        now = time.monotonic()
        if heard is not None:
            if now - heard > _SAME:
                _leave(128 + number)
            continue
        heard = now
        if launched_rank():
            continue  # the first process hears it, too
        console.note("lingen: stopping after this step (press Ctrl-C again to stop now)")
