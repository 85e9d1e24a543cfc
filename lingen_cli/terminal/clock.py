"""The last column of a progress bar: how long it took, how long it will take."""

from __future__ import annotations

from rich.progress import ProgressColumn, Task
from rich.text import Text


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
