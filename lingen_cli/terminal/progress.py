"""Progress of a run, for people and for programs (reliability.md C4)."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Self

from lingen_cli.files.printable import printable
from lingen_cli.terminal import console
from lingen_cli.terminal.events import Events
from lingen_cli.terminal.log_file import log

if TYPE_CHECKING:
    import numpy as np
    from rich.progress import TaskID

    from lingen_cli.terminal.clock import Bars

_SECONDS_BETWEEN_LINES = 10.0
_IMAGE_ROWS = 12


class Progress:
    """Phases with a bar each on a terminal, a line every ten seconds elsewhere, silence if wanted.

    Every change is also sent to `events`, if there are any. Nothing here ever reads standard input.
    """

    def __init__(self, events: Events | None = None, *, quiet: bool = False) -> None:
        self.events = events or Events(None)
        self.quiet = quiet
        self.forced = bool(os.environ.get("FORCE_COLOR"))
        self.terminal = not quiet and sys.stderr is not None and sys.stderr.isatty()
        self._bars: Bars | None = None
        self._task: TaskID | None = None
        self._phase, self._total = "", 0
        self._phase_start = self._last_line = time.monotonic()

    @property
    def draws_images(self) -> bool:
        """Tell whether `draw` shows anything."""
        return self.terminal or (self.forced and not self.quiet)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._bars is not None:
            self._bars.image = None
            self._bars.stop()

    def phase(self, name: str, total: int = 1) -> None:
        """Begin a phase of `total` parts; the one before is complete."""
        self.events.emit("progress", phase=name, done=0, total=total)
        self._phase, self._total = name, total
        self._phase_start = self._last_line = time.monotonic()
        if self.terminal and self._bars is None:
            from lingen_cli.terminal.clock import Bars

            self._bars = Bars()
            self._bars.start()
        if self._bars is not None:
            self._task = self._bars.add_task(name, total=total)

    def advance(self, done: int) -> None:
        """`done` parts of the phase are finished."""
        self.events.emit("progress", phase=self._phase, done=done, total=self._total)
        if self._bars is not None and self._task is not None:
            self._bars.update(self._task, completed=done)
        now = time.monotonic()
        if now - self._last_line >= _SECONDS_BETWEEN_LINES:
            self._last_line = now
            passed = now - self._phase_start
            left = passed / max(done, 1) * (self._total - done)
            tail = f"{left:.0f} s left" if done < self._total else f"took {passed:.0f} s"
            line = f"lingen: {self._phase} {done}/{self._total}, {tail}"
            if self.quiet or self._bars is not None:
                log(line)
            else:
                console.note(line)

    def counts(self, name: str) -> Callable[[float, float], None]:
        """A function that is told how much of how much is done, for a phase that begins with its
        first call."""
        begun = False

        def count(done: float, total: float) -> None:
            nonlocal begun
            if not begun:
                self.phase(name, round(total))
                begun = True
            self.advance(round(done))

        return count

    def note(self, text: str) -> None:
        """A line for people; with `--quiet` only for the log."""
        self._tell(f"lingen: {printable(text)}")

    def warn(self, text: str, **fields: Any) -> None:
        """A warning: an event, and a line for people."""
        self.events.emit("warning", message=text, **fields)
        self._tell(f"lingen: warning: {printable(text)}")

    def draw(self, image: np.ndarray[Any, Any]) -> None:
        """Show uint8 (H, W, 3) above the bars, or, forced and without a terminal, as lines."""
        from rich.console import Console

        from lingen_cli.terminal.terminal_image import TerminalImage

        drawing = TerminalImage(image, rows=_IMAGE_ROWS)
        if self._bars is not None:
            self._bars.image = drawing
            self._bars.refresh()
        elif self.draws_images:
            Console(stderr=True, force_terminal=True).print(drawing)

    def _tell(self, text: str) -> None:
        from rich.text import Text

        if self.quiet:
            log(text)
        elif self._bars is not None:
            log(text)
            self._bars.console.print(Text.from_ansi(console.painted(text)), soft_wrap=True)
        else:
            console.note(text)
