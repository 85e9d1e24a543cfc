"""Other people's code is run so that nothing it does when imported or asked ends the program."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import TypeVar

ResultT = TypeVar("ResultT")
_SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)


class ForeignError(Exception):
    """Error that a plugin raised, which may be SystemExit or any other BaseException: `raised`."""

    def __init__(self, raised: BaseException) -> None:
        super().__init__(describe(raised))
        self.raised = raised


def guarded(work: Callable[[], ResultT]) -> ResultT:
    """Return what `work` returns. Whatever it raises comes out as ForeignError.

    What it prints goes to standard error, since standard output may be a video or JSON. A signal
    that arrives meanwhile ends the program as it always does, even where a plugin swallows it.
    """
    with _signals() as arrived:
        try:
            with contextlib.redirect_stdout(sys.stderr):
                result = work()
        except BaseException as error:
            if arrived:
                raise arrived[0] from None
            raise ForeignError(error) from error
    if arrived:
        raise arrived[0]
    return result


def describe(error: BaseException) -> str:
    """`error` in one line with its type; its own text may be anything, or fail."""
    try:
        text = str(error)
    except Exception:
        text = "it cannot say what is wrong"
    return " ".join(f"{type(error).__name__}: {text}".split()).rstrip(":")


@contextlib.contextmanager
def _signals() -> Iterator[list[BaseException]]:
    """While inside, note what signal handlers raise: that is not the fault of the plugin."""
    arrived: list[BaseException] = []
    if threading.current_thread() is not threading.main_thread():
        yield arrived  # handlers run in the main thread only
        return
    before = {number: signal.getsignal(number) for number in _SIGNALS}

    def noted(number: int, frame: FrameType | None) -> None:
        handler = before[signal.Signals(number)]
        try:
            if callable(handler):
                handler(number, frame)
        except BaseException as error:
            arrived.append(error)
            raise

    replaced = [number for number in _SIGNALS if callable(before[number])]
    for number in replaced:
        signal.signal(number, noted)
    try:
        yield arrived
    finally:
        for number in replaced:
            signal.signal(number, before[number])
