"""Bars of a run's phases on a terminal, with how long each took or will take."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn
from rich.text import Text


class Bars(Progress):
    """A bar for each phase on standard error, below an image where there is one."""

    image: RenderableType | None = None

    def __init__(self) -> None:
        super().__init__(
            TextColumn("{task.description:<16}"),
            BarColumn(complete_style="cyan", finished_style="green"),
            MofNCompleteColumn(),
            Clock(),
            console=Console(stderr=True, highlight=False),
            refresh_per_second=8,
        )

    def get_renderables(self) -> Iterable[RenderableType]:
        """The image, then the bars."""
        if self.image is not None:
            yield self.image
        yield from super().get_renderables()


class Clock(ProgressColumn):
    """`0:12, 0:30 left` while a phase runs; how long it took when it is complete."""

    max_refresh = 0.5

    def render(self, task: Task) -> Text:
        """The text for one phase."""
        if task.finished:
            return Text(minutes(task.finished_time or 0.0))
        left = task.time_remaining
        passed = minutes(task.elapsed or 0.0)
        return Text(passed if left is None else f"{passed}, {minutes(left)} left")


def minutes(seconds: float) -> str:
    """`1:05`, or `1:02:03` beyond an hour."""
    whole = round(seconds)
    hours, rest = divmod(whole, 3600)
    if hours:
        return f"{hours}:{rest // 60:02d}:{rest % 60:02d}"
    return f"{rest // 60}:{rest % 60:02d}"
