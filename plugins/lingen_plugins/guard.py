"""Other people's code is run so that what it raises, imported or asked, does not end the program.

Plugins are trusted code all the same: one that ends the process cannot be held, only named.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType, FunctionType
from typing import Any, NoReturn, TypeVar

ResultT = TypeVar("ResultT")
_SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)


class ForeignError(Exception):
    """Error that a plugin raised, which may be SystemExit or any other BaseException: `raised`."""

    def __init__(self, raised: BaseException) -> None:
        super().__init__(describe(raised))
        self.raised = raised


def guarded(work: Callable[[], ResultT], name: str) -> ResultT:
    """Return what `work` of the plugin `name` returns. Whatever it raises comes out as
    ForeignError.

    What it prints goes to standard error, since standard output may be a video or JSON. A signal
    that arrives meanwhile ends the program as it always does, even where a plugin swallows it. The
    current folder is the same afterwards. Where it ends the process, `name` is told.
    """
    with _signals() as arrived, _same_folder(), _named_at_the_end(name):
        try:
            with contextlib.redirect_stdout(sys.stderr):
                result: ResultT = _as(name)(work)
        except BaseException as error:
            if arrived:
                raise arrived[0] from None
            raise ForeignError(error) from error
    if arrived:
        raise arrived[0]
    return result


@contextlib.contextmanager
def _same_folder() -> Iterator[None]:
    try:
        before = os.open(os.curdir, os.O_RDONLY)
    except OSError:
        yield
        return
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            os.fchdir(before)
        with contextlib.suppress(OSError):  # a plugin may have closed it
            os.close(before)


@contextlib.contextmanager
def _named_at_the_end(name: str) -> Iterator[None]:
    """While inside, a process that ends by `os._exit` or a crash says which plugin did it."""
    leave = os._exit

    def exit_with_name(status: int) -> NoReturn:
        with contextlib.suppress(OSError):
            os.write(2, f"lingen: the plugin {name!a} ended the process\n".encode())
        leave(status)

    watches = not faulthandler.is_enabled()
    if watches:
        try:
            faulthandler.enable(2)
        except (OSError, RuntimeError, ValueError):
            watches = False
    os._exit = exit_with_name
    try:
        yield
    finally:
        os._exit = leave
        if watches:
            faulthandler.disable()


def _call(work: Callable[[], ResultT]) -> ResultT:
    return work()


def _as(name: str) -> Callable[[Callable[[], Any]], Any]:
    """`_call` as the traceback of a crash shows it: in a file with the name of the plugin."""
    return FunctionType(_call.__code__.replace(co_filename=f"<plugin {name!a}>"), {})


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
